// Files of vectors, all of one dimension, read by ranges of rows: a file may be larger than memory.
//
//   .npy     two axes, n,d: f4, f2 or u1 (weights/npy.h), d < 2^31
//   .fvecs   each vector: d as a little-endian i32, then d f32
//   .bvecs   the same with u8, .ivecs with i32 (neighbours' indices, for example)
//
// The .vecs layouts are those of the TEXMEX corpus (http://corpus-texmex.irisa.fr). Every vector's d is
// checked when it is read.
#pragma once

#include <string>

#include "kernels/tensor/tensor.h"
#include "weights/byte_source.h"

namespace panda::weights {

enum class VectorFormat : uint8_t { kNpy, kFvecs, kBvecs, kIvecs };
/// By the extension of the name; throws InvalidArgument listing those it may have.
[[nodiscard]] VectorFormat vector_format_of(const std::string& path);

class VectorFile {
 public:
  /// Throws IoError, FormatError, Unsupported (an .npy of another type).
  explicit VectorFile(const std::string& path) : VectorFile(file_source(path), vector_format_of(path)) {}
  VectorFile(ByteSourcePtr source, VectorFormat format);

  [[nodiscard]] int64_t count() const { return count_; }
  [[nodiscard]] int64_t d() const { return d_; }
  [[nodiscard]] DType dtype() const { return dtype_; }
  [[nodiscard]] const std::string& name() const { return source_->name(); }

  /// Rows [begin, end), dense n,d on the host. Throws FormatError naming row and byte for a vector of another
  /// dimension. An .npy in Fortran or big-endian order is read whole, once.
  [[nodiscard]] Tensor read(int64_t begin, int64_t end) const;

 private:
  void open_npy();
  void open_vecs();

  ByteSourcePtr source_;
  VectorFormat format_;
  int64_t count_ = 0;
  int64_t d_ = 0;
  DType dtype_ = DType::kF32;
  int64_t data_offset_ = 0;
  Tensor whole_;  ///< present for an .npy that cannot be read by parts
};

}  // namespace panda::weights
