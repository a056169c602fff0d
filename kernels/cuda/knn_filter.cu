// The exact k nearest neighbours by a filter on tensor cores: products of f16 codes with a rigorous error
// bound discard what cannot be among the first k; the rest is measured by the canonical f64 distance.
//
// WHAT    queries: nq,d · an index of nb rows -> distances, indices: nq,k, the first k by (distance, index)
//         1. encode_queries (knn_index.cu).
//         2. filter_tiles over a sample of the gallery's tiles, from which lower_thresholds takes tau, an
//            upper bound on each query's k-th distance; then over a sample some 16 times as large with that
//            tau, which keeps about 16 k pairs a query and lowers tau; and so on to the whole gallery.
//            Samples are nested, so that each keeps k pairs at least. The matrix of products is never
//            written. For k = 1 the first sample gives no lists, but its best row (find_nearest).
//         3. measure_hits: of the last list's pairs those that the last tau leaves, by D, and the first k.
//            If no distances are asked for, k = 1 and one pair is left, it is the answer (settle_single).
//         Thresholds and measuring are in knn_hits.cu. A query with more hits than its list holds keeps the
//         tau it has; in the last pass it is given up, and goes to knn_exact_search. Lists are filled in any
//         order, but what they hold is fixed.
// READS   codes of the gallery once, of the queries once per 128 gallery rows (both from L2 mostly), a tenth
//         more for the samples
// WRITES  8 bytes a hit
// FLOPS   2.2 nq nb d in f16, samples included; two f32 operations a pair for the threshold
// LAUNCH  as implicit_gemm.cuh, query tiles fastest, so that a tile of the gallery is read from memory once
// LIMITS  k <= 64, nb < 2^32
// SOURCE  docs/derivations/knn_certificate.md
#include "kernels/cuda/knn_filter.cuh"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "kernels/cuda/gemm_kinds.cuh"

namespace panda::kernels::PANDA_TARGET {

namespace {

/// How much larger than the last sample the next one is at most, and so how many times k pairs are kept.
constexpr int64_t kGrowth = 16;

/// A tile's codes for multiply_stages: a stage takes half of a block.
template <int kRows, int kThreads>
class CodesLoader {
 public:
  using Element = Float16;

  /// The vectors from `first` on, a multiple of kRows.
  __device__ CodesLoader(const Float16* codes, int64_t first, int64_t blocks, int thread) {
    const int row = thread / kChunksPerRow;
    const int chunk = thread % kChunksPerRow;
    for (int half = 0; half < 2; ++half)
      next_[half] = codes + knn_chunk_at(first + row, half * kChunksPerRow + chunk, blocks);
    shared_offset_ = chunk_offset(row, chunk);
  }

  __device__ void issue(unsigned char* stage) {
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      // Rows a multiple of 8 apart have their chunks in the same places.
      cp_async16(stage + shared_offset_ + pass * kRowsPerPass * kRowBytes,
                 next_[0] + pass * kRowsPerPass * kKnnBlockDepth, kChunkBytes);
    }
    const Float16* const done = next_[0] + kKnnTileRows * kKnnBlockDepth;
    next_[0] = next_[1];
    next_[1] = done;
  }
  __device__ void finish(unsigned char*) {}

 private:
  static constexpr int kRowsPerPass = kThreads / kChunksPerRow;
  static constexpr int kPasses = kRows / kRowsPerPass;
  static_assert(kRowsPerPass % 8 == 0 && kRows % kRowsPerPass == 0 && kKnnTileRows % kRows == 0);

  const Float16* next_[2];  ///< of this stage and of the one after
  int shared_offset_;
};

/// What P - c / unit of a query's pairs is compared with. unit is a power of two: c / unit is exact, and a
/// fused multiply-add rounds P - c / unit once, which does not move it across a f32 number.
struct Threshold {
  float inverse;  ///< 1 / unit
  float limit;    ///< the least P - c / unit that is kept
};

__device__ Threshold threshold_of(const KnnFilterPass& pass, int64_t query, const KnnTileBounds& tile) {
  const KnnQueryBounds bounds = pass.lists.queries[query];
  if (bounds.unit == 0) return {0, INFINITY};
  const double base = pass.lists.base[query];
  const double errors = tile.radius * bounds.beta + tile.reach * bounds.epsilon;
  const double theta = (base + errors + 4 * kKnnBoundSlack * (fabs(base) + errors)) / bounds.unit;
  return {__double2float_rn(1 / bounds.unit), round_down(-theta)};
}

/// Of each query of a tile the best key (knn_nearest_key) of some scores P - c / unit. By the four lanes that
/// have sums of the same queries; what comes together from blocks has no order.
template <typename Math, typename Score>
__device__ void find_nearest(const KnnFilterPass& pass, Math& math, int64_t first_query, int64_t first_row,
                             const Threshold* mine, const Score& score) {
  unsigned long long best[Math::kThreadRows] = {};
  math.each_sum([&](int i, float product) {
    const int64_t row = first_row + math.column(Math::thread_column(i));
    const unsigned long long key = knn_nearest_key(score(i, product), row);
    unsigned long long& of = best[Math::thread_row(i)];
    of = key > of ? key : of;
  });
#pragma unroll
  for (int r = 0; r < Math::kThreadRows; ++r) {
#pragma unroll
    for (int step = 1; step < 4; step *= 2) {
      const unsigned long long other = __shfl_xor_sync(kWholeWarp, best[r], step);
      best[r] = other > best[r] ? other : best[r];
    }
    const int64_t query = first_query + math.row(r);
    if (threadIdx.x % 4 == 0 && query < pass.lists.nq && mine[r].inverse != 0)
      atomicMax(&pass.nearest[query], best[r]);
  }
}

/// Appends the pairs of one tile of queries and one of the gallery that the thresholds do not discard, or
/// with kNearest finds the best of each query.
template <typename Math, bool kNearest>
__global__ void __launch_bounds__(Math::kThreads, Math::kBlocks)
    filter_tiles(const KnnFilterPass pass, const int query_tiles) {
  static_assert(Math::kTileN == kKnnTileRows && Math::kThreads == kKnnTileRows &&
                Math::kTileM <= Math::kThreads);
  PANDA_DYNAMIC_SHARED(unsigned char, shared);
  const int thread = static_cast<int>(threadIdx.x);
  const int visit = static_cast<int>(blockIdx.x) / query_tiles;
  const int64_t first_query = (static_cast<int>(blockIdx.x) - visit * query_tiles) * int64_t{Math::kTileM};
  const int64_t tile = visit * pass.tile_step;
  const int64_t first_row = tile * kKnnTileRows;

  // One query and one row a thread, asked for before the products that they are needed after.
  Threshold threshold = {0, INFINITY};
  if (thread < Math::kTileM && first_query + thread < pass.lists.nq)
    threshold = threshold_of(pass, first_query + thread, pass.tiles[tile]);
  const float row_c = pass.c[first_row + thread];

  CodesLoader<Math::kTileM, Math::kThreads> queries(pass.queries, first_query, pass.blocks, thread);
  CodesLoader<Math::kTileN, Math::kThreads> rows(pass.gallery, first_row, pass.blocks, thread);
  Math math(thread);
  constexpr int kDepth = kStageDepth<Float16>;
  multiply_stages(math, queries, rows, shared, static_cast<int>((pass.d + kDepth - 1) / kDepth));

  auto* const thresholds = reinterpret_cast<Threshold*>(shared);
  auto* const c = reinterpret_cast<float*>(thresholds + Math::kTileM);
  __syncthreads();  // all have read the last stage before thresholds overwrite it
  if (thread < Math::kTileM) thresholds[thread] = threshold;
  c[thread] = row_c;
  __syncthreads();  // all thresholds and c are there before they are read
  Threshold mine[Math::kThreadRows];
  float mine_c[Math::kThreadColumns];
#pragma unroll
  for (int r = 0; r < Math::kThreadRows; ++r) mine[r] = thresholds[math.row(r)];
#pragma unroll
  for (int i = 0; i < Math::kThreadColumns; ++i) mine_c[i] = c[math.column(i)];

  const auto score = [&](int i, float product) {
    return fmaf(-mine[Math::thread_row(i)].inverse, mine_c[Math::thread_column(i)], product);
  };
  if constexpr (kNearest) return find_nearest(pass, math, first_query, first_row, mine, score);
  // Few pairs pass: four are tested before a branch is taken.
  float group[4];
  bool kept[4];
  math.each_sum([&](int i, float product) {
    group[i % 4] = product;
    kept[i % 4] = score(i, product) >= mine[Math::thread_row(i)].limit;
    if (i % 4 != 3 || !(kept[0] || kept[1] || kept[2] || kept[3])) return;
    knn_keep_passing(pass, first_query + math.row(Math::thread_row(i - 3)),
                     first_row + math.column(Math::thread_column(i - 3)), kept, group);
  });
}

/// to[i] = from[ids[i]] or to[ids[i]] = from[i], rows of `bytes` bytes: a block a row.
template <bool kScatter>
__global__ void __launch_bounds__(kBlockThreads)
    move_rows(const unsigned char* from, const uint32_t* ids, unsigned char* to, int64_t bytes) {
  const int64_t packed = int64_t{blockIdx.x} * bytes;
  const int64_t spread = ids[blockIdx.x] * bytes;
  for (int64_t i = threadIdx.x; i < bytes; i += kBlockThreads)
    to[(kScatter ? spread : packed) + i] = from[(kScatter ? packed : spread) + i];
}
template <bool kScatter>
void launch_move_rows(GpuDevice& device, const void* from, const uint32_t* ids, void* to, int64_t count,
                      int64_t bytes) {
  PANDA_LAUNCH((move_rows<kScatter>), grid_for(count, 1), dim3(kBlockThreads), 0, device,
               static_cast<const unsigned char*>(from), ids, static_cast<unsigned char*>(to), bytes);
}

/// Steps through the gallery's tiles, from the coarsest sample to 1. Each divides the one before, so that
/// samples are nested, and the first one's rows fit a list.
std::vector<int64_t> sample_steps(int64_t tiles, int64_t capacity) {
  const int64_t first = capacity / kKnnTileRows;
  const auto reach = [&](int64_t growth, int64_t levels) {
    int64_t reached = first;
    for (int64_t i = 0; i < levels && reached < tiles; ++i) reached *= growth;
    return reached;
  };
  int64_t levels = 0;
  while (reach(kGrowth, levels) < tiles) ++levels;
  int64_t growth = 1;
  while (reach(growth, levels) < tiles) ++growth;
  std::vector<int64_t> steps = {1};
  for (int64_t i = 0; i < levels; ++i) steps.insert(steps.begin(), steps.front() * growth);
  return steps;
}

/// A list's length. The k-th distance of a sample is the (kGrowth k)-th of the next on average; this is 6
/// standard deviations more, and for k = 1 what one query in 10^6 exceeds.
int64_t list_capacity(int64_t k) {
  const double expected = static_cast<double>(k) + 12 + 6 * std::sqrt(static_cast<double>(k));
  return round_up(static_cast<int64_t>(static_cast<double>(kGrowth) * expected), 64);
}

/// A list's length where the first sample is the gallery, k = 1: what is as near as the nearest row, within
/// the bounds. Short lists are of more queries at a time.
constexpr int64_t kNearestCapacity = 64;

class FilteredSearch {
 public:
  FilteredSearch(GpuDevice& device, const GpuKnnIndex& index, const KnnProblem& problem, KnnTiles tiles,
                 double bound_factor)
      : device_(device),
        index_(index),
        problem_(problem),
        tiles_(tiles),
        bound_factor_(bound_factor),
        capacity_(list_capacity(problem.k)),
        steps_(sample_steps(index.tiles(), capacity_)),
        cosine_(problem.metric == KnnMetric::kCosine),
        one_(problem.k == 1),
        settles_(one_ && !problem.distances_wanted) {
    if (one_ && steps_.size() == 1) capacity_ = kNearestCapacity;
  }

  KnnStatistics run() {
    const int64_t nq = problem_.queries.shape()[0];
    const int64_t row_bytes = index_.d() * dtype_bytes(problem_.queries.dtype());
    // Codes, bounds, base, norm, list and its length; and where it is given up, the query and its results.
    const int64_t query_bytes = index_.blocks() * kKnnBlockDepth * 2 +
                                static_cast<int64_t>(sizeof(KnnQueryBounds)) + 8 + 8 +
                                capacity_ * static_cast<int64_t>(sizeof(KnnHit)) + 4 + 4 + (one_ ? 8 : 0) +
                                (settles_ ? 4 : 0) + row_bytes + problem_.k * 16;
    const int64_t grid_limit = INT32_MAX / index_.tiles() * 64;
    const int64_t chunk = std::min({nq, problem_.workspace_bytes / 4 * 3 / query_bytes, grid_limit});
    statistics_.filter = index_.filter();
    if (chunk < std::min<int64_t>(nq, 64)) {
      knn_exact_search(device_, problem_);
      statistics_ = {KnnFilter::kNone, 0, checked_mul(nq, index_.size()), 0};
      return statistics_;
    }
    allocate(chunk);
    for (int64_t q = 0; q < nq; q += chunk) search_chunk(q, std::min(nq, q + chunk));
    return statistics_;
  }

 private:
  void allocate(int64_t chunk) {
    const auto take = [&](int64_t count, size_t bytes) {
      return std::make_unique<Storage>(device_, checked_mul(count, static_cast<int64_t>(bytes)),
                                       problem_.kernel);
    };
    codes_ =
        take(index_.code_count(round_up(chunk, 2 * kKnnTileRows)), sizeof(Float16));  // sm_90 takes two tiles
    bounds_ = take(chunk, sizeof(KnnQueryBounds));
    base_ = take(chunk, sizeof(double));
    norms_ = take(cosine_ ? chunk : 0, sizeof(double));
    hits_ = take(chunk, static_cast<size_t>(capacity_) * sizeof(KnnHit));
    counts_ = take(chunk, sizeof(unsigned));
    nearest_ = take(one_ ? chunk : 0, sizeof(unsigned long long));
    open_ = take(settles_ ? chunk : 0, sizeof(uint32_t));
    given_up_ = take(chunk, sizeof(uint32_t));
    totals_ = take(1, sizeof(KnnTotals));
  }

  void search_chunk(int64_t begin, int64_t end) {
    const ConstTensorView queries = problem_.queries.rows(begin, end);
    const KnnHitLists lists = start_lists(queries);
    size_t first = 0;
    if (one_) {
      find_nearest_of(lists, steps_[0]);
      first = steps_.size() > 1 ? 1 : 0;  // the last pass makes lists
    }
    for (size_t i = first; i < steps_.size(); ++i) {
      if (i > first) knn_lower_thresholds(device_, lists);
      filter(lists, steps_[i]);
    }
    finish(queries, begin, lists);
  }

  KnnHitLists start_lists(const ConstTensorView& queries) {
    const int64_t count = queries.shape()[0];
    const bool l2 = problem_.metric == KnnMetric::kL2;
    auto* const norms = static_cast<double*>(norms_->data());
    if (cosine_) launch_norms(device_, queries, norms);
    auto* const bounds = static_cast<KnnQueryBounds*>(bounds_->data());
    knn_encode_queries(device_, index_, problem_, queries, norms, bound_factor_,
                       static_cast<Float16*>(codes_->data()), bounds);
    device_.fill(counts_->data(), 0, counts_->bytes());
    device_.fill(totals_->data(), 0, totals_->bytes());
    const double eta = knn_eta(index_.d());
    const KnnHitLists lists = {.rows = index_.row_bounds(),
                               .queries = bounds,
                               .base = static_cast<double*>(base_->data()),
                               .hits = static_cast<KnnHit*>(hits_->data()),
                               .counts = static_cast<unsigned*>(counts_->data()),
                               .nq = count,
                               .capacity = static_cast<int>(capacity_),
                               .k = static_cast<int>(problem_.k),
                               .relative_rounding = l2 ? 2 * eta : 0,
                               .eta = eta};
    knn_open_thresholds(device_, lists);
    return lists;
  }

  [[nodiscard]] KnnFilterPass pass_over(const KnnHitLists& lists, int64_t step) const {
    return {.queries = static_cast<const Float16*>(codes_->data()),
            .gallery = index_.codes(),
            .nb = index_.size(),
            .d = index_.d(),
            .blocks = index_.blocks(),
            .c = index_.c(),
            .tiles = index_.tile_bounds(),
            .lists = lists,
            .tile_step = step,
            .visits = ceil_div(index_.tiles(), step),
            .nearest = one_ ? static_cast<unsigned long long*>(nearest_->data()) : nullptr};
  }

  void filter(const KnnHitLists& lists, int64_t step) {
    const KnnFilterPass pass = pass_over(lists, step);
    if (tiles_ == KnnTiles::kWarpgroup) {
      knn_filter_sm90(device_, pass);
    } else {
      portable<false>(pass);
    }
  }

  /// Thresholds from the nearest row of a sample; by portable tiles, whichever make the other passes.
  void find_nearest_of(const KnnHitLists& lists, int64_t step) {
    const KnnFilterPass pass = pass_over(lists, step);
    device_.fill(pass.nearest, 0, lists.nq * static_cast<int64_t>(sizeof(unsigned long long)));
    portable<true>(pass);
    knn_thresholds_of_nearest(device_, lists, pass.nearest, pass.c);
  }

  template <bool kNearest>
  void portable(const KnnFilterPass& pass) {
    if (pass.lists.nq <= 64) {  // half of a larger tile would stay empty
      launch_portable<64, kNearest>(pass);
    } else {
      launch_portable<128, kNearest>(pass);
    }
  }
  template <int kTileM, bool kNearest>
  void launch_portable(const KnnFilterPass& pass) {
    using Math = F16Kind::Math<kTileM, kKnnTileRows>;
    const int64_t query_tiles = ceil_div(pass.lists.nq, kTileM);
    PANDA_LAUNCH((filter_tiles<Math, kNearest>), grid_for(query_tiles * pass.visits, 1), dim3(Math::kThreads),
                 static_cast<size_t>(kSharedBytes<Math>), device_, pass, static_cast<int>(query_tiles));
  }

  void finish(const ConstTensorView& queries, int64_t first, const KnnHitLists& lists) {
    const int64_t at = first * problem_.k;
    const bool f64 = problem_.distances.dtype() == DType::kF64;
    KnnMeasureArgs args = {.lists = lists,
                           .queries = vectors_of(queries),
                           .gallery = vectors_of(problem_.gallery),
                           .query_norms = static_cast<const double*>(norms_->data()),
                           .row_norms = problem_.row_norms,
                           .d = index_.d(),
                           .distances_f32 = f64 ? nullptr : problem_.distances.data<float>() + at,
                           .distances_f64 = f64 ? problem_.distances.data<double>() + at : nullptr,
                           .indices = problem_.indices.data<int64_t>() + at,
                           .totals = static_cast<KnnTotals*>(totals_->data()),
                           .given_up = static_cast<uint32_t*>(given_up_->data()),
                           .open = nullptr,
                           .count = lists.nq};
    KnnTotals totals;
    const auto read_totals = [&] { device_.copy_to_host(&totals, totals_->data(), sizeof totals); };
    if (settles_) {
      auto* const open = static_cast<uint32_t*>(open_->data());
      knn_settle_single(device_, lists, args.indices, open, args.totals);
      read_totals();
      args.open = open;
      args.count = static_cast<int64_t>(totals.open);
    }
    if (args.count > 0) {
      knn_measure_hits(device_, problem_.metric, args);
      read_totals();
    }
    statistics_.kept_pairs += static_cast<int64_t>(totals.kept);
    statistics_.survivors += static_cast<int64_t>(totals.survivors);
    const auto given_up = static_cast<int64_t>(totals.given_up);
    if (given_up > 0) measure_all(queries, first, given_up);
  }

  /// The queries that were given up, against every row.
  void measure_all(const ConstTensorView& queries, int64_t first, int64_t count) {
    const auto* const ids = static_cast<const uint32_t*>(given_up_->data());
    const int64_t k = problem_.k;
    const Tensor some(device_, queries.dtype(), {count, index_.d()}, problem_.kernel);
    const Tensor distances(device_, problem_.distances.dtype(), {count, k}, problem_.kernel);
    const Tensor indices(device_, DType::kI64, {count, k}, problem_.kernel);
    launch_move_rows<false>(device_, queries.raw(), ids, some.view().raw(), count,
                            index_.d() * dtype_bytes(queries.dtype()));
    KnnProblem problem = problem_;
    problem.queries = some;
    problem.distances = distances;
    problem.indices = indices;
    problem.workspace_bytes /= 4;  // beside the lists
    knn_exact_search(device_, problem);
    const int64_t distance_bytes = dtype_bytes(distances.dtype());
    launch_move_rows<true>(device_, distances.view().raw(), ids,
                           static_cast<unsigned char*>(problem_.distances.raw()) + first * k * distance_bytes,
                           count, k * distance_bytes);
    launch_move_rows<true>(device_, indices.view().raw(), ids, problem_.indices.data<int64_t>() + first * k,
                           count, k * static_cast<int64_t>(sizeof(int64_t)));
    statistics_.rescanned_rows += count;
    statistics_.survivors += checked_mul(count, index_.size());
  }

  GpuDevice& device_;
  const GpuKnnIndex& index_;
  const KnnProblem& problem_;
  KnnTiles tiles_;
  double bound_factor_;
  int64_t capacity_;
  std::vector<int64_t> steps_;
  bool cosine_;
  bool one_;
  bool settles_;
  KnnStatistics statistics_;
  std::unique_ptr<Storage> codes_, bounds_, base_, norms_, hits_, counts_, nearest_, open_, given_up_,
      totals_;
};

}  // namespace

KnnTiles knn_tiles(const GpuProperties& gpu) {
  const char* wanted = std::getenv("PANDA_KNN_TILES");
  if (wanted == nullptr || std::strcmp(wanted, "portable") == 0) return KnnTiles::kPortable;
  PANDA_CHECK(std::strcmp(wanted, "warpgroup") == 0, "PANDA_KNN_TILES is ", printable(wanted),
              ", expected portable or warpgroup");
  PANDA_CHECK(gpu.compute_capability == 90, "PANDA_KNN_TILES is warpgroup, but the device is sm_",
              gpu.compute_capability, ", expected sm_90");
  return KnnTiles::kWarpgroup;
}

KnnStatistics knn_filtered_search(GpuDevice& device, const GpuKnnIndex& index, const KnnProblem& problem,
                                  KnnTiles tiles, double bound_factor) {
  return FilteredSearch(device, index, problem, tiles, bound_factor).run();
}

}  // namespace panda::kernels::PANDA_TARGET
