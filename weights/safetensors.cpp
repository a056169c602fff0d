#include "weights/safetensors.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "kernels/tensor/checked_math.h"
#include "weights/safetensors_header.h"
#include "weights/tensor_values.h"

namespace panda::weights {
namespace {

constexpr int64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference reader's limit

/// Tensors sorted by offset must tile [0, data_bytes) exactly.
void check_tiling(std::vector<SafetensorsHeader::Entry>& entries, int64_t data_bytes, int64_t data_offset,
                  const std::string& source) {
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  int64_t expected = 0;
  for (const SafetensorsHeader::Entry& entry : entries) {
    const std::string tensor = text("tensor '", printable(entry.info.name), "'");
    if (entry.begin != expected) {
      throw FormatError(source, text(tensor, " begins at data byte ", entry.begin, ", expected ", expected,
                                     entry.begin < expected ? " (it overlaps the one before)"
                                                            : " (there is a hole before it)"));
    }
    if (entry.end < entry.begin) {
      throw FormatError(source,
                        text(tensor, " ends at data byte ", entry.end, ", before its begin ", entry.begin));
    }
    int64_t bytes = 0;
    const bool fits =
        !__builtin_mul_overflow(entry.info.shape.numel(), dtype_bytes(entry.info.dtype), &bytes);
    if (!fits || bytes != entry.end - entry.begin) {
      throw FormatError(source, text(tensor, " has ", entry.end - entry.begin, " bytes, expected those of ",
                                     dtype_name(entry.info.dtype), " ", entry.info.shape));
    }
    expected = entry.end;
    if (expected > data_bytes) {
      throw FormatError(source, text(tensor, " ends at data byte ", expected, ", the file has ", data_bytes),
                        data_offset + data_bytes);
    }
  }
  if (expected != data_bytes) {
    throw FormatError(source, text("the file has ", data_bytes - expected, " bytes after the last tensor"),
                      data_offset + expected);
  }
}

std::string header_of(const std::vector<TensorInfo>& order, const Metadata& metadata) {
  const auto quoted = [](const std::string& raw) {
    try {
      return nlohmann::json(raw).dump();
    } catch (const nlohmann::json::type_error&) {
      throw InvalidArgument(text("the name '", printable(raw), "' is not UTF-8"));
    }
  };
  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) header += quoted(key) + ":" + quoted(value) + ",";
    header.back() = '}';
    header += ",";
  }
  int64_t offset = 0;
  for (const TensorInfo& info : order) {
    header += quoted(info.name) + ":{\"dtype\":\"" + safetensors_dtype_name(info.dtype) + "\",\"shape\":[";
    for (int i = 0; i < info.shape.rank(); ++i) header += (i == 0 ? "" : ",") + std::to_string(info.shape[i]);
    const int64_t end = checked_add(offset, checked_mul(info.shape.numel(), dtype_bytes(info.dtype)));
    header += "],\"data_offsets\":[" + std::to_string(offset) + "," + std::to_string(end) + "]},";
    offset = end;
  }
  if (header.size() > 1) header.pop_back();
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  PANDA_CHECK(header.size() <= kMaxHeaderBytes, "the header would have ", header.size(), " bytes, at most ",
              kMaxHeaderBytes);
  return header;
}

/// The reference library's order of dtypes: by width, and within a width as its list has them.
int dtype_rank(DType dtype) {
  switch (dtype) {
    case DType::kI64:
      return 9;
    case DType::kF64:
      return 8;
    case DType::kF32:
      return 7;
    case DType::kI32:
      return 6;
    case DType::kBF16:
      return 5;
    case DType::kF16:
      return 4;
    case DType::kI16:
      return 3;
    case DType::kI8:
      return 2;
    case DType::kU8:
      return 1;
    case DType::kBool:
      return 0;
  }
  return 0;
}

std::vector<TensorInfo> in_file_order(std::vector<TensorInfo> tensors) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    const int rank_a = dtype_rank(a.dtype);
    const int rank_b = dtype_rank(b.dtype);
    return rank_a != rank_b ? rank_a > rank_b : a.name < b.name;
  });
  std::vector<std::string> names;
  for (const TensorInfo& info : tensors) names.push_back(info.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  PANDA_CHECK(twice == names.end(), "two tensors are named '", printable(twice == names.end() ? "" : *twice),
              "'");
  PANDA_CHECK(!std::binary_search(names.begin(), names.end(), "__metadata__"),
              "a tensor cannot be named __metadata__");
  return tensors;
}

}  // namespace

SafetensorsFile::SafetensorsFile(ByteSourcePtr source) : source_(std::move(source)) {
  const std::string& name = source_->name();
  const int64_t size = source_->size();
  if (size < kLengthBytes)
    throw FormatError(name, text("has ", size, " bytes, expected a safetensors file (at least 10)"), size);
  uint8_t length_bytes[kLengthBytes];
  source_->read(0, length_bytes, kLengthBytes);
  const uint64_t length = load_le64(length_bytes);
  if (length > kMaxHeaderBytes)
    throw FormatError(name, text("header of ", length, " bytes, at most ", kMaxHeaderBytes), 0);
  const int64_t data_offset = kLengthBytes + static_cast<int64_t>(length);
  if (data_offset > size) {
    throw FormatError(name,
                      text("header of ", length, " bytes, but the file has only ", size - kLengthBytes,
                           " after its length"),
                      0);
  }
  SafetensorsHeader header = parse_safetensors_header(
      source_->bytes(kLengthBytes, static_cast<int64_t>(length)), kLengthBytes, name);
  check_tiling(header.entries, size - data_offset, data_offset, name);
  metadata_ = std::move(header.metadata);
  entries_.reserve(header.entries.size());
  for (SafetensorsHeader::Entry& entry : header.entries) {
    entries_.push_back({std::move(entry.info), data_offset + entry.begin});
  }
  std::sort(entries_.begin(), entries_.end(),
            [](const Entry& a, const Entry& b) { return a.info.name < b.info.name; });
}

std::vector<TensorInfo> SafetensorsFile::list() const {
  std::vector<TensorInfo> infos;
  infos.reserve(entries_.size());
  for (const Entry& entry : entries_) infos.push_back(entry.info);
  return infos;
}

bool SafetensorsFile::contains(const std::string& name) const {
  const auto at = std::lower_bound(
      entries_.begin(), entries_.end(), name,
      [](const Entry& entry, const std::string& wanted) { return entry.info.name < wanted; });
  return at != entries_.end() && at->info.name == name;
}

Tensor SafetensorsFile::load(const std::string& name) const {
  const auto at = std::lower_bound(
      entries_.begin(), entries_.end(), name,
      [](const Entry& entry, const std::string& wanted) { return entry.info.name < wanted; });
  PANDA_CHECK(at != entries_.end() && at->info.name == name, source_->name(), ": has no tensor '",
              printable(name), "'");
  Tensor tensor(host(), at->info.dtype, at->info.shape, "weights");
  source_->read(at->offset, tensor.view().raw(), tensor.bytes());
  check_bool_bytes(tensor, source_->name(), name);
  return tensor;
}

SafetensorsWriter::SafetensorsWriter(const std::string& path, std::vector<TensorInfo> tensors,
                                     const Metadata& metadata)
    : order_(in_file_order(std::move(tensors))), file_(path) {
  const std::string header = header_of(order_, metadata);
  uint8_t length[kLengthBytes];
  store_le64(header.size(), length);
  file_.write(length, kLengthBytes);
  file_.write(header);
}

void SafetensorsWriter::write(const ConstTensorView& tensor) {
  PANDA_CHECK(next_ < order_.size(), "safetensors: ", order_.size(),
              " tensors were announced, this is one more");
  const TensorInfo& expected = order_[next_];
  PANDA_CHECK(tensor.present() && tensor.layout() == Layout::kDense && tensor.dtype() == expected.dtype &&
                  tensor.shape() == expected.shape,
              "safetensors: '", printable(expected.name), "' was announced as ", dtype_name(expected.dtype),
              " ", expected.shape, ", got ", tensor.to_string());
  if (tensor.device().host_accessible()) {
    file_.write(tensor.raw(), tensor.bytes());
  } else {
    const Tensor on_host = clone_to(tensor, host(), "tensor to write");
    file_.write(on_host.view().raw(), on_host.bytes());
  }
  ++next_;
}

void SafetensorsWriter::commit() {
  PANDA_CHECK(next_ == order_.size(), "safetensors: ", next_, " of ", order_.size(),
              " announced tensors were written");
  file_.commit();
}

void write_safetensors(const std::string& path, const std::vector<NamedView>& tensors,
                       const Metadata& metadata) {
  std::vector<TensorInfo> infos;
  std::map<std::string, ConstTensorView> by_name;
  for (const NamedView& entry : tensors) {
    PANDA_CHECK(entry.tensor.present(), "safetensors: '", printable(entry.name), "' is absent");
    infos.push_back({entry.name, entry.tensor.dtype(), entry.tensor.shape()});
    by_name[entry.name] = entry.tensor;
  }
  SafetensorsWriter writer(path, std::move(infos), metadata);
  for (const TensorInfo& info : writer.order()) writer.write(by_name.at(info.name));
  writer.commit();
}

}  // namespace panda::weights
