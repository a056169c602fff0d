// Pooling and enlarging (kernels/pool2d.h). The average and the enlargement are linear and keep nothing. The
// maximum keeps x and finds its elements again: dL/dx[i] = sum of dL/dy over the windows whose first largest
// element is i.
#pragma once

#include "autograd/tape.h"
#include "kernels/pool2d.h"

namespace panda::autograd {

[[nodiscard]] Variable max_pool2d(const Variable& x, const kernels::Pool2dGeometry& geometry);
[[nodiscard]] Variable avg_pool2d(const Variable& x, const kernels::Pool2dGeometry& geometry);
/// N,C,H,W to N,C.
[[nodiscard]] Variable global_avg_pool2d(const Variable& x);
[[nodiscard]] Variable upsample_nearest2d(const Variable& x, int64_t scale_h, int64_t scale_w);

}  // namespace panda::autograd
