// What readers and writers of weights do with elements: checks, byte order, and conversion between dtypes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/tensor/tensor.h"

namespace panda::weights {

/// A dense host tensor in `dtype` with the values of `source` (any shape, dense, host).
///
/// Between floats each value is rounded once, to nearest, ties to even; infinities and NaN stay what they
/// are. A finite value that would become infinite throws InvalidArgument naming `name` and its index.
/// Integers and bool convert only to their own dtype: a rounded index or counter would be wrong in silence.
[[nodiscard]] Tensor to_dtype(const ConstTensorView& source, DType dtype, const std::string& name = "tensor");

/// Throws InvalidArgument naming `name` and the index if a float tensor (dense, host) holds a NaN or an
/// infinity. Integers always pass.
void check_finite(const ConstTensorView& tensor, const std::string& name);

/// What a table about weights shows of a tensor's elements. Minimum and maximum are over finite values.
struct ValueSummary {
  double minimum = 0;
  double maximum = 0;
  int64_t nan_count = 0;
  int64_t infinity_count = 0;
  int64_t finite_count = 0;
};
[[nodiscard]] ValueSummary summarize(const ConstTensorView& tensor);

/// Reverses the bytes of every element in place (big-endian files).
void swap_bytes(const TensorView& tensor);

/// Throws FormatError if an element of a bool tensor is neither 0 nor 1: reading such a bool is undefined.
/// Other dtypes pass.
void check_bool_bytes(const ConstTensorView& tensor, const std::string& source, const std::string& name);

/// Copies elements of `element_bytes` bytes from a strided place (strides in elements, >= 0; `in` is the
/// element [0, ..., 0]) into dense row-major order.
void gather_strided(const Shape& shape, const std::vector<int64_t>& strides, int64_t element_bytes,
                    const uint8_t* in, uint8_t* out);

/// "[2, 0, 5]" of the element with this linear index.
[[nodiscard]] std::string index_text(const Shape& shape, int64_t linear_index);

}  // namespace panda::weights
