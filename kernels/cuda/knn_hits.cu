// Thresholds of the kNN filter from what it keeps, and the answer from the last lists.
//
// WHAT    lists of (row, product) of nq queries -> base, an upper bound on each one's k-th distance; or the
//         canonical f64 distances of what base leaves, and the first k by (distance, index). k = 1: an only
//         hit is the answer, measured only if its distance is asked for
// READS   24 bytes a hit; the rows themselves of what is measured · WRITES base, or the results
// FLOPS   32 f32 comparisons a hit for a threshold, 3 d f64 a pair measured
// LAUNCH  lower_thresholds: a warp a query; thresholds_of_nearest, settle_single: a thread; measure_hits: a
//         block, and 16 lanes a pair
// LIMITS  a list fits shared memory, k <= 64
// SOURCE  docs/derivations/knn_certificate.md
#include "kernels/cuda/knn_hits.cuh"

#include <cmath>

#include "kernels/cuda/work.cuh"

namespace panda::kernels::PANDA_TARGET {

namespace {

constexpr int kMeasureThreads = 128;
constexpr int kThresholdWarps = 4;

struct Interval {
  double low, high;
};
/// What the distance of a query and a row lies in, in units of the index's scale squared. product: of their
/// codes, times the query's unit.
__device__ Interval bounds_of(const KnnHitLists& lists, const KnnQueryBounds& query, const KnnRowBounds& row,
                              double product) {
  const double error = query.beta * row.error + query.epsilon * row.norm;
  const double slack = kKnnBoundSlack * (fabs(query.high) + row.c + fabs(product) + error);
  // c was rounded down by 2 eta, so 8 eta more is above.
  return {
      query.low + row.c - product - error - slack,
      (query.high + row.c * (1 + 8 * lists.eta) - product + error + slack) * (1 + lists.relative_rounding)};
}

__device__ Interval bounds_of(const KnnHitLists& lists, const KnnQueryBounds& query, const KnnHit& hit) {
  return bounds_of(lists, query, lists.rows[hit.row], query.unit * hit.product);
}

/// tau of a query: the k-th smallest upper bound of its first `count` hits, rounded up to f32; infinite if
/// there are fewer. `bounds`: room for them in shared memory. By a whole warp, which all get it.
__device__ double find_tau(const KnnHitLists& lists, int64_t query, int count, unsigned* bounds) {
  if (count < lists.k) return INFINITY;
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const KnnQueryBounds mine = lists.queries[query];
  for (int i = lane; i < count; i += kWarpThreads) {
    const Interval interval = bounds_of(lists, mine, lists.hits[query * lists.capacity + i]);
    bounds[i] = ordered(-round_down(-interval.high));
  }
  // A lane counts the bounds that it wrote itself: no barrier.
  unsigned smallest = 0;  // that k bounds are at most, bit by bit
  for (int bit = 31; bit >= 0; --bit) {
    const unsigned trial = smallest | ((1U << bit) - 1);
    int within = 0;
    for (int i = lane; i - lane < count; i += kWarpThreads)
      within += __popc(__ballot_sync(kWholeWarp, i < count && bounds[i] <= trial));
    if (within < lists.k) smallest |= 1U << bit;
  }
  return from_ordered(smallest);
}

/// Rows whose lower bound is above this are behind the k-th.
__device__ double discard_above(const KnnHitLists& lists, double tau) {
  return tau * (1 + lists.relative_rounding);
}

/// base of a query whose k-th distance is at most tau.
__device__ double base_of(const KnnHitLists& lists, int64_t query, double tau) {
  const double limit = discard_above(lists, tau);
  const double low = lists.queries[query].low;
  return (limit - low) + kKnnBoundSlack * (fabs(limit) + fabs(low));
}

/// base from what the samples so far have kept, and empty lists.
__global__ void __launch_bounds__(kThresholdWarps* kWarpThreads) lower_thresholds(const KnnHitLists lists) {
  PANDA_DYNAMIC_SHARED(unsigned, bounds);
  const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
  const int64_t query = int64_t{blockIdx.x} * kThresholdWarps + warp;
  if (query >= lists.nq) return;  // whole warps
  const unsigned count = lists.counts[query];
  if (count >= static_cast<unsigned>(lists.k) && count <= static_cast<unsigned>(lists.capacity)) {
    const double tau = find_tau(lists, query, static_cast<int>(count), bounds + warp * lists.capacity);
    const double base = base_of(lists, query, tau);
    if (threadIdx.x % kWarpThreads == 0 && base < lists.base[query]) lists.base[query] = base;
  }
  __syncwarp();  // all lanes have read the count
  if (threadIdx.x % kWarpThreads == 0) lists.counts[query] = 0;
}

/// base from the nearest row of a sample, k = 1: the score s = fl(P - c / unit), of which it was the largest,
/// gives back P; rounding moved s by 2^-24 of itself or the least f32, and two additions here round as well.
__global__ void __launch_bounds__(kBlockThreads)
    thresholds_of_nearest(const KnnHitLists lists, const unsigned long long* __restrict__ nearest,
                          const float* __restrict__ c) {
  const int64_t query = thread_index();
  if (query >= lists.nq || nearest[query] == 0) return;  // a query that cannot be filtered has none
  const float score = from_ordered(static_cast<unsigned>(nearest[query] >> 32));
  if (!(score > -INFINITY)) return;
  const unsigned place = ~static_cast<unsigned>(nearest[query]);
  const KnnRowBounds row = lists.rows[place];
  const KnnQueryBounds mine = lists.queries[query];
  const double scaled = mine.unit * score;
  const double rounded = fabs(scaled) * 0x1p-23 + mine.unit * 0x1p-148 + kKnnBoundSlack * row.c;
  const Interval interval = bounds_of(lists, mine, row, scaled + c[place] - rounded);
  lists.base[query] = base_of(lists, query, -round_down(-interval.high));
}

/// base of queries about which nothing is known yet.
__global__ void __launch_bounds__(kBlockThreads) open_thresholds(double* base, int64_t count) {
  const int64_t i = thread_index();
  if (i < count) base[i] = INFINITY;
}

__global__ void __launch_bounds__(kBlockThreads)
    settle_single(const KnnHitLists lists, int64_t* __restrict__ indices, uint32_t* __restrict__ open,
                  KnnTotals* totals) {
  const int64_t query = thread_index();
  const bool there = query < lists.nq;
  const bool single = there && lists.counts[query] == 1;
  if (single) {
    indices[query] = lists.hits[query * lists.capacity].row;
  } else if (there) {
    open[atomicAdd(&totals->open, 1ULL)] = static_cast<uint32_t>(query);
  }
  const unsigned settled = __ballot_sync(kWholeWarp, single);
  if (threadIdx.x % kWarpThreads == 0)
    atomicAdd(&totals->kept, static_cast<unsigned long long>(__popc(settled)));
}

/// D of a query and a row; by 16 lanes that ask for the same.
template <KnnMetric kMetric>
__device__ double measure(const KnnMeasureArgs& args, int64_t query, int64_t row) {
  double part = 0;
#pragma unroll 4
  for (int64_t i = threadIdx.x % kKnnParts; i < args.d; i += kKnnParts)
    part = add_term<kMetric>(part, widened(args.queries, query * args.d + i),
                             widened(args.gallery, row * args.d + i));
  const double sum = join_parts(part);
  double norms = 0;
  if (kMetric == KnnMetric::kCosine) norms = __dmul_rn(args.query_norms[query], args.row_norms[row]);
  return distance_from<kMetric>(sum, norms);
}

/// The results of one query, a block each.
template <KnnMetric kMetric>
__global__ void __launch_bounds__(kMeasureThreads) measure_hits(const KnnMeasureArgs args) {
  PANDA_DYNAMIC_SHARED(double, shared);
  PANDA_SHARED(unsigned, survivor_count, [1]);
  const KnnHitLists& lists = args.lists;
  const int64_t query = args.open == nullptr ? blockIdx.x : args.open[blockIdx.x];
  const int thread = static_cast<int>(threadIdx.x);
  const unsigned found = lists.counts[query];
  if (thread == 0) {
    *survivor_count = 0;
    atomicAdd(&args.totals->kept, static_cast<unsigned long long>(found));
  }
  if (found > static_cast<unsigned>(lists.capacity) || lists.queries[query].unit == 0) {
    if (thread == 0) args.given_up[atomicAdd(&args.totals->given_up, 1ULL)] = static_cast<uint32_t>(query);
    return;
  }
  const int count = static_cast<int>(found);
  auto* const distances = shared;
  auto* const rows = reinterpret_cast<uint32_t*>(distances + lists.capacity);
  auto* const bounds = reinterpret_cast<unsigned*>(rows + lists.capacity);
  if (thread < kWarpThreads) {
    // Of k hits or fewer all are measured.
    const double tau = count <= lists.k ? INFINITY : find_tau(lists, query, count, bounds);
    if (thread == 0) distances[0] = discard_above(lists, tau);
  }
  __syncthreads();  // the limit is there before it is read, and the count is zero before it is added to
  const double limit = distances[0];
  const KnnQueryBounds mine = lists.queries[query];
  for (int i = thread; i < count; i += kMeasureThreads) {
    const KnnHit hit = lists.hits[query * lists.capacity + i];
    if (bounds_of(lists, mine, hit).low > limit) continue;
    rows[atomicAdd(survivor_count, 1U)] = hit.row;  // the order decides nothing
  }
  __syncthreads();  // all survivors are there before they are measured, and the limit has been read
  const int survivors = static_cast<int>(*survivor_count);
  constexpr int kPairs = kMeasureThreads / kKnnParts;
  for (int first = 0; first < survivors; first += kPairs) {
    const int i = first + thread / kKnnParts;
    const double distance = measure<kMetric>(args, query, rows[i < survivors ? i : survivors - 1]);
    if (i < survivors && thread % kKnnParts == 0) distances[i] = distance;
  }
  __syncthreads();  // all distances are there before they are compared
  for (int i = thread; i < survivors; i += kMeasureThreads) {
    const Neighbor self = {distances[i], rows[i]};
    int rank = 0;
    for (int j = 0; j < survivors && rank < lists.k; ++j)
      rank += precedes({distances[j], rows[j]}, self) ? 1 : 0;
    if (rank >= lists.k) continue;
    put_result(args, query * lists.k + rank, self);
  }
  if (thread == 0) atomicAdd(&args.totals->survivors, static_cast<unsigned long long>(survivors));
}

}  // namespace

void knn_open_thresholds(GpuDevice& device, const KnnHitLists& lists) {
  PANDA_LAUNCH(open_thresholds, grid_for(lists.nq, kBlockThreads), dim3(kBlockThreads), 0, device, lists.base,
               lists.nq);
}

void knn_lower_thresholds(GpuDevice& device, const KnnHitLists& lists) {
  PANDA_LAUNCH(lower_thresholds, grid_for(lists.nq, kThresholdWarps), dim3(kThresholdWarps * kWarpThreads),
               static_cast<size_t>(kThresholdWarps * lists.capacity) * sizeof(unsigned), device, lists);
}

void knn_thresholds_of_nearest(GpuDevice& device, const KnnHitLists& lists, const unsigned long long* nearest,
                               const float* c) {
  PANDA_LAUNCH(thresholds_of_nearest, grid_for(lists.nq, kBlockThreads), dim3(kBlockThreads), 0, device,
               lists, nearest, c);
}

void knn_settle_single(GpuDevice& device, const KnnHitLists& lists, int64_t* indices, uint32_t* open,
                       KnnTotals* totals) {
  PANDA_LAUNCH(settle_single, grid_for(lists.nq, kBlockThreads), dim3(kBlockThreads), 0, device, lists,
               indices, open, totals);
}

void knn_measure_hits(GpuDevice& device, KnnMetric metric, const KnnMeasureArgs& args) {
  const auto kernel = metric == KnnMetric::kL2             ? measure_hits<KnnMetric::kL2>
                      : metric == KnnMetric::kInnerProduct ? measure_hits<KnnMetric::kInnerProduct>
                                                           : measure_hits<KnnMetric::kCosine>;
  const size_t entry = sizeof(double) + sizeof(uint32_t) + sizeof(unsigned);
  PANDA_LAUNCH(kernel, grid_for(args.count, 1), dim3(kMeasureThreads),
               static_cast<size_t>(args.lists.capacity) * entry, device, args);
}

}  // namespace panda::kernels::PANDA_TARGET
