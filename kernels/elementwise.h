// Element by element: functions of one or two tensors, and conversion between dtypes and layouts.
#pragma once

#include "kernels/tensor/tensor.h"

namespace panda::kernels {

enum class UnaryOp : uint8_t { kRelu, kAbs, kSquare, kSqrt, kExp, kLog, kSigmoid };

/// y = op(x), f32, any shape, equal layouts; y may be x. relu(NaN) is NaN. exp, log and sigmoid are within 2
/// ulp of exact.
struct UnaryForwardArgs {
  UnaryOp op = UnaryOp::kRelu;
  ConstTensorView x;
  TensorView y;
};
void unary_forward(Device& device, const UnaryForwardArgs& args);

enum class BinaryOp : uint8_t { kAdd, kSubtract, kMultiply, kDivide };

/// y = a op b, f32, equal shapes and layouts (no broadcasting); y may be a or b. Padding elements of y are
/// undefined for kDivide.
struct BinaryForwardArgs {
  BinaryOp op = BinaryOp::kAdd;
  ConstTensorView a;
  ConstTensorView b;
  TensorView y;
};
void binary_forward(Device& device, const BinaryForwardArgs& args);

/// y = x in y's dtype and layout; equal shapes. Between f64, f32, f16, bf16: rounded to nearest, ties to
/// even. u8, i32 and i64 to a float: the value, rounded; equal dtypes of any kind: bits kept. Other pairs are
/// Unsupported. Padding elements of y become zero.
struct ConvertArgs {
  ConstTensorView x;
  TensorView y;
};
void convert(Device& device, const ConvertArgs& args);

}  // namespace panda::kernels
