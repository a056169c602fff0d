// K-means' sums on the cpu device: a work item is some columns of a few clusters, added point by point.
#include "kernels/kmeans.h"

#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

namespace {

/// Columns of a work item: whole rows of points up to 2 KiB.
constexpr int64_t kColumns = 512;
/// Clusters per item: small ones are not worth an item each.
constexpr int64_t kClustersPerItem = 8;

}  // namespace

void kmeans_accumulate(Device& base, const KmeansAccumulateArgs& args) {
  CpuDevice& device = cpu_device(base);
  const MicroKernels& micro = device.micro();
  const int64_t k = args.sums.shape()[0];
  const int64_t d = args.sums.shape()[1];
  const int64_t strips = ceil_div(d, kColumns);
  const int64_t groups = ceil_div(k, kClustersPerItem);
  device.threads().parallel_for(groups * strips, [&](int64_t item, int) {
    const int64_t first = item / strips * kClustersPerItem;
    const Range columns{item % strips * kColumns, std::min((item % strips + 1) * kColumns, d)};
    for (int64_t j = first; j < std::min(first + kClustersPerItem, k); ++j) {
      const int64_t begin = args.offsets[static_cast<size_t>(j)];
      micro.add_rows({.x = args.points.data<float>() + columns.begin,
                      .stride = d,
                      .members = args.members.data() + begin,
                      .count = args.offsets[static_cast<size_t>(j) + 1] - begin,
                      .weights = args.weights.present() ? args.weights.data<float>() : nullptr,
                      .columns = columns.size(),
                      .sums = args.sums.data<double>() + j * d + columns.begin});
    }
  });
}

}  // namespace panda::kernels::cpu
