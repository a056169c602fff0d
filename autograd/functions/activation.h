// Element-wise functions y = f(x), undone from y alone (kernels/elementwise.h, unary_backward):
//   dL/dx = dL/dy f'(x), and f' is a function of y for each of them:
//   relu: [y > 0] · leaky relu: 1 where y >= 0, else slope · elu: 1 where y >= 0, else y + slope (slope
//   exp(x) = y + slope) · sigmoid: y (1 - y) · exp: y.
// Kept: y, which the next function mostly keeps anyway.
#pragma once

#include "autograd/tape.h"
#include "kernels/elementwise.h"

namespace panda::autograd {

[[nodiscard]] Variable activation(const Variable& x, kernels::UnaryOp op, double slope = 0.01);
[[nodiscard]] inline Variable relu(const Variable& x) {
  return activation(x, kernels::UnaryOp::kRelu);
}

}  // namespace panda::autograd
