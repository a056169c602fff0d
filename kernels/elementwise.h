// Element by element: functions of one or two tensors, and conversion between dtypes and layouts.
#pragma once

#include "kernels/gradient.h"

namespace panda::kernels {

enum class UnaryOp : uint8_t {
  kRelu,
  kAbs,
  kSquare,
  kSqrt,
  kExp,
  kLog,
  kSigmoid,
  kLeakyRelu,  ///< x for x >= 0, else slope x
  kElu,        ///< x for x >= 0, else slope (exp(x) - 1)
};

/// y = op(x), f32, any shape, equal layouts; y may be x. relu(NaN) is NaN. exp, log, sigmoid and elu are
/// within 2 ulp of exact. `slope` > 0 is for kLeakyRelu and kElu alone.
struct UnaryForwardArgs {
  UnaryOp op = UnaryOp::kRelu;
  ConstTensorView x;
  TensorView y;
  double slope = 0.01;
};
void unary_forward(Device& device, const UnaryForwardArgs& args);

/// dL_dx = dL_dy op'(x), written with y = op(x), so that x need not be kept:
///   relu: dL_dy where y > 0, else 0 · leaky relu: dL_dy where y >= 0, else slope dL_dy · elu: dL_dy where y
///   >= 0, else (y + slope) dL_dy · sigmoid: y (1 - y) dL_dy · exp: y dL_dy. Other operations are an error.
///   f32, any shape; y, dL_dy and dL_dx
/// have equal shapes and layouts; dL_dx may be dL_dy's memory (mode overwrite).
struct UnaryBackwardArgs {
  UnaryOp op = UnaryOp::kRelu;
  ConstTensorView y;
  ConstTensorView dL_dy;
  Gradient dL_dx;
  double slope = 0.01;
};
void unary_backward(Device& device, const UnaryBackwardArgs& args);

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
