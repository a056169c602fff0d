// panda weights inspect, panda weights convert: files of network parameters.

#include <chrono>
#include <optional>

#include "kernels/tensor/file.h"
#include "tools/commands.h"
#include "tools/exit_code.h"
#include "weights/convert.h"

namespace panda::tools {

namespace {

Json shape_json(const Shape& shape) {
  Json extents = Json::array();
  for (int axis = 0; axis < shape.rank(); ++axis) extents.push_back(shape[axis]);
  return extents;
}

Records tensor_records(const weights::Inspection& inspection, bool values) {
  std::vector<Field> fields = {
      {"name", "tensor"}, {"dtype", "dtype"}, {"shape", "shape"}, {"bytes", "bytes"}};
  if (values) {
    fields.insert(fields.end(), {{"minimum", "minimum", 5},
                                 {"maximum", "maximum", 5},
                                 {"nan", "NaN"},
                                 {"infinite", "infinite"},
                                 {"sha256", "sha256"}});
  }
  Records records(std::move(fields));
  for (const weights::InspectedTensor& tensor : inspection.tensors) {
    std::vector<Json> row = {tensor.info.name, dtype_name(tensor.info.dtype), shape_json(tensor.info.shape),
                             tensor.bytes};
    if (values) {
      const bool any = tensor.values.finite_count > 0;
      row.insert(row.end(),
                 {any ? Json(tensor.values.minimum) : Json(), any ? Json(tensor.values.maximum) : Json(),
                  tensor.values.nan_count, tensor.values.infinity_count, tensor.sha256});
    }
    records.add(std::move(row));
  }
  return records;
}

std::string mebibytes(int64_t bytes) {
  return fixed_number(static_cast<double>(bytes) / (1 << 20), 1) + " MiB";
}

}  // namespace

CommandSpec weights_inspect_spec() {
  return {.name = "weights inspect",
          .summary = "list the tensors of a weights file, with its hash",
          .description =
              "Shows names, dtypes and shapes of the tensors in a PyTorch checkpoint (.pth, .pt: zip, legacy "
              "stream "
              "or legacy tar), a safetensors file or an .npz archive, and the SHA-256 of the file. Nothing "
              "in the "
              "file is executed, and without --values only its headers are read.",
          .positionals = {{.name = "FILE", .summary = "the weights file"}},
          .options = {{.name = "values",
                       .kind = OptionKind::kFlag,
                       .value_name = "",
                       .default_value = "",
                       .summary = "also read every value: ranges, NaN, hashes",
                       .detail = "The content hash is the same for the same tensors in any kind of file."}},
          .examples = {"panda weights inspect resnet50.pth",
                       "panda weights inspect resnet50.safetensors --values -o json"}};
}

int run_weights_inspect(const ParsedOptions& options, Context& context) {
  const bool values = options.flag("values");
  const weights::Inspection inspection =
      weights::inspect_weights(options.positionals()[0], values, &context.progress);
  const Records records = tensor_records(inspection, values);
  if (context.format == OutputFormat::kCsv) {
    context.out.write(records.csv());
    return kExitDone;
  }
  const auto tensor_count = static_cast<int64_t>(inspection.tensors.size());
  Json result = {{"file", inspection.source},
                 {"kind", inspection.kind},
                 {"sha256", inspection.file_sha256},
                 {"content_sha256", values ? Json(inspection.content_sha256) : Json()},
                 {"n_tensors", tensor_count},
                 {"n_values", inspection.element_count},
                 {"bytes", inspection.bytes},
                 {"tensors", records.json()}};
  std::vector<std::pair<std::string, std::string>> summary = {
      {"file", inspection.source},
      {"kind", inspection.kind},
      {"sha256", inspection.file_sha256},
      {"tensors",
       text(tensor_count, ", ", inspection.element_count, " values, ", mebibytes(inspection.bytes))}};
  if (values) summary.emplace_back("content sha256", inspection.content_sha256);
  print_object(context.out, context.format, result, aligned_pairs(summary) + "\n" + records.table());
  return kExitDone;
}

CommandSpec weights_convert_spec() {
  return {
      .name = "weights convert",
      .summary = "convert a weights file to safetensors",
      .description =
          "Reads a PyTorch checkpoint (.pth, .pt: zip, legacy stream or legacy tar), a safetensors file or "
          "an .npz "
          "archive, and writes its tensors as safetensors. Every tensor keeps its bits unless --dtype is "
          "given. "
          "OUT appears whole or not at all.",
      .positionals = {{.name = "IN", .summary = "the weights file to read"},
                      {.name = "OUT", .summary = "the file to write; its name ends in .safetensors"}},
      .options = {{.name = "dtype",
                   .kind = OptionKind::kChoice,
                   .value_name = "TYPE",
                   .default_value = "",
                   .summary = "type of the floats in OUT (default: as they are)",
                   .detail =
                       "Each value is rounded once, to nearest even; one that would overflow is an error.",
                   .choices = {"f32", "f16", "bf16"}},
                  {.name = "force",
                   .kind = OptionKind::kFlag,
                   .value_name = "",
                   .default_value = "",
                   .summary = "replace OUT if it exists",
                   .detail = ""}},
      .examples = {"panda weights convert resnet50.pth resnet50.safetensors",
                   "panda weights convert resnet50.pth resnet50-f16.safetensors --dtype f16"}};
}

int run_weights_convert(const ParsedOptions& options, Context& context) {
  const std::string& input = options.positionals()[0];
  const std::string& output = options.positionals()[1];
  if (extension_of(output) != "safetensors") {
    throw UsageError(
        text("weights convert: OUT: expected a name that ends in .safetensors, got '", output, "'"));
  }
  PANDA_CHECK(options.flag("force") || !path_exists(output), output,
              ": exists, expected a new file (--force replaces it)");
  std::optional<DType> dtype;
  if (options.has("dtype")) dtype = dtype_from_name(options.text("dtype"));
  const auto start = std::chrono::steady_clock::now();
  const weights::ConvertReport report = weights::convert_weights(input, output, dtype, &context.progress);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const Json result = {{"input", input},
                       {"output", output},
                       {"n_tensors", report.tensor_count},
                       {"bytes", report.bytes_written},
                       {"source_sha256", report.source_sha256},
                       {"seconds", seconds}};
  print_object(context.out, context.format, result,
               aligned_pairs({{"wrote", output},
                              {"tensors", text(report.tensor_count, ", ", mebibytes(report.bytes_written))},
                              {"from", text(input, " (sha256 ", report.source_sha256, ")")},
                              {"time", duration_text(seconds)}}));
  return kExitDone;
}

}  // namespace panda::tools
