// The fully connected layer, y[n,k] = sum_c x[n,c] weight[k,c] + bias[k]:
//   dL/dx = dL/dy weight · dL/dweight = (dL/dy)^T x · dL/dbias[k] = sum_n dL/dy[n,k].
// A sample's gradient of the weight is the outer product of its rows, so the sum of squares over samples is a
// product of squares:
//   sum_n (dL/dweight)_n^2 = ((dL/dy)^2)^T (x^2), element by element squared.
// Kept: x.
#pragma once

#include "autograd/tape.h"

namespace panda::autograd {

/// x: N,C · weight: K,C · bias: K, may be absent.
[[nodiscard]] Variable linear(const Variable& x, const Variable& weight, const Variable& bias = {});

}  // namespace panda::autograd
