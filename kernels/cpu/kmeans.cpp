// K-means' sums on the cpu device: a work item is some columns of one cluster, added point by point.
#include "kernels/kmeans.h"

#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

namespace {

constexpr int64_t kColumns = 512;  // f64 sums: 4 KiB of L1, whole rows of points up to 2 KiB
/// Clusters per item: small ones are not worth an item each.
constexpr int64_t kClustersPerItem = 8;

}  // namespace

void kmeans_accumulate(Device& base, const KmeansAccumulateArgs& args) {
  CpuDevice& device = cpu_device(base);
  const MicroKernels& micro = device.micro();
  const int64_t k = args.sums.shape()[0];
  const int64_t d = args.sums.shape()[1];
  const auto* x = args.points.data<float>();
  const float* weights = args.weights.present() ? args.weights.data<float>() : nullptr;
  double* sums = args.sums.data<double>();
  const int64_t strips = ceil_div(d, kColumns);
  const int64_t groups = ceil_div(k, kClustersPerItem);
  device.threads().parallel_for(groups * strips, [&](int64_t item, int) {
    const int64_t first = item / strips * kClustersPerItem;
    const Range columns{item % strips * kColumns, std::min((item % strips + 1) * kColumns, d)};
    for (int64_t j = first; j < std::min(first + kClustersPerItem, k); ++j) {
      double* sum = sums + j * d + columns.begin;
      for (int64_t m = args.offsets[static_cast<size_t>(j)]; m < args.offsets[static_cast<size_t>(j) + 1];
           ++m) {
        const int64_t i = args.members[static_cast<size_t>(m)];
        const float* row = x + i * d + columns.begin;
        if (weights == nullptr) {
          micro.reduce_columns(SimdReduce::kSum, row, 1, d, columns.size(), sum);
        } else {
          const double weight = weights[i];
          for (int64_t c = 0; c < columns.size(); ++c) sum[c] += weight * double{row[c]};
        }
      }
    }
  });
}

}  // namespace panda::kernels::cpu
