// kmeans_accumulate (kernels/kmeans.h): the sums of the points of each cluster.
//
// WHAT    points f32 n,d -> sums f64 k,d over members of each cluster
// READS   each member's row once, coalesced along d; its number and weight by every thread of a row · WRITES
//         the sums, read once before
// FLOPS   an f64 multiply-add an element
// LAUNCH  one thread a component of a sum, in the order of memory; no atomics: a sum is one chain
// LIMITS  the chain is as long as the cluster: few large clusters of small d leave most of a GPU idle
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

}  // namespace

void kmeans_accumulate(Device& base, const KmeansAccumulateArgs& args) {
  GpuDevice& device = gpu_device(base);
  const int64_t k = args.sums.shape()[0];
  const int64_t d = args.sums.shape()[1];
  const auto member_bytes = static_cast<int64_t>(args.members.size_bytes());
  const auto offset_bytes = static_cast<int64_t>(args.offsets.size_bytes());
  const Storage members(device, member_bytes, "kmeans_accumulate");
  const Storage offsets(device, offset_bytes, "kmeans_accumulate");
  device.copy_from_host(members.data(), args.members.data(), member_bytes);
  device.copy_from_host(offsets.data(), args.offsets.data(), offset_bytes);
  PANDA_LAUNCH(accumulate_columns, grid_for(checked_mul(k, d), kBlockThreads), dim3(kBlockThreads), 0, device,
               args.points.data<float>(), args.weights.present() ? args.weights.data<float>() : nullptr,
               static_cast<const int64_t*>(members.data()), static_cast<const int64_t*>(offsets.data()),
               args.sums.data<double>(), k, d);
}

}  // namespace panda::kernels::PANDA_TARGET
