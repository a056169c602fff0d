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

}  // namespace panda::kernels::reference
