// kmeans_accumulate and kmeans_exchange (kernels/kmeans.h): the sums of the points of each cluster.
//
// WHAT    points f32 n,d -> sums f64 k,d over members of each cluster; or sums f64 2,k,d and sizes i64 k
//         after some points have changed their clusters
// READS   accumulate: each member's row once, coalesced along d; its number and weight by every thread of a
//         row; the sums once. exchange: both labels of each point; of those that change the row and the grid
// WRITES  accumulate: the sums. exchange: by atomics, up to four f64 an element that changes
// FLOPS   accumulate: an f64 multiply-add an element. exchange: 7 f64 an element that changes
// LAUNCH  accumulate: one thread a component of a sum, in the order of memory; no atomics: a sum is one
//         chain. exchange: a block 64 points; sums that do not round are added to in any order
// LIMITS  accumulate: the chain is as long as the cluster: few large clusters of small d leave most of a GPU
//         idle
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

/// Points of a block, few of which change their cluster.
constexpr int kExchangePoints = 64;

__global__ void __launch_bounds__(kBlockThreads)
    exchange(const float* __restrict__ points, const float* __restrict__ weights,
             const int64_t* __restrict__ before, const int64_t* __restrict__ after,
             const double* __restrict__ grid, double* __restrict__ sums,
             unsigned long long* __restrict__ counts, int64_t n, int64_t k, int64_t d) {
  PANDA_SHARED(int64_t, changed, [kExchangePoints]);
  PANDA_SHARED(unsigned, changed_count, [1]);
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) *changed_count = 0;
  __syncthreads();  // the count is zero before it is added to
  const int64_t mine = int64_t{blockIdx.x} * kExchangePoints + thread;
  if (thread < kExchangePoints && mine < n && before[mine] != after[mine]) {
    changed[atomicAdd(changed_count, 1U)] = mine;  // sums do not round: the order decides nothing
    if (weights == nullptr || weights[mine] > 0) {
      if (before[mine] >= 0) atomicAdd(&counts[before[mine]], ~0ULL);  // one less
      atomicAdd(&counts[after[mine]], 1ULL);
    }
  }
  __syncthreads();  // all changed points are there before they are read
  const int64_t elements = *changed_count * d;
  for (int64_t i = thread; i < elements; i += kBlockThreads) {
    int64_t column;
    const int64_t point = changed[divide(i, d, column)];
    const double factor = weights == nullptr ? 1.0 : static_cast<double>(weights[point]);
    // Exact, so it does not matter whether the compiler contracts the sum after it.
    const double v = factor * static_cast<double>(points[point * d + column]);
    const double coarse = (v + grid[column]) - grid[column];
    const double fine = ((v - coarse) + grid[d + column]) - grid[d + column];
    const int64_t from = before[point];
    const int64_t to = after[point];
    if (from >= 0) {
      atomicAdd(&sums[from * d + column], -coarse);
      atomicAdd(&sums[(k + from) * d + column], -fine);
    }
    atomicAdd(&sums[to * d + column], coarse);
    atomicAdd(&sums[(k + to) * d + column], fine);
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

void kmeans_exchange(Device& base, const KmeansExchangeArgs& args) {
  GpuDevice& device = gpu_device(base);
  const int64_t n = args.points.shape()[0];
  const int64_t k = args.sums.shape()[1];
  const int64_t d = args.sums.shape()[2];
  PANDA_LAUNCH(exchange, grid_for(n, kExchangePoints), dim3(kBlockThreads), 0, device,
               args.points.data<float>(), args.weights.present() ? args.weights.data<float>() : nullptr,
               args.before.data<int64_t>(), args.after.data<int64_t>(), args.grid.data<double>(),
               args.sums.data<double>(), reinterpret_cast<unsigned long long*>(args.counts.data<int64_t>()),
               n, k, d);
}

}  // namespace panda::kernels::PANDA_TARGET
