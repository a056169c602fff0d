// The header of an .npy file: a Python dict literal of three known keys, parsed as that and nothing more.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/tensor/dtype.h"
#include "kernels/tensor/shape.h"

namespace panda::weights {

struct NpyHeader {
  DType dtype = DType::kF32;  // as it will be read
  Shape shape;
  int64_t item_bytes = 4;  // as stored
  bool widen_unsigned = false;
  bool big_endian = false;
  bool fortran_order = false;
};

/// `literal` begins at byte `offset` of `source`. Throws FormatError, Unsupported.
[[nodiscard]] NpyHeader parse_npy_header(const std::string& literal, int64_t offset,
                                         const std::string& source);

/// The literal as numpy.save writes it, padded so that the data behind 10 bytes of preamble and it is aligned
/// to 64 bytes.
[[nodiscard]] std::string make_npy_header(DType dtype, const Shape& shape);

}  // namespace panda::weights
