// The mean of features, which is a center, a reference, or what is taken off before a covariance.
#pragma once

#include "kernels/tensor/tensor.h"

namespace panda::anomaly {

/// Mean of the rows in f64, each component summed in rising order of rows. features: f32 n,D, dense, on any
/// device, n >= 1; InvalidArgument otherwise. Result: f64 D, on the host.
[[nodiscard]] Tensor mean_of_rows(const ConstTensorView& features);

}  // namespace panda::anomaly
