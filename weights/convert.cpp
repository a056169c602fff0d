#include "weights/convert.h"

#include "kernels/tensor/checked_math.h"
#include "weights/embedded.h"
#include "weights/manifest.h"
#include "weights/safetensors.h"
#include "weights/weights_file.h"

namespace panda::weights {

ConvertReport convert_weights(const std::string& input, const std::string& output,
                              std::optional<DType> float_dtype, Progress* progress) {
  PANDA_CHECK(!float_dtype || dtype_is_float(*float_dtype), "convert: dtype ",
              float_dtype ? dtype_name(*float_dtype) : "", ", expected f64, f32, f16 or bf16");
  const ByteSourcePtr source = weights_source(input);
  const std::unique_ptr<NamedTensors> tensors = open_weights(source);
  ConvertReport report;
  report.source_sha256 = source_sha256(*source);
  Metadata metadata;
  if (const auto* file = dynamic_cast<const SafetensorsFile*>(tensors.get())) metadata = file->metadata();
  metadata["source_sha256"] = report.source_sha256;

  std::vector<TensorInfo> infos = tensors->list();
  for (TensorInfo& info : infos) {
    if (float_dtype && dtype_is_float(info.dtype)) info.dtype = *float_dtype;
  }
  SafetensorsWriter writer(output, std::move(infos), metadata);
  report.tensor_count = static_cast<int64_t>(writer.order().size());
  for (int64_t i = 0; i < report.tensor_count; ++i) {
    report_progress(progress, "converting", i, report.tensor_count);
    const TensorInfo& info = writer.order()[static_cast<size_t>(i)];
    Tensor tensor = tensors->load(info.name);
    if (tensor.dtype() != info.dtype) tensor = to_dtype(tensor, info.dtype, info.name);
    writer.write(tensor);
    report.bytes_written = checked_add(report.bytes_written, tensor.bytes());
  }
  report_progress(progress, "converting", report.tensor_count, report.tensor_count);
  writer.commit();
  return report;
}

Inspection inspect_weights(const std::string& path, bool values, Progress* progress) {
  const ByteSourcePtr source = weights_source(path);
  const std::unique_ptr<NamedTensors> tensors = open_weights(source);
  Inspection result;
  result.source = tensors->source();
  result.kind = weights_kind_name(sniff_weights(source));
  result.file_sha256 = source_sha256(*source);
  const std::vector<TensorInfo> infos = tensors->list();
  ContentHash content;
  for (size_t i = 0; i < infos.size(); ++i) {
    report_progress(progress, "reading tensors", static_cast<int64_t>(i), static_cast<int64_t>(infos.size()));
    InspectedTensor entry;
    entry.info = infos[i];
    entry.bytes = checked_mul(infos[i].shape.numel(), dtype_bytes(infos[i].dtype));
    result.element_count = checked_add(result.element_count, infos[i].shape.numel());
    result.bytes = checked_add(result.bytes, entry.bytes);
    if (values) {
      const Tensor tensor = tensors->load(infos[i].name);
      entry.values = summarize(tensor);
      entry.sha256 = tensor_sha256(infos[i].name, tensor);
      content.add(infos[i].name, tensor);
    }
    result.tensors.push_back(std::move(entry));
  }
  if (values) result.content_sha256 = content.hex_digest();
  return result;
}

}  // namespace panda::weights
