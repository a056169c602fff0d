// How a kernel writes one gradient by its mode (kernels/gradient.h).
#pragma once

#include "kernels/cuda/work.cuh"
#include "kernels/gradient.h"

namespace panda::kernels::PANDA_TARGET {

/// A gradient whose elements are of type T; one that is ignored has no elements.
template <typename T>
struct GradientOutput {
  T* at = nullptr;
  bool accumulates = false;

  /// Value is float or double: the sum of mode accumulate is formed in it and rounded once.
  template <typename Value>
  __device__ void put(int64_t i, Value value) const {
    if (at == nullptr) return;
    if (accumulates) value += as_float(at[i]);
    at[i] = from_float<T>(static_cast<float>(value));
  }
};

template <typename T>
GradientOutput<T> gradient_output(const Gradient& gradient) {
  if (!gradient.wanted()) return {};
  return {static_cast<T*>(gradient.view.raw()), gradient.accumulates()};
}

/// Calls body(T{}) with the element type of an image.
template <typename Body>
void with_image_type(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::kF32:
      return body(float{});
    case DType::kF16:
      return body(Float16{});
    case DType::kBF16:
      return body(BFloat16{});
    default:
      throw InternalError(text("no gradient kernel for ", dtype_name(dtype)));
  }
}

}  // namespace panda::kernels::PANDA_TARGET
