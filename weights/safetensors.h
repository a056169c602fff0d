// safetensors: 8 bytes header length (little-endian), a JSON header, then the tensors' bytes, row-major and
// little-endian.
//
// The reader is stricter than the format asks: what it accepts means the same to every reader of the format.
// Tensors must cover the data exactly (no hole, no overlap, nothing after), every size is checked before
// anything is allocated, keys must not repeat, and a header key that the format does not define is refused.
// White space around the header's JSON and empty tensors that share an offset are accepted. Not read: float8
// and smaller, unsigned 16/32/64-bit and complex numbers (Unsupported, naming tensor and dtype), and more
// than eight dimensions.
//
// Source: the format's description at github.com/huggingface/safetensors.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "kernels/tensor/file.h"
#include "kernels/tensor/named_tensors.h"
#include "weights/byte_source.h"

namespace panda::weights {

using Metadata = std::map<std::string, std::string>;

class SafetensorsFile : public NamedTensors {
 public:
  /// Reads and checks the header. Throws IoError, FormatError (with byte offset), Unsupported.
  explicit SafetensorsFile(const std::string& path) : SafetensorsFile(file_source(path)) {}
  explicit SafetensorsFile(ByteSourcePtr source);

  [[nodiscard]] std::vector<TensorInfo> list() const override;
  [[nodiscard]] bool contains(const std::string& name) const override;
  /// Reads this tensor's bytes only.
  [[nodiscard]] Tensor load(const std::string& name) const override;
  [[nodiscard]] std::string source() const override { return source_->name(); }
  [[nodiscard]] const Metadata& metadata() const { return metadata_; }

 private:
  struct Entry {
    TensorInfo info;
    int64_t offset = 0;  // in the file
  };

  ByteSourcePtr source_;
  std::vector<Entry> entries_;  // sorted by name
  Metadata metadata_;
};

/// Writes a safetensors file one tensor at a time; the file appears with `commit`, whole.
///
/// The bytes depend on names, shapes, dtypes, elements and metadata alone, and are those that the reference
/// library writes for them: tensors by dtype, widest first, then by name, so that each is aligned to its
/// elements.
class SafetensorsWriter {
 public:
  /// Throws InvalidArgument for names that repeat or are not UTF-8.
  SafetensorsWriter(const std::string& path, std::vector<TensorInfo> tensors, const Metadata& metadata = {});

  /// The order in which `write` wants them.
  [[nodiscard]] const std::vector<TensorInfo>& order() const { return order_; }
  /// The next tensor: dense, on any device, with the dtype and shape announced.
  void write(const ConstTensorView& tensor);
  /// After the last tensor: flushes and renames into place.
  void commit();

 private:
  std::vector<TensorInfo> order_;
  size_t next_ = 0;
  AtomicFile file_;
};

struct NamedView {
  std::string name;
  ConstTensorView tensor;
};
/// All of them at once, in any order.
void write_safetensors(const std::string& path, const std::vector<NamedView>& tensors,
                       const Metadata& metadata = {});

}  // namespace panda::weights
