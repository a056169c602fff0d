// Whether training features are about to collapse, seen without any label.
//
// Training for compactness alone ends with all images at one point (PANDA paper, section 3): the loss falls
// and says nothing. Two numbers do, over features psi_1..psi_n of normal images and the fixed center c:
//
//   s = 1/n sum_i |psi_i - c|^2                          how near to the center (SES divides by it)
//   effective rank = (tr S)^2 / tr(S^2)                  S = covariance of the psi_i
//
// The second is the participation ratio of the eigenvalues of S: the number of directions, D at most, among
// which the features vary alike; 1 when they lie on a line, 0 when they are one point. It does not change
// when the features shrink. No eigenvalue is computed: tr S and tr(S^2) are sums over the Gram matrix.
#pragma once

#include "kernels/tensor/tensor.h"

namespace panda::anomaly {

struct FeatureSpread {
  double distance = 0;        ///< s
  double effective_rank = 0;  ///< 0..min(n - 1, D)
};

/// features: f32 n,D, dense, on any device, n >= 1 · center: f32 D, on any device. f64 sums in a fixed order.
/// Throws InvalidArgument for other shapes. O(n^2 D).
[[nodiscard]] FeatureSpread measure_spread(const ConstTensorView& features, const ConstTensorView& center);

}  // namespace panda::anomaly
