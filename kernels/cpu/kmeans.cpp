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

/// Calls `add(cluster, columns)` for all clusters and columns.
template <typename Add>
void for_each_strip(CpuDevice& device, int64_t k, int64_t d, const Add& add) {
  const int64_t strips = ceil_div(d, kColumns);
  device.threads().parallel_for(ceil_div(k, kClustersPerItem) * strips, [&](int64_t item, int) {
    const int64_t first = item / strips * kClustersPerItem;
    const Range columns{item % strips * kColumns, std::min((item % strips + 1) * kColumns, d)};
    for (int64_t j = first; j < std::min(first + kClustersPerItem, k); ++j) add(j, columns);
  });
}

}  // namespace

void kmeans_accumulate(Device& base, const KmeansAccumulateArgs& args) {
  CpuDevice& device = cpu_device(base);
  const int64_t k = args.sums.shape()[0];
  const int64_t d = args.sums.shape()[1];
  for_each_strip(device, k, d, [&](int64_t j, const Range& columns) {
    const int64_t begin = args.offsets[static_cast<size_t>(j)];
    device.micro().add_rows({.x = args.points.data<float>() + columns.begin,
                             .stride = d,
                             .members = args.members.data() + begin,
                             .count = args.offsets[static_cast<size_t>(j) + 1] - begin,
                             .weights = args.weights.present() ? args.weights.data<float>() : nullptr,
                             .columns = columns.size(),
                             .sums = args.sums.data<double>() + j * d + columns.begin});
  });
}

void kmeans_accumulate_exact(Device& base, const KmeansAccumulateExactArgs& args) {
  CpuDevice& device = cpu_device(base);
  const int64_t k = args.sums.shape()[1];
  const int64_t d = args.sums.shape()[2];
  for_each_strip(device, k, d, [&](int64_t j, const Range& columns) {
    const int64_t begin = args.offsets[static_cast<size_t>(j)];
    const int64_t count = args.offsets[static_cast<size_t>(j) + 1] - begin;
    if (count == 0) return;
    const double* const grid = args.grid.data<double>() + columns.begin;
    double* const sums = args.sums.data<double>() + j * d + columns.begin;
    device.micro().add_rows_exact({.x = args.points.data<float>() + columns.begin,
                                   .stride = d,
                                   .members = args.members.data() + begin,
                                   .count = count,
                                   .weights = args.weights.present() ? args.weights.data<float>() : nullptr,
                                   .subtract = args.subtract,
                                   .columns = columns.size(),
                                   .grid = grid,
                                   .fine_grid = grid + d,
                                   .sums = sums,
                                   .fine_sums = sums + k * d});
  });
}

}  // namespace panda::kernels::cpu
