// kmeans_accumulate and kmeans_accumulate_exact (kernels/kmeans.h): the sums of the points of each cluster.
//
// WHAT    points f32 n,d -> sums f64 k,d (exact: coarse and fine ones) over members of each cluster
// READS   each member's row once, coalesced along d; its number and weight by every thread of a row · WRITES
//         the sums, read once before (exact: once for each cluster of a segment)
// FLOPS   an f64 multiply-add an element
// LAUNCH  one thread a component of a sum, in the order of memory; no atomics: a sum is one chain.
//         Exact: one thread a component of a segment of members; sums that do not round are added up by
//         atomics, in any order
// LIMITS  a chain is as long as its cluster: few large clusters of small d leave most of a GPU idle
// SOURCE  kernels/kmeans.h
#include "kernels/kmeans.h"

#include "kernels/cuda/gpu_kernels.h"
#include "kernels/cuda/work.cuh"

namespace panda::kernels::PANDA_TARGET {

namespace {

__global__ void __launch_bounds__(kBlockThreads)
    accumulate_columns(const float* __restrict__ points, const float* __restrict__ weights,
                       const int64_t* __restrict__ members, const int64_t* __restrict__ offsets,
                       double* __restrict__ sums, int64_t k, int64_t d) {
  int64_t column;
  const int64_t cluster = divide(thread_index(), d, column);
  if (cluster >= k) return;
  double sum = sums[cluster * d + column];
  for (int64_t m = offsets[cluster]; m < offsets[cluster + 1]; ++m) {
    const int64_t point = members[m];
    const double weight = weights == nullptr ? 1.0 : static_cast<double>(weights[point]);
    // The product is exact, so it does not matter whether the compiler contracts this.
    sum += weight * static_cast<double>(points[point * d + column]);
  }
  sums[cluster * d + column] = sum;
}

/// Members that one thread adds up.
constexpr int64_t kSegment = 64;

/// The cluster of a place among the members: the last one that begins there or before.
__device__ int64_t cluster_of(const int64_t* offsets, int64_t k, int64_t place) {
  int64_t low = 0;
  int64_t high = k;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (offsets[middle] <= place) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

__global__ void __launch_bounds__(kBlockThreads)
    accumulate_columns_exact(const float* __restrict__ points, const float* __restrict__ weights,
                             const int64_t* __restrict__ members, const int64_t* __restrict__ offsets,
                             int64_t member_count, const double* __restrict__ grid, double sign,
                             double* __restrict__ sums, int64_t k, int64_t d) {
  int64_t column;
  const int64_t begin = divide(thread_index(), d, column) * kSegment;
  if (begin >= member_count) return;
  const int64_t end = begin + kSegment < member_count ? begin + kSegment : member_count;
  int64_t cluster = cluster_of(offsets, k, begin);
  const double coarse_grid = grid[column];
  const double fine_grid = grid[d + column];
  for (int64_t place = begin; place < end; ++cluster) {
    double coarse_sum = 0;
    double fine_sum = 0;
    const int64_t stop = offsets[cluster + 1] < end ? offsets[cluster + 1] : end;
    if (place == stop) continue;
    for (; place < stop; ++place) {
      const int64_t point = members[place];
      const double factor = weights == nullptr ? sign : sign * static_cast<double>(weights[point]);
      // Exact, so it does not matter whether the compiler contracts the sum after it.
      const double v = factor * static_cast<double>(points[point * d + column]);
      const double coarse = (v + coarse_grid) - coarse_grid;
      coarse_sum += coarse;
      fine_sum += ((v - coarse) + fine_grid) - fine_grid;
    }
    atomicAdd(&sums[cluster * d + column], coarse_sum);
    atomicAdd(&sums[(k + cluster) * d + column], fine_sum);
  }
}

/// A list of the host's on the device.
class DeviceList {
 public:
  DeviceList(GpuDevice& device, std::span<const int64_t> list)
      : storage_(device, static_cast<int64_t>(list.size_bytes()), "kmeans_accumulate") {
    device.copy_from_host(storage_.data(), list.data(), static_cast<int64_t>(list.size_bytes()));
  }
  [[nodiscard]] const int64_t* data() const { return static_cast<const int64_t*>(storage_.data()); }

 private:
  Storage storage_;
};

}  // namespace

void kmeans_accumulate(Device& base, const KmeansAccumulateArgs& args) {
  GpuDevice& device = gpu_device(base);
  const int64_t k = args.sums.shape()[0];
  const int64_t d = args.sums.shape()[1];
  const DeviceList members(device, args.members);
  const DeviceList offsets(device, args.offsets);
  PANDA_LAUNCH(accumulate_columns, grid_for(checked_mul(k, d), kBlockThreads), dim3(kBlockThreads), 0, device,
               args.points.data<float>(), args.weights.present() ? args.weights.data<float>() : nullptr,
               members.data(), offsets.data(), args.sums.data<double>(), k, d);
}

void kmeans_accumulate_exact(Device& base, const KmeansAccumulateExactArgs& args) {
  GpuDevice& device = gpu_device(base);
  const int64_t k = args.sums.shape()[1];
  const int64_t d = args.sums.shape()[2];
  const DeviceList members(device, args.members);
  const DeviceList offsets(device, args.offsets);
  const auto count = static_cast<int64_t>(args.members.size());
  PANDA_LAUNCH(accumulate_columns_exact, grid_for(checked_mul(ceil_div(count, kSegment), d), kBlockThreads),
               dim3(kBlockThreads), 0, device, args.points.data<float>(),
               args.weights.present() ? args.weights.data<float>() : nullptr, members.data(), offsets.data(),
               count, args.grid.data<double>(), args.subtract ? -1.0 : 1.0, args.sums.data<double>(), k, d);
}

}  // namespace panda::kernels::PANDA_TARGET
