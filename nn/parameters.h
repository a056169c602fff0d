// Loading a parameter: one tensor, checked, as f32.
#pragma once

#include "kernels/tensor/named_tensors.h"

namespace panda::nn {

/// The tensor `name` as dense f32 on the host. f16 and bf16 are exact in f32; f64 is rounded to nearest.
/// Throws FormatError naming source, tensor and element if its shape is not `expected`, it holds no floats,
/// or an element is NaN, infinite or beyond f32.
[[nodiscard]] Tensor load_f32(const NamedTensors& tensors, const std::string& name, const Shape& expected);

}  // namespace panda::nn
