// K-means' sums on the cpu device: a work item is some columns of a few clusters, added point by point.
#include "kernels/kmeans.h"

#include <vector>

#include "kernels/cluster_members.h"
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

void add_exact(CpuDevice& device, const KmeansExchangeArgs& args, const ClusterMembers& clusters,
               bool subtract) {
  if (clusters.members.empty()) return;
  const int64_t k = args.sums.shape()[1];
  const int64_t d = args.sums.shape()[2];
  const double* const all_grid = args.grid.data<double>();
  double* const all_sums = args.sums.data<double>();
  for_each_strip(device, k, d, [&](int64_t j, const Range& columns) {
    const int64_t begin = clusters.offsets[static_cast<size_t>(j)];
    const int64_t count = clusters.offsets[static_cast<size_t>(j) + 1] - begin;
    if (count == 0) return;
    const double* const grid = all_grid + columns.begin;
    double* const sums = all_sums + j * d + columns.begin;
    device.micro().add_rows_exact({.x = args.points.data<float>() + columns.begin,
                                   .stride = d,
                                   .members = clusters.members.data() + begin,
                                   .count = count,
                                   .weights = args.weights.present() ? args.weights.data<float>() : nullptr,
                                   .subtract = subtract,
                                   .columns = columns.size(),
                                   .grid = grid,
                                   .fine_grid = grid + d,
                                   .sums = sums,
                                   .fine_sums = sums + k * d});
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

void kmeans_exchange(Device& base, const KmeansExchangeArgs& args) {
  const int64_t k = args.sums.shape()[1];
  const int64_t* const before = args.before.data<int64_t>();
  const int64_t* const after = args.after.data<int64_t>();
  int64_t* const counts = args.counts.data<int64_t>();
  std::vector<int64_t> leaving, left, coming, joined;
  for (int64_t i = 0; i < args.points.shape()[0]; ++i) {
    if (before[i] == after[i]) continue;
    const int64_t heavy = !args.weights.present() || args.weights.data<float>()[i] > 0 ? 1 : 0;
    if (before[i] >= 0) {
      leaving.push_back(i);
      left.push_back(before[i]);
      counts[before[i]] -= heavy;
    }
    coming.push_back(i);
    joined.push_back(after[i]);
    counts[after[i]] += heavy;
  }
  CpuDevice& device = cpu_device(base);
  add_exact(device, args, ClusterMembers(leaving, left, k), true);
  add_exact(device, args, ClusterMembers(coming, joined, k), false);
}

}  // namespace panda::kernels::cpu
