#include "anomaly/collapse_monitor.h"

#include <vector>

#include "anomaly/mean_of_rows.h"

namespace panda::anomaly {

FeatureSpread measure_spread(const ConstTensorView& features, const ConstTensorView& center) {
  const Tensor mean = mean_of_rows(features);
  const int64_t n = features.shape()[0];
  const int64_t d = features.shape()[1];
  PANDA_CHECK(center.shape() == mean.shape(), "measure_spread: the center is ", center.shape(), ", expected ",
              mean.shape());
  const Tensor rows = clone_to(features, host(), "features");
  const Tensor fixed = clone_to(center, host(), "center");
  FeatureSpread spread;
  std::vector<double> centered(static_cast<size_t>(n * d));
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < d; ++j) {
      const double x = rows.data<float>()[i * d + j];
      const double from_center = x - double{fixed.data<float>()[j]};
      spread.distance += from_center * from_center;
      centered[static_cast<size_t>(i * d + j)] = x - mean.data<double>()[j];
    }
  }
  spread.distance /= static_cast<double>(n);
  // Gram matrix G of the centered rows: tr S = tr G / n, tr(S^2) = |G|_F^2 / n^2; n goes out of the ratio.
  double trace = 0;
  double squares = 0;
  for (int64_t a = 0; a < n; ++a) {
    for (int64_t b = 0; b <= a; ++b) {
      const double* x = centered.data() + a * d;
      const double* y = centered.data() + b * d;
      double product = 0;
      for (int64_t j = 0; j < d; ++j) product += x[j] * y[j];
      squares += (a == b ? 1 : 2) * product * product;
      if (a == b) trace += product;
    }
  }
  spread.effective_rank = squares > 0 ? trace * trace / squares : 0;
  return spread;
}

}  // namespace panda::anomaly
