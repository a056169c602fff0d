#include "anomaly/mean_of_rows.h"

#include <algorithm>

namespace panda::anomaly {

Tensor mean_of_rows(const ConstTensorView& features) {
  PANDA_CHECK(features.shape().rank() == 2 && features.shape()[0] >= 1,
              "mean_of_rows: ", features.to_string(), ", expected n,D with n >= 1");
  const int64_t n = features.shape()[0];
  const int64_t d = features.shape()[1];
  Tensor copy;
  const bool readable = features.device().host_accessible();
  if (!readable) copy = clone_to(features, host(), "features");
  const float* x = readable ? features.data<float>() : copy.data<float>();
  Tensor mean(host(), DType::kF64, {d}, "center");
  std::fill_n(mean.data<double>(), d, 0.0);
  for (int64_t i = 0; i < n; ++i, x += d) {
    for (int64_t j = 0; j < d; ++j) mean.data<double>()[j] += double{x[j]};
  }
  for (int64_t j = 0; j < d; ++j) mean.data<double>()[j] /= static_cast<double>(n);
  return mean;
}

}  // namespace panda::anomaly
