// The exact k nearest neighbours (kernels/knn.h), every pair measured by the canonical f64 distance: for
// small searches, for more neighbours than the filter of knn_filter.cu keeps, and where that is given up.
//
// WHAT    queries: nq,d · gallery: nb,d -> distances, indices: nq,k, the first k by (distance, index)
// READS   the gallery once for 16 queries, the queries once for 32 gallery rows (both from L2 mostly) ·
// WRITES k results (16 B each) a query and
//         split of the gallery, then the results
// FLOPS   nq nb d times 3 in f64 (difference, square, sum) or 2 (product, sum): each rounded, never fused
// LAUNCH  256 threads, 44 KiB shared memory: 16 queries against one split of the gallery, 32 rows at a time;
//         then a warp a query joins the splits. Cosine: before that 16 lanes a row for the norms, which a
//         prepared gallery keeps
// LIMITS  kList neighbours a pass over the gallery: ceil(k / 64) passes, each beginning after the last result
//         of the one before · scratch memory as the caller bounds it, kWorkspaceBytes at most
// SOURCE  kernels/knn.h. The order (distance, index) is total, so that the result depends neither on the
//         splits nor on the GPU.
//
// The 16 partial sums of a pair live in 16 neighbouring lanes, a lane each; a lane keeps that part of the
// sums of 4 queries x 8 gallery rows in registers, so that 12 loads from shared memory feed 96 operations.
#include <algorithm>

#include "kernels/cuda/knn_vectors.cuh"

namespace panda::kernels::PANDA_TARGET {

namespace {

constexpr int kParts = kKnnParts;
constexpr int kTileQueries = 16;   // of a block
constexpr int kTileRows = 32;      // gallery rows of a tile: one a lane when they are selected
constexpr int kDepth = 64;         // components in shared memory at a time: both tiles are 24 KiB of f64
constexpr int kThreadQueries = 4;  // of a lane's register tile: 32 sums are 64 registers
constexpr int kThreadRows = 8;
constexpr int kLoadPack = kKnnLoadPack;
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

/// Fills rows x kDepth of shared memory with f64 components [begin, begin + kDepth) of rows [first, last);
/// zeros past the last row and component, as far as the parts of a sum go. A thread loads packs of kPack
/// components; kPack divides d.
template <int kPack, typename T, int kRows>
__device__ void fill_tile(double (&tile)[kRows][kDepth], const T* __restrict__ x, int64_t first, int64_t last,
                          int64_t begin, int64_t d) {
  constexpr int kThreadsPerRow = kDepth / kPack;
  constexpr int kRowStep = kBlockThreads / kThreadsPerRow;
  const int column = static_cast<int>(threadIdx.x) % kThreadsPerRow * kPack;
  const int64_t component = begin + column;
  if (component / kParts * kParts >= d) return;
#pragma unroll 1  // 3 packs a thread and chunk, one after another: beside the sums, registers for more spill
  for (int row = static_cast<int>(threadIdx.x) / kThreadsPerRow; row < kRows; row += kRowStep) {
    Pack<T, kPack> pack = {};
    if (first + row < last && component < d) pack = load_pack<kPack>(x + (first + row) * d + component);
#pragma unroll
    for (int i = 0; i < kPack; ++i) tile[row][column + i] = widened(pack.at[i]);
  }
}
template <typename T, int kRows>
__device__ void fill_tile(double (&tile)[kRows][kDepth], const T* __restrict__ x, bool packs, int64_t first,
                          int64_t last, int64_t begin, int64_t d) {
  if (packs) {
    fill_tile<kLoadPack>(tile, x, first, last, begin, d);
  } else {
    fill_tile<1>(tile, x, first, last, begin, d);
  }
}
template <int kRows>
__device__ void fill_tile(double (&tile)[kRows][kDepth], const Vectors& x, int64_t first, int64_t last,
                          int64_t begin, int64_t d) {
  if (x.dtype == DType::kF32) {
    fill_tile(tile, x.as<float>(), x.packs, first, last, begin, d);
  } else if (x.dtype == DType::kF16) {
    fill_tile(tile, x.as<Float16>(), x.packs, first, last, begin, d);
  } else if (x.dtype == DType::kBF16) {
    fill_tile(tile, x.as<BFloat16>(), x.packs, first, last, begin, d);
  } else {
    fill_tile(tile, x.as<uint8_t>(), x.packs, first, last, begin, d);
  }
}

/// Adds the terms of one component to this lane's partial sums.
template <KnnMetric kMetric>
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
      double& sum = sums[i * kThreadRows + j];
      sum = add_term<kMetric>(sum, query[i], row);
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

/// Merges the candidates of the lanes in `waiting` into a sorted list of `size` <= kList and drops what falls
/// off its end: each entry moves up by the candidates before it, each candidate goes behind the entries not
/// greater and the candidates before it. Every candidate is less than the list's last entry, and has a higher
/// index than all entries: equals go behind. By a whole warp, a lane for a candidate and two entries.
__device__ void merge(double (&distances)[kList], int64_t (&indices)[kList], int size,
                      const double (&candidates)[kTileRows], unsigned waiting, int64_t first_index) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const double candidate = candidates[lane];
  int place = 0;
#pragma unroll
  for (int step = kList / 2; step >= 1; step /= 2) {
    if (place + step <= size && distances[place + step - 1] <= candidate) place += step;
  }
  Neighbor entries[kList / kWarpThreads];
  int places[kList / kWarpThreads];
#pragma unroll
  for (int i = 0; i < kList / kWarpThreads; ++i) {
    places[i] = lane + i * kWarpThreads;
    entries[i] = {distances[places[i]], indices[places[i]]};
  }
  for (unsigned rest = waiting; rest != 0; rest &= rest - 1) {
    const int other = __ffs(static_cast<int>(rest)) - 1;
    const double distance = candidates[other];
    for (int i = 0; i < kList / kWarpThreads; ++i) places[i] += distance < entries[i].distance ? 1 : 0;
    place += distance < candidate || (distance == candidate && other < lane) ? 1 : 0;
  }
  __syncwarp();  // all entries are read before one is overwritten
#pragma unroll
  for (int i = 0; i < kList / kWarpThreads; ++i) {
    if (places[i] >= size) continue;
    distances[places[i]] = entries[i].distance;
    indices[places[i]] = entries[i].index;
  }
  if ((waiting >> lane & 1) != 0 && place < size) {
    distances[place] = candidate;
    indices[place] = first_index + lane;
  }
  __syncwarp();  // the list is whole before the next look at it
}

struct SearchArgs {
  Vectors queries;
  Vectors gallery;
  const double* query_norms;  ///< nq, for kCosine
  const double* row_norms;    ///< nb, for kCosine
  int64_t nq, nb, d;
  int64_t rows_per_split;  ///< a multiple of kTileRows
  int size;                ///< neighbours to find, <= kList
  const Neighbor* after;   ///< nq; only what follows counts. nullptr: everything
  Neighbor* lists;         ///< splits,nq,size
};

template <KnnMetric kMetric>
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
        add_component<kMetric>(sums, query_tile, row_tile, thread_query, thread_row, column);
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
    __syncthreads();  // all sums of the tile are there before they are selected from

    for (int i = warp_query; i < warp_query + kQueriesPerWarp; ++i) {
      if (first_query + i >= args.nq) break;
      if constexpr (kMetric != KnnMetric::kL2) {
        double norms = 0;
        if (kMetric == KnnMetric::kCosine && tile + lane < split_end)
          norms = __dmul_rn(args.query_norms[first_query + i], args.row_norms[tile + lane]);
        tile_distances[i][lane] = distance_from<kMetric>(tile_distances[i][lane], norms);
        __syncwarp();  // the lanes read each other's distances when they merge
      }
      const Neighbor mine = {tile_distances[i][lane], tile + lane};
      bool wanted = mine.index < split_end && mine.distance < best_distances[i][args.size - 1];
      if (wanted && args.after != nullptr) wanted = precedes(args.after[first_query + i], mine);
      const unsigned waiting = __ballot_sync(kWholeWarp, wanted);
      if (waiting != 0)
        merge(best_distances[i], best_indices[i], args.size, tile_distances[i], waiting, tile);
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
      put_result(args, query * args.k + e, first);
      if (e == args.size - 1) args.last[query] = first;
    }
  }
}

/// How the work is cut; the result does not depend on it.
struct Plan {
  int64_t splits;
  int64_t rows_per_split;
  int64_t queries;  ///< searched at a time
};
Plan plan_search(const GpuProperties& gpu, const KnnProblem& problem, int64_t list) {
  const int64_t nq = problem.queries.shape()[0];
  const int64_t nb = problem.gallery.shape()[0];
  constexpr auto kEntry = static_cast<int64_t>(sizeof(Neighbor));
  // A query's last result and norm, and its list of each split.
  const auto query_bytes = [&](int64_t splits) {
    return kEntry * (splits * list + 1) + static_cast<int64_t>(sizeof(double));
  };
  const int64_t budget = std::min(problem.workspace_bytes, kWorkspaceBytes);
  PANDA_CHECK(kTileQueries * query_bytes(1) <= budget, problem.kernel, ": a workspace of ",
              problem.workspace_bytes, " bytes, expected at least ", kTileQueries * query_bytes(1),
              " bytes for k=", problem.k);
  const int64_t affordable = (budget / kTileQueries - query_bytes(0)) / (kEntry * list);
  const int64_t wanted = ceil_div(kBlocksPerMultiprocessor * gpu.multiprocessors, ceil_div(nq, kTileQueries));
  const int64_t most = std::min({kMaxSplits, ceil_div(nb, kRowsPerSplit), affordable});
  const int64_t rows = round_up(ceil_div(nb, std::min(wanted, most)), kTileRows);
  const int64_t splits = ceil_div(nb, rows);
  const int64_t queries = budget / query_bytes(splits) / kTileQueries * kTileQueries;
  return {splits, rows, std::min(queries, nq)};
}

using SearchKernel = void (*)(SearchArgs);
SearchKernel search_kernel(KnnMetric metric) {
  if (metric == KnnMetric::kL2) return search_tiles<KnnMetric::kL2>;
  if (metric == KnnMetric::kInnerProduct) return search_tiles<KnnMetric::kInnerProduct>;
  return search_tiles<KnnMetric::kCosine>;
}

/// norms[i] = sqrt(S(x_i^2)): 16 lanes a row, a part of the sum each.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    row_norms(const T* __restrict__ x, double* __restrict__ norms, int64_t rows, int64_t d) {
  const int64_t row = thread_index() / kParts;
  const int part = static_cast<int>(threadIdx.x) % kParts;
  double sum = 0;
  if (row < rows) {
    for (int64_t i = part; i < d; i += kParts) {
      const double value = widened(x[row * d + i]);
      sum = add_term<KnnMetric::kInnerProduct>(sum, value, value);
    }
  }
  sum = join_parts(sum);
  if (row < rows && part == 0) norms[row] = __dsqrt_rn(sum);
}

}  // namespace

void launch_norms(GpuDevice& device, const ConstTensorView& rows, double* norms) {
  const int64_t count = rows.shape()[0];
  with_vector_type(rows.dtype(), [&](auto element) {
    using T = decltype(element);
    PANDA_LAUNCH((row_norms<T>), grid_for(count, kBlockThreads / kParts), dim3(kBlockThreads), 0, device,
                 rows.data<T>(), norms, count, rows.shape()[1]);
  });
}

void knn_exact_search(GpuDevice& device, const KnnProblem& problem) {
  const int64_t nq = problem.queries.shape()[0];
  const int64_t nb = problem.gallery.shape()[0];
  const int64_t d = problem.queries.shape()[1];
  const int64_t k = problem.k;
  const int64_t list = std::min<int64_t>(k, kList);
  const Plan plan = plan_search(device.properties(), problem, list);
  const bool cosine = problem.metric == KnnMetric::kCosine;
  const bool f64 = problem.distances.dtype() == DType::kF64;
  constexpr auto kEntry = static_cast<int64_t>(sizeof(Neighbor));
  const Storage lists(device, plan.splits * plan.queries * list * kEntry, problem.kernel);
  const Storage last(device, plan.queries * kEntry, problem.kernel);
  const Storage norms(device, cosine ? plan.queries * static_cast<int64_t>(sizeof(double)) : 0,
                      problem.kernel);
  auto* const last_found = static_cast<Neighbor*>(last.data());
  auto* const query_norms = static_cast<double*>(norms.data());
  const SearchKernel kernel = search_kernel(problem.metric);
  for (int64_t q = 0; q < nq; q += plan.queries) {
    const int64_t count = std::min(plan.queries, nq - q);
    const ConstTensorView queries = problem.queries.rows(q, q + count);
    if (cosine) launch_norms(device, queries, query_norms);
    for (int64_t done = 0; done < k; done += list) {
      const int size = static_cast<int>(std::min(list, k - done));
      const int64_t at = q * k + done;
      const SearchArgs search = {vectors_of(queries),
                                 vectors_of(problem.gallery),
                                 query_norms,
                                 problem.row_norms,
                                 count,
                                 nb,
                                 d,
                                 plan.rows_per_split,
                                 size,
                                 done == 0 ? nullptr : last_found,
                                 static_cast<Neighbor*>(lists.data())};
      PANDA_LAUNCH(kernel, grid_for(ceil_div(count, kTileQueries) * plan.splits, 1), dim3(kBlockThreads), 0,
                   device, search);
      const JoinArgs join = {search.lists,
                             plan.splits,
                             count,
                             size,
                             f64 ? nullptr : problem.distances.data<float>() + at,
                             f64 ? problem.distances.data<double>() + at : nullptr,
                             problem.indices.data<int64_t>() + at,
                             k,
                             last_found};
      PANDA_LAUNCH(join_splits, grid_for(count, kBlockThreads / kWarpThreads), dim3(kBlockThreads), 0, device,
                   join);
    }
  }
}

}  // namespace panda::kernels::PANDA_TARGET
