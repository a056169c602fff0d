// knn_search (kernels/knn.h): exact k nearest neighbours, every pair measured by the canonical f64 distance.
//
// WHAT    queries: nq,d · gallery: nb,d -> distances, indices: nq,k, the first k by (distance, index)
// READS   the gallery once for 16 queries, the queries once for 32 gallery rows (both from L2 mostly), and
//         both once before that, looking for what is not finite · WRITES k results (16 B each) a query and
//         split of the gallery, then the results
// FLOPS   3 nq nb d in f64 (difference, square, sum: each rounded, never fused)
// LAUNCH  256 threads, 44 KiB shared memory: 16 queries against one split of the gallery, 32 rows at a time;
//         then a warp a query joins the splits
// LIMITS  kList neighbours a pass over the gallery: ceil(k / 64) passes, each beginning after the last result
//         of the one before · scratch memory kWorkspaceBytes, whatever nq, nb and k
// SOURCE  kernels/knn.h. The order (distance, index) is total, so that the result depends neither on the
//         splits nor on the GPU.
//
// The 16 partial sums of a pair live in 16 neighbouring lanes, a lane each; a lane keeps that part of the
// sums of 4 queries x 8 gallery rows in registers, so that 12 loads from shared memory feed 96 operations.
#include "kernels/knn.h"

#include <algorithm>

#include "kernels/cuda/gpu_kernels.h"
#include "kernels/cuda/work.cuh"

namespace panda::kernels::PANDA_TARGET {

namespace {

constexpr int kParts = 16;         // of a canonical sum
constexpr int kTileQueries = 16;   // of a block
constexpr int kTileRows = 32;      // gallery rows of a tile: one a lane when they are selected
constexpr int kDepth = 64;         // components in shared memory at a time: both tiles are 24 KiB of f64
constexpr int kThreadQueries = 4;  // of a lane's register tile: 32 sums are 64 registers
constexpr int kThreadRows = 8;
constexpr int kPairs = kThreadQueries * kThreadRows;
constexpr int kRowGroups = kTileRows / kThreadRows;
static_assert(kBlockThreads / kParts == kTileQueries / kThreadQueries * kRowGroups);

/// Neighbours that a block keeps of each query: two a lane.
constexpr int kList = 64;
constexpr int kQueriesPerWarp = kTileQueries / (kBlockThreads / kWarpThreads);

/// A warp joins up to this many splits, kSplitsPerLane a lane.
constexpr int kSplitsPerLane = 4;
constexpr int64_t kMaxSplits = kWarpThreads * kSplitsPerLane;
/// Gallery rows below which a split is not worth its list: 8 tiles.
constexpr int64_t kRowsPerSplit = 256;
/// Blocks a multiprocessor that splitting aims at: two are resident, and the last ones should end together.
constexpr int64_t kBlocksPerMultiprocessor = 4;
constexpr int64_t kWorkspaceBytes = int64_t{64} << 20;

constexpr int64_t kNoIndex = INT64_MAX;  // behind every neighbour

struct Neighbor {
  double distance;
  int64_t index;
};
__device__ bool precedes(const Neighbor& a, const Neighbor& b) {
  return a.distance < b.distance || (a.distance == b.distance && a.index < b.index);
}

/// first[0] becomes the lowest index of an element that is not finite; it stays if there is none.
__global__ void __launch_bounds__(kBlockThreads)
    find_not_finite(const float* __restrict__ x, int64_t count, unsigned long long* first) {
  const int64_t threads = int64_t{gridDim.x} * kBlockThreads;
  for (int64_t i = thread_index(); i < count; i += threads) {
    constexpr unsigned kExponent = 0x7f800000U;
    if ((__float_as_uint(x[i]) & kExponent) == kExponent) {
      atomicMin(first, static_cast<unsigned long long>(i));  // a minimum has no order
      return;  // the thread's later elements have higher indices
    }
  }
}

/// Fills rows x kDepth of shared memory with f64 components [begin, begin + kDepth) of rows [first, last);
/// zeros past the last row and component.
template <int kRows>
__device__ void fill_tile(double (&tile)[kRows][kDepth], const float* __restrict__ x, int64_t first,
                          int64_t last, int64_t begin, int64_t d) {
  const int column = static_cast<int>(threadIdx.x) % kDepth;
  const int64_t component = begin + column;
#pragma unroll
  for (int i = 0; i < kRows * kDepth / kBlockThreads; ++i) {
    const int row = static_cast<int>(threadIdx.x) / kDepth + i * (kBlockThreads / kDepth);
    const bool inside = first + row < last && component < d;
    tile[row][column] = inside ? x[(first + row) * d + component] : 0.0F;
  }
}

/// Adds the squared differences of one component to this lane's partial sums.
__device__ void add_component(double (&sums)[kPairs], const double (&q)[kTileQueries][kDepth],
                              const double (&x)[kTileRows][kDepth], int first_query, int first_row,
                              int column) {
  double query[kThreadQueries];
#pragma unroll
  for (int i = 0; i < kThreadQueries; ++i) query[i] = q[first_query + i][column];
#pragma unroll
  for (int j = 0; j < kThreadRows; ++j) {
    const double row = x[first_row + j][column];
#pragma unroll
    for (int i = 0; i < kThreadQueries; ++i) {
      const double difference = __dsub_rn(query[i], row);
      double& sum = sums[i * kThreadRows + j];
      sum = __dadd_rn(sum, __dmul_rn(difference, difference));
    }
  }
}

/// One step of the canonical order, s_j += s_{j + kStep}, for kHalf * 2 pairs: the lanes without the bit
/// kStep keep the first half of the pairs, those with it the second; each gets the other's sums of what it
/// keeps. a + b has the bits of b + a.
template <int kStep, int kHalf>
__device__ void halve(double (&sums)[kPairs], int part) {
  const bool upper = (part & kStep) != 0;
#pragma unroll
  for (int i = 0; i < kHalf; ++i) {
    const double given = upper ? sums[i] : sums[i + kHalf];
    const double kept = upper ? sums[i + kHalf] : sums[i];
    sums[i] = __dadd_rn(kept, __shfl_xor_sync(kWholeWarp, given, kStep));
  }
}

/// Puts a candidate into a sorted list of `size` <= kList, behind its equals, and drops the last. By a whole
/// warp, whose lanes look at two entries each.
__device__ void insert(double (&distances)[kList], int64_t (&indices)[kList], int size,
                       const Neighbor& candidate) {
  const int low = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int high = low + kWarpThreads;
  const unsigned before_low = __ballot_sync(kWholeWarp, low < size && distances[low] <= candidate.distance);
  const unsigned before_high =
      __ballot_sync(kWholeWarp, high < size && distances[high] <= candidate.distance);
  const int place = __popc(before_low) + __popc(before_high);
  const auto entry = [&](int i) -> Neighbor {
    if (i == place) return candidate;
    const int from = i < place ? i : i - 1;
    return {distances[from], indices[from]};
  };
  const Neighbor new_low = low < size ? entry(low) : Neighbor{};
  const Neighbor new_high = high < size ? entry(high) : Neighbor{};
  __syncwarp();  // all entries are read before one is overwritten
  if (low < size) {
    distances[low] = new_low.distance;
    indices[low] = new_low.index;
  }
  if (high < size) {
    distances[high] = new_high.distance;
    indices[high] = new_high.index;
  }
  __syncwarp();  // the list is whole before the next look at it
}

struct SearchArgs {
  const float* queries;
  const float* gallery;
  int64_t nq, nb, d;
  int64_t rows_per_split;  ///< a multiple of kTileRows
  int size;                ///< neighbours to find, <= kList
  const Neighbor* after;   ///< nq; only what follows counts. nullptr: everything
  Neighbor* lists;         ///< splits,nq,size
};

__global__ void __launch_bounds__(kBlockThreads, 2) search_tiles(SearchArgs args) {
  PANDA_SHARED(double, query_tile, [kTileQueries][kDepth]);
  PANDA_SHARED(double, row_tile, [kTileRows][kDepth]);
  PANDA_SHARED(double, tile_distances, [kTileQueries][kTileRows]);
  PANDA_SHARED(double, best_distances, [kTileQueries][kList]);
  PANDA_SHARED(int64_t, best_indices, [kTileQueries][kList]);
  int64_t query_block;
  const int64_t split = divide(blockIdx.x, (args.nq + kTileQueries - 1) / kTileQueries, query_block);
  const int64_t first_query = query_block * kTileQueries;
  const int64_t split_begin = split * args.rows_per_split;
  const int64_t split_end =
      split_begin + args.rows_per_split < args.nb ? split_begin + args.rows_per_split : args.nb;

  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kWarpThreads;
  const int part = thread % kParts;
  const int group = thread / kParts;
  const int thread_query = group / kRowGroups * kThreadQueries;
  const int thread_row = group % kRowGroups * kThreadRows;
  const int warp_query = thread / kWarpThreads * kQueriesPerWarp;
  for (int i = thread; i < kTileQueries * kList; i += kBlockThreads) {
    best_distances[i / kList][i % kList] = INFINITY;
    best_indices[i / kList][i % kList] = kNoIndex;
  }

  for (int64_t tile = split_begin; tile < split_end; tile += kTileRows) {
    double sums[kPairs] = {};
    int64_t begin = 0;
    do {  // once even for d = 0: its barriers also order what follows
      fill_tile(query_tile, args.queries, first_query, args.nq, begin, args.d);
      fill_tile(row_tile, args.gallery, tile, split_end, begin, args.d);
      __syncthreads();  // both tiles are filled before they are read (and the lists, the first time)
      // Zeros past d leave a sum as it is.
      for (int column = part; column < kDepth && begin + column - part < args.d; column += kParts)
        add_component(sums, query_tile, row_tile, thread_query, thread_row, column);
      __syncthreads();  // all have read the tiles (and, before that, the last distances): they may be filled
      begin += kDepth;
    } while (begin < args.d);

    halve<8, 16>(sums, part);
    halve<4, 8>(sums, part);
    halve<2, 4>(sums, part);
    halve<1, 2>(sums, part);
    // Lane `part` was left with pairs 2 part and 2 part + 1: neighbouring rows of one query.
    const int query = thread_query + part / (kThreadRows / 2);
    const int row = thread_row + part % (kThreadRows / 2) * 2;
    tile_distances[query][row] = sums[0];
    tile_distances[query][row + 1] = sums[1];
    __syncthreads();  // all distances of the tile are there before they are selected from

    for (int i = warp_query; i < warp_query + kQueriesPerWarp; ++i) {
      if (first_query + i >= args.nq) break;
      const Neighbor mine = {tile_distances[i][lane], tile + lane};
      bool wanted = mine.index < split_end && mine.distance < best_distances[i][args.size - 1];
      if (wanted && args.after != nullptr) wanted = precedes(args.after[first_query + i], mine);
      unsigned waiting = __ballot_sync(kWholeWarp, wanted);
      while (waiting != 0) {  // by rising index, so that equals keep their order
        const int source = __ffs(static_cast<int>(waiting)) - 1;
        waiting &= waiting - 1;
        const double distance = __shfl_sync(kWholeWarp, mine.distance, source);
        if (distance < best_distances[i][args.size - 1])
          insert(best_distances[i], best_indices[i], args.size, {distance, tile + source});
      }
    }
  }

  // A warp writes the lists that it alone has written.
  for (int i = warp_query; i < warp_query + kQueriesPerWarp && first_query + i < args.nq; ++i) {
    Neighbor* list = args.lists + (split * args.nq + first_query + i) * args.size;
    for (int e = lane; e < args.size; e += kWarpThreads) list[e] = {best_distances[i][e], best_indices[i][e]};
  }
}

struct JoinArgs {
  const Neighbor* lists;  ///< splits,nq,size, each sorted
  int64_t splits, nq;
  int size;
  float* distances_f32;  ///< one of the two is nullptr; rows k apart
  double* distances_f64;
  int64_t* indices;
  int64_t k;
  Neighbor* last;  ///< nq
};

/// A warp a query: the first `size` of all splits' lists, in order.
__global__ void __launch_bounds__(kBlockThreads) join_splits(JoinArgs args) {
  const int64_t query = thread_index() / kWarpThreads;
  if (query >= args.nq) return;  // whole warps
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  int taken[kSplitsPerLane] = {};  // of the lists lane, lane + 32, ...
  for (int e = 0; e < args.size; ++e) {
    Neighbor mine = {INFINITY, kNoIndex};
    int from = 0;
#pragma unroll
    for (int i = 0; i < kSplitsPerLane; ++i) {
      const int64_t split = lane + i * kWarpThreads;
      if (split >= args.splits || taken[i] == args.size) continue;
      const Neighbor head = args.lists[(split * args.nq + query) * args.size + taken[i]];
      if (precedes(head, mine)) {
        mine = head;
        from = i;
      }
    }
    Neighbor first = mine;
    for (int step = kWarpThreads / 2; step >= 1; step /= 2) {
      const Neighbor other = {__shfl_xor_sync(kWholeWarp, first.distance, step),
                              __shfl_xor_sync(kWholeWarp, first.index, step)};
      if (precedes(other, first)) first = other;
    }
#pragma unroll
    for (int i = 0; i < kSplitsPerLane; ++i) {
      if (first.index == mine.index && i == from) ++taken[i];  // an index is in one list alone
    }
    if (lane == 0) {
      const int64_t at = query * args.k + e;
      args.indices[at] = first.index;
      if (args.distances_f64 != nullptr) {
        args.distances_f64[at] = first.distance;
      } else {
        args.distances_f32[at] = static_cast<float>(first.distance);
      }
      if (e == args.size - 1) args.last[query] = first;
    }
  }
}

void check_finite(GpuDevice& device, const KnnSearchArgs& args) {
  constexpr unsigned long long kNone = ~0ULL;
  const Storage found(device, 2 * sizeof(unsigned long long), "knn_search");
  auto* first = static_cast<unsigned long long*>(found.data());
  device.fill(first, 0xff, found.bytes());
  const ConstTensorView* rows[] = {&args.queries, &args.gallery};
  for (int i = 0; i < 2; ++i) {
    const int64_t count = rows[i]->numel();
    if (count == 0) continue;
    constexpr int64_t kPerThread = 16;  // enough loads in flight; a thread that finds something ends there
    PANDA_LAUNCH(find_not_finite, grid_for(count, kBlockThreads * kPerThread), dim3(kBlockThreads), 0, device,
                 rows[i]->data<float>(), count, first + i);
  }
  unsigned long long at[2];
  device.copy_to_host(at, first, sizeof at);
  for (int i = 0; i < 2; ++i) {
    if (at[i] == kNone) continue;
    float value;
    device.copy_to_host(&value, rows[i]->data<float>() + at[i], sizeof value);
    const auto d = static_cast<unsigned long long>(rows[i]->shape()[1]);
    throw InvalidArgument(text("knn_search: ", i == 0 ? "queries" : "gallery", " row ", at[i] / d, " holds ",
                               value, " at component ", at[i] % d));
  }
}

/// How the work is cut; the result does not depend on it.
struct Plan {
  int64_t splits;
  int64_t rows_per_split;
  int64_t queries;  ///< searched at a time
};
Plan plan_search(const GpuProperties& gpu, int64_t nq, int64_t nb, int64_t size) {
  const int64_t query_blocks = ceil_div(nq, kTileQueries);
  const int64_t wanted = ceil_div(kBlocksPerMultiprocessor * gpu.multiprocessors, query_blocks);
  const int64_t splits = std::clamp<int64_t>(wanted, 1, std::min(kMaxSplits, ceil_div(nb, kRowsPerSplit)));
  const int64_t rows = round_up(ceil_div(nb, splits), kTileRows);
  const int64_t used = ceil_div(nb, rows);
  const auto query_bytes = static_cast<int64_t>(sizeof(Neighbor)) * (used * size + 1);
  const int64_t queries = std::max<int64_t>(kWorkspaceBytes / query_bytes / kTileQueries, 1) * kTileQueries;
  return {used, rows, std::min(queries, nq)};
}

}  // namespace

void knn_search(Device& base, const KnnSearchArgs& args) {
  GpuDevice& device = gpu_device(base);
  check_finite(device, args);
  const int64_t nq = args.queries.shape()[0];
  const int64_t nb = args.gallery.shape()[0];
  const int64_t d = args.queries.shape()[1];
  const int64_t list = std::min<int64_t>(args.k, kList);
  const Plan plan = plan_search(device.properties(), nq, nb, list);
  const Storage lists(device, plan.splits * plan.queries * list * static_cast<int64_t>(sizeof(Neighbor)),
                      "knn_search");
  const Storage last(device, plan.queries * static_cast<int64_t>(sizeof(Neighbor)), "knn_search");
  const bool f64 = args.distances.dtype() == DType::kF64;
  for (int64_t q = 0; q < nq; q += plan.queries) {
    const int64_t queries = std::min(plan.queries, nq - q);
    for (int64_t done = 0; done < args.k; done += list) {
      const int size = static_cast<int>(std::min(list, args.k - done));
      const int64_t blocks = ceil_div(queries, kTileQueries) * plan.splits;
      PANDA_LAUNCH(search_tiles, grid_for(blocks, 1), dim3(kBlockThreads), 0, device,
                   (SearchArgs{args.queries.data<float>() + q * d, args.gallery.data<float>(), queries, nb, d,
                               plan.rows_per_split, size,
                               done == 0 ? nullptr : static_cast<const Neighbor*>(last.data()),
                               static_cast<Neighbor*>(lists.data())}));
      const int64_t at = q * args.k + done;
      PANDA_LAUNCH(
          join_splits, grid_for(queries, kBlockThreads / kWarpThreads), dim3(kBlockThreads), 0, device,
          (JoinArgs{static_cast<const Neighbor*>(lists.data()), plan.splits, queries, size,
                    f64 ? nullptr : args.distances.data<float>() + at,
                    f64 ? args.distances.data<double>() + at : nullptr, args.indices.data<int64_t>() + at,
                    args.k, static_cast<Neighbor*>(last.data())}));
    }
  }
}

}  // namespace panda::kernels::PANDA_TARGET
