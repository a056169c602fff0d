// Sums and changes of form. All are linear and keep nothing.
#pragma once

#include "autograd/tape.h"

namespace panda::autograd {

/// y = a + b, of one shape and layout. dL/da = dL/db = dL/dy.
[[nodiscard]] Variable add(const Variable& a, const Variable& b);

/// N,C,H,W (any layout) to N,C*H*W, dense. The gradient goes the way back.
[[nodiscard]] Variable flatten(const Variable& x);

/// N,C*H*W to N,C,H,W in the device's layout.
[[nodiscard]] Variable unflatten(const Variable& x, int64_t c, int64_t h, int64_t w);

}  // namespace panda::autograd
