#include "kernels/kmeans.h"

#include "kernels/reference/reference_kernels.h"

namespace panda::kernels::reference {

void kmeans_accumulate(Device&, const KmeansAccumulateArgs& args) {
  const int64_t d = args.points.shape()[1];
  const float* x = args.points.data<float>();
  double* sums = args.sums.data<double>();
  for (size_t j = 0; j + 1 < args.offsets.size(); ++j) {
    for (int64_t m = args.offsets[j]; m < args.offsets[j + 1]; ++m) {
      const int64_t i = args.members[static_cast<size_t>(m)];
      const double weight = args.weights.present() ? args.weights.data<float>()[i] : 1.0;
      for (int64_t c = 0; c < d; ++c) sums[static_cast<int64_t>(j) * d + c] += weight * double{x[i * d + c]};
    }
  }
}

void kmeans_exchange(Device&, const KmeansExchangeArgs& args) {
  const int64_t k = args.sums.shape()[1];
  const int64_t d = args.sums.shape()[2];
  const double* grid = args.grid.data<double>();
  const int64_t* before = args.before.data<int64_t>();
  const int64_t* after = args.after.data<int64_t>();
  const auto add = [&](int64_t i, int64_t j, double sign) {
    const double weight = args.weights.present() ? args.weights.data<float>()[i] : 1.0;
    if (weight > 0) args.counts.data<int64_t>()[j] += sign > 0 ? 1 : -1;
    const float* x = args.points.data<float>() + i * d;
    double* sums = args.sums.data<double>() + j * d;
    for (int64_t c = 0; c < d; ++c) {
      const double v = weight * double{x[c]};
      const double coarse = (v + grid[c]) - grid[c];
      const double fine = ((v - coarse) + grid[d + c]) - grid[d + c];
      sums[c] += sign * coarse;
      sums[k * d + c] += sign * fine;
    }
  };
  for (int64_t i = 0; i < args.points.shape()[0]; ++i) {
    if (before[i] == after[i]) continue;
    if (before[i] >= 0) add(i, before[i], -1);
    add(i, after[i], 1);
  }
}

}  // namespace panda::kernels::reference
