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

void kmeans_accumulate_exact(Device&, const KmeansAccumulateExactArgs& args) {
  const int64_t k = args.sums.shape()[1];
  const int64_t d = args.sums.shape()[2];
  const float* x = args.points.data<float>();
  const double* grid = args.grid.data<double>();
  double* sums = args.sums.data<double>();
  const double sign = args.subtract ? -1 : 1;
  for (int64_t j = 0; j < k; ++j) {
    for (int64_t m = args.offsets[static_cast<size_t>(j)]; m < args.offsets[static_cast<size_t>(j) + 1];
         ++m) {
      const int64_t i = args.members[static_cast<size_t>(m)];
      const double weight = args.weights.present() ? args.weights.data<float>()[i] : 1.0;
      for (int64_t c = 0; c < d; ++c) {
        const double v = weight * double{x[i * d + c]};
        const double coarse = (v + grid[c]) - grid[c];
        const double fine = ((v - coarse) + grid[d + c]) - grid[d + c];
        sums[j * d + c] += sign * coarse;
        sums[(k + j) * d + c] += sign * fine;
      }
    }
  }
}

}  // namespace panda::kernels::reference
