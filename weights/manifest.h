// Hashes that say which file, and which weights whatever file they lie in.
#pragma once

#include <string>

#include "kernels/tensor/named_tensors.h"
#include "weights/byte_source.h"
#include "weights/sha256.h"

namespace panda::weights {

/// SHA-256 of all its bytes, 64 hex digits.
[[nodiscard]] std::string source_sha256(const ByteSource& source);
[[nodiscard]] std::string file_sha256(const std::string& path);

/// SHA-256 of the tensors: the same for the same names, dtypes, shapes and elements in any container. Of each
/// tensor, in order of names: name, dtype name (each with its length before it), rank, extents, elements.
/// Numbers are 64-bit little-endian. One tensor is in memory at a time.
[[nodiscard]] std::string content_sha256(const NamedTensors& tensors);

/// The same, tensor by tensor, for who has them in hand; `add` in order of names, dense, on the host.
class ContentHash {
 public:
  void add(const std::string& name, const ConstTensorView& tensor);
  [[nodiscard]] std::string hex_digest() { return hash_.hex_digest(); }

 private:
  Sha256 hash_;
};

/// The same of one tensor alone (dense, host).
[[nodiscard]] std::string tensor_sha256(const std::string& name, const ConstTensorView& tensor);

}  // namespace panda::weights
