// The certified search on the cpu device.
//
// An item is a block of queries against a range of panels:
//   for each panel:  filter (simd/knn_filter.inl): pairs whose lower bound is not above the query's tau
//     for each hit:  bounds on its distance; push to the query's candidates; prune them from time to time,
//                    which lowers tau
//   measure what is left by D, nearest lower bound first, until the next one is above the k-th distance
// Queries are ordered by the size of their components, so that one scale serves a block. With few queries the
// gallery is cut into parts, whose results are merged. A block whose filter keeps too much walks the rest of
// its range without it. Of a small gallery, of which much is wanted, all products are tabled instead
// (knn_table.cpp). Nothing but D decides what is returned, so the cut decides nothing.
#include "kernels/cpu/knn_search.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/knn_cost.h"
#include "kernels/cpu/knn_nearest.h"
#include "kernels/cpu/knn_nearest_scores.h"
#include "kernels/cpu/knn_search_steps.h"

namespace panda::kernels::cpu {

namespace {

/// Codes of a block of queries: they stay in L2 (2 MB on Sapphire Rapids, 1 MB on Zen 4) while panels pass
/// by.
constexpr int64_t kBlockBytes = 512 << 10;
constexpr int64_t kMaxBlock = 2048;
/// Of a gallery whose codes stay in the caches, too, they need not be shared by many queries, and a block is
/// small enough that its candidates stay in L2 as well: most of their work is done within the first panels.
constexpr int64_t kCachedCodeBytes = 8 << 20;
constexpr int64_t kMaxCachedBlock = 196;
/// Cycles of a search below which a second thread costs more than it brings (it must wake up), and
/// multiply-adds of what is as simple.
constexpr double kCyclesForTwo = 65e3;
constexpr int64_t kWorkPerThread = 4 << 20;
/// Panels after which a filter that kept more than half of their pairs is given up.
constexpr int64_t kWindowPanels = 64;
/// Bits of f32's infinity: of what is finite, they are less.
constexpr uint32_t kInfinityBits = 0x7f800000;
/// Products of a block of queries with a whole gallery: a table that stays in L2 beside the codes.
constexpr int64_t kTableBytes = 512 << 10;

/// Rows that knn_eight_bits_pay searches, in galleries of at least so many, and k: themselves and DN2's two.
constexpr int64_t kTrialQueries = 8;
constexpr int64_t kTrialGallery = 4096;
constexpr int64_t kTrialNeighbours = 3;

/// 16-bit products cost more, and spare about 1.5 k f32 distances of d / 4 cycles each.
const CpuKnnIndex& index_for(const CpuDevice& device, const KnnSearchPlan& plan) {
  const CpuKnnIndex* fine = plan.index->fine();
  if (fine == nullptr) return *plan.index;
  const KnnProductCycles& cycles = knn_product_cycles(device, plan.queries.count());
  const double more = static_cast<double>(fine->size()) * (cycles.sixteen_bits - cycles.eight_bits);
  return static_cast<double>(plan.k) * 1.5 / 4 > more ? *fine : *plan.index;
}

int64_t align(int64_t bytes) {
  return round_up(bytes, 64);
}

/// A thread's use of the tiles.
class TilesInUse {
 public:
  TilesInUse(const KnnTileKernels* tiles, int64_t queries) : tiles_(tiles) {
    if (tiles_ != nullptr) tiles_->begin(queries);
  }
  ~TilesInUse() {
    if (tiles_ != nullptr) tiles_->end();
  }
  TilesInUse(const TilesInUse&) = delete;
  TilesInUse& operator=(const TilesInUse&) = delete;

 private:
  const KnnTileKernels* tiles_;
};

}  // namespace

KnnSearch::KnnSearch(CpuDevice& device, const KnnSearchPlan& plan)
    : device_(device),
      plan_(plan),
      index_(index_for(device, plan)),
      kernels_(device.knn()),
      nq_(plan.queries.count()),
      nb_(index_.size()),
      d_(index_.d()),
      d16_(round_up(d_, 16)),
      eta_(knn_eta(d_)),
      l2_(index_.metric() == KnnMetric::kL2),
      factor_(l2_ ? 2 : 1),
      filter_(index_.filter() != KnnFilter::kNone) {
  if (!filter_) return;
  const KnnCycles cycles = knn_expected_cycles(knn_product_cycles(device, nq_), plan_.k, nb_, d_);
  if (plan_.index->automatic() && cycles.exact < std::min(cycles.filter, cycles.table)) {
    filter_ = false;
    return;
  }
  if (knn_tiles_pay(index_.code(), nq_)) tiles_ = device.knn_tiles();
  const int64_t rows = index_.panels() * kKnnPanel;
  if (plan_.filter_trial || cycles.table >= cycles.filter ||
      rows * 4 * std::min(nq_, tiles_ != nullptr ? kKnnTiledQueries : kernels_.max_tile) > kTableBytes)
    return;
  table_rows_ = rows;
  if (thread_bytes(1) > plan_.workspace_bytes / device_.threads().thread_count()) table_rows_ = 0;
}

/// A query's codes, zeros at the end included.
int64_t KnnSearch::code_bytes() const {
  return (tiles_ != nullptr ? round_up(index_.groups(), knn_tiled_step(index_.code())) : index_.groups()) * 4;
}

int64_t KnnSearch::query_bytes() const {
  return 4 * 8 + static_cast<int64_t>(sizeof(KnnQueryBounds)) + 2 * 4 +
         static_cast<int64_t>(sizeof(KnnCandidates)) +
         checked_mul(KnnCandidates::capacity(plan_.k), sizeof(KnnCandidate)) +
         KnnCandidates::bound_count(plan_.k) * 8 + kKnnPanel * static_cast<int64_t>(sizeof(KnnHit)) +
         code_bytes() + (tiles_ != nullptr ? kKnnPanel * 4 : 0) + table_rows_ * 4;
}

int64_t KnnSearch::fixed_bytes() const {
  const int64_t table = table_rows_ * (2 * 8 + 4 + static_cast<int64_t>(sizeof(KnnCandidate)));
  const int64_t unfilled = tiles_ != nullptr ? kKnnTiledQueries * (code_bytes() + kKnnPanel * 4) : 0;
  return table + unfilled + std::max(KnnCandidates::capacity(plan_.k), table_rows_) * 8 +
         (1 + kExactQueries + kExactRows) * d16_ * 8 + kExactQueries * kExactRows * 8 +
         (kMeasuredTogether + 2) * d16_ * 4 + code_bytes() + 30 * 64;
}

int64_t KnnSearch::thread_bytes(int64_t block) const {
  return checked_add(checked_mul(query_bytes(), block), fixed_bytes());
}

KnnSearch::Memory KnnSearch::memory_at(char* base, int64_t block) const {
  const auto take = [&base](auto*& pointer, int64_t count) {
    pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(base);
    base += align(count * static_cast<int64_t>(sizeof(*pointer)));
  };
  const int64_t capacity = KnnCandidates::capacity(plan_.k);
  Memory m;
  take(m.base, block);
  take(m.beta, block);
  take(m.epsilon, block);
  take(m.norms, block);
  take(m.bounds, block);
  take(m.bias, block);
  take(m.thresholds, block);
  take(m.candidates, block);
  take(m.items, block * capacity);
  take(m.hits, block * kKnnPanel);
  take(m.tau_bounds, block * KnnCandidates::bound_count(plan_.k));
  take(m.bounds_now, std::max(capacity, table_rows_));
  take(m.centered, d16_);
  take(m.widened, (kExactQueries + kExactRows) * d16_);
  take(m.distances, kExactQueries * kExactRows);
  take(m.query, d16_);
  take(m.buffers, kMeasuredTogether * d16_);
  take(m.row_codes, std::max(d16_ * 4, code_bytes()));
  take(m.codes, (tiles_ != nullptr ? round_up(block, kKnnTiledQueries) : block) * code_bytes());
  take(m.sums, tiles_ != nullptr ? round_up(block, kKnnTiledQueries) * kKnnPanel : 0);
  take(m.words, block * table_rows_);
  take(m.lows, table_rows_);
  take(m.highs, table_rows_);
  take(m.places, table_rows_);
  take(m.table_items, table_rows_);
  return m;
}

KnnBlockShape KnnSearch::choose_shape() const {
  const int64_t threads = device_.threads().thread_count();
  const int64_t budget = plan_.workspace_bytes / threads;
  const int64_t least = thread_bytes(1);
  PANDA_CHECK(least <= budget, plan_.kernel, ": a workspace of ", plan_.workspace_bytes, " bytes for ",
              threads, " threads, expected at least ", checked_mul(least, threads), " bytes for k=", plan_.k,
              " and d=", d_);
  const int64_t tile = tiles_ != nullptr ? kKnnTiledQueries : kernels_.max_tile;
  int64_t most = std::min(kMaxBlock, (budget - least) / query_bytes() + 1);
  if (filter_) most = std::min(most, std::max(tile, kBlockBytes / code_bytes()));
  if (filter_ && nb_ * index_.groups() * 4 <= kCachedCodeBytes) most = std::min(most, kMaxCachedBlock);
  if (table_rows_ > 0) most = std::min(most, std::max(tile, kTableBytes / (table_rows_ * 4)));
  if (!filter_) most = std::min(most, kExactQueries);
  // Blocks of equal size, as many as threads, or a multiple.
  int64_t blocks = ceil_div(nq_, most);
  if (blocks > 1) blocks = std::min(round_up(blocks, threads), nq_);
  const int64_t panels = std::max<int64_t>(index_.panels(), 1);
  const KnnCycles cycles = knn_expected_cycles(knn_product_cycles(device_, nq_), plan_.k, nb_, d_);
  const double each = table_rows_ > 0 ? cycles.table : filter_ ? cycles.filter : cycles.exact;
  const bool worth_it = static_cast<double>(nq_) * each > kCyclesForTwo;
  int64_t parts = 1;
  if (worth_it && blocks < threads && !plan_.filter_trial) {
    // Halving the queries keeps the register tiles full only if there are enough of them. Halving a gallery
    // of which much is wanted doubles the work on what is found.
    if (nq_ >= threads * 4 * tile || (table_rows_ > 0 && nq_ >= threads)) {
      blocks = threads;
    } else {
      parts = std::min(panels, ceil_div(threads, blocks));
    }
  }
  const int64_t block = ceil_div(nq_, blocks);
  return {block, ceil_div(nq_, block), parts, align(thread_bytes(block))};
}

/// y = factor * q - mu (kL2), the query itself (kInnerProduct), or divided by its norm (kCosine).
double KnnSearch::center_query(const float* q, double norm, double* y, double* squares) const {
  const double factor = index_.metric() != KnnMetric::kCosine ? 1 : norm > 0 ? 1 / norm : 0;
  static constexpr double kNoCenter[16] = {};
  if (l2_) return kernels_.center_row(q, index_.center(), factor, d_, y, squares);
  double largest = 0;
  *squares = 0;
  for (int64_t i = 0; i < d_; i += 16) {  // 16 at a time, for the center of zeros
    double part = 0;
    largest = std::max(
        largest, kernels_.center_row(q + i, kNoCenter, factor, std::min<int64_t>(16, d_ - i), y + i, &part));
    *squares += part;
  }
  return largest;
}

/// Checks the queries, and sorts them by the largest component of y.
void KnnSearch::order_queries() {
  order_.resize(static_cast<size_t>(nq_));
  std::iota(order_.begin(), order_.end(), 0);
  largest_.assign(static_cast<size_t>(nq_), 0);
  const int64_t parts =
      nq_ * d_ < kWorkPerThread / 4 ? 1 : parts_for(1, nq_, device_.threads().thread_count());
  FirstNotFinite first_bad(nq_);
  device_.threads().parallel_for(parts, [&](int64_t part, int) {
    std::vector<float> buffer(static_cast<size_t>(d_));
    const Range range = part_of(nq_, parts, part);
    for (int64_t query = range.begin; query < range.end; ++query) {
      const float* q = query_row(query, buffer.data());
      const uint32_t largest = kernels_.largest_magnitude(q, d_);
      if (largest >= kInfinityBits) {
        first_bad.found(query);
        return;
      }
      // The order serves speed alone, so the size of q stands for that of y.
      largest_[static_cast<size_t>(query)] = std::bit_cast<float>(largest);
    }
  });
  if (first_bad.any()) throw_not_finite(plan_.kernel, "queries", plan_.queries, first_bad.row(), 0);
  if (filter_) {
    std::stable_sort(order_.begin(), order_.end(), [&](int64_t a, int64_t b) {
      return largest_[static_cast<size_t>(a)] > largest_[static_cast<size_t>(b)];
    });
  }
}

/// Codes and bounds of the item's queries; returns their scale. Two passes: it is known after the first.
double KnnSearch::encode_queries(const Item& item, const Memory& m) {
  const int64_t count = item.queries.size();
  const int64_t groups = index_.groups();
  double largest = 0;
  double longest = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float* q = query_row(order_[static_cast<size_t>(item.queries.begin + i)], m.buffers);
    double squares = 0;
    m.norms[i] = index_.metric() == KnnMetric::kCosine ? knn_norm(device_, q, d_, m.centered) : 0;
    largest = std::max(largest, center_query(q, m.norms[i], m.centered, &squares));
    longest = std::max(longest, std::sqrt(squares));
  }
  const bool whole = index_.whole_numbers() && plan_.queries.dtype() == DType::kU8;
  const double scale = whole ? 1 : knn_scale(index_.code(), largest, longest, d_);
  std::memset(m.row_codes, 0, static_cast<size_t>(code_bytes()));
  for (int64_t i = 0; i < count; ++i) {
    const float* q = query_row(order_[static_cast<size_t>(item.queries.begin + i)], m.buffers);
    double squares = 0;
    static_cast<void>(center_query(q, m.norms[i], m.centered, &squares));
    const KnnCoded coded =
        knn_encode(device_, index_.filter(), index_.code(), m.centered, scale, d_, groups, m.row_codes);
    place_codes(m, i, count);
    m.bias[i] = coded.bias;
    const double norm = std::sqrt(squares) * (1 + eta_);
    const double length = l2_ ? norm + index_.center_norm() : norm;
    KnnQueryBounds& bounds = m.bounds[i];
    bounds.error = coded.error + 0x1p-50 * (norm + length);
    bounds.product_norm = l2_ ? coded.code_norm : std::max(coded.code_norm, norm * (1 + 0x1p-49));
    if (l2_) {
      bounds.low = squares * (1 - 2 * eta_);
      bounds.high = squares * (1 + 2 * eta_);
    } else {
      double product = 0;
      for (int64_t j = 0; j < d_; ++j) product += m.centered[j] * index_.center()[j];
      const double constant = index_.metric() == KnnMetric::kCosine ? 1 : 0;
      const double slack = eta_ * (norm * index_.center_norm() + constant);
      bounds.low = constant - product - slack;
      bounds.high = constant - product + slack;
    }
    const double bound = plan_.bound_factor * factor_ * (1 + kKnnBoundSlack);
    m.beta[i] = bound * bounds.product_norm;
    m.epsilon[i] = bound * bounds.error;
  }
  return scale;
}

/// Row codes of query i of `count` to where the filter wants them.
void KnnSearch::place_codes(const Memory& m, int64_t i, int64_t count) const {
  const int64_t groups = index_.groups();
  if (tiles_ != nullptr) {
    const int64_t row = i % kKnnTiledQueries;
    char* codes = m.codes + (i - row) * code_bytes() + row * kKnnTileRowBytes;
    // The k-th group of each plane is the k-th of a tile's row.
    const int64_t planes = index_.code() == KnnCode::kI8Pair ? 2 : 1;
    const int64_t bytes = code_bytes();
    for (int64_t step = 0; step < bytes; step += planes * kKnnTileRowBytes) {
      for (int64_t plane = 0; plane < planes; ++plane) {
        for (int64_t k = 0; k < kKnnTileRowBytes / 4; ++k)
          std::memcpy(codes + k * 4, m.row_codes + step + (k * planes + plane) * 4, 4);
        codes += kKnnTiledQueries * kKnnTileRowBytes;
      }
    }
    return;
  }
  const int64_t first = i / kernels_.max_tile * kernels_.max_tile;
  const int64_t in_tile = std::min(kernels_.max_tile, count - first);
  char* codes = m.codes + first * groups * 4 + (i - first) * 4;
  for (int64_t g = 0; g < groups; ++g) std::memcpy(codes + g * in_tile * 4, m.row_codes + g * 4, 4);
}

/// theta's first term: tau - N, rounded up.
void KnnSearch::set_base(const Memory& m, int64_t i) const {
  const double limit = m.candidates[i].discard_above();
  const double low = m.bounds[i].low;
  m.base[i] = (limit - low) + kKnnBoundSlack * (std::abs(limit) + std::abs(low));
}

void KnnSearch::make_room(const Memory& m, int64_t i, int64_t query, KnnStatistics& statistics) const {
  if (m.candidates[i].prune(kernels_, m.bounds_now)) return;
  measure(m, i, query, statistics);
  m.candidates[i].keep_first(m.candidates[i].size());
}

void KnnSearch::add_hits(const Item& item, const Memory& m, int64_t panel, double scale, int64_t hits,
                         KnnStatistics& statistics) {
  const double unit = factor_ * scale * index_.scale(panel);
  const double rounding = l2_ ? 1 + 2 * eta_ : 1;
  const double* rows_c = index_.c();
  const double* rows_e = index_.e();
  const double* rows_n = index_.n();
  for (int64_t h = 0; h < hits; ++h) {
    const KnnHit& hit = m.hits[h];
    const int64_t row = panel * kKnnPanel + hit.lane;
    if (row >= nb_) continue;
    const int64_t i = hit.query;
    KnnCandidates& candidates = m.candidates[i];
    const KnnQueryBounds& q = m.bounds[i];
    const double c = rows_c[row];
    const double product = unit * hit.product;
    const double error = m.beta[i] * rows_e[row] + m.epsilon[i] * rows_n[row] + underflow(unit);
    const double slack = kKnnBoundSlack * (std::abs(q.high) + c + std::abs(product) + error);
    const double low = q.low + c - product - error - slack;
    if (low > candidates.discard_above()) continue;
    // c was rounded down by 2 eta, so 8 eta more is above.
    const double high = (q.high + c * (1 + 8 * eta_) - product + error + slack) * rounding;
    if (candidates.push({low, high, row})) set_base(m, i);
    if (candidates.full()) {
      make_room(m, i, order_[static_cast<size_t>(item.queries.begin + i)], statistics);
      set_base(m, i);
    }
  }
}

/// Returns the first panel that was not looked at: the filter was given up.
int64_t KnnSearch::walk_panels(const Item& item, const Memory& m, double scale, KnnStatistics& statistics) {
  const int64_t count = item.queries.size();
  const auto* const by_code = tiles_ != nullptr ? tiles_->filter : kernels_.filter;  // as in search_table
  const auto filter = by_code[static_cast<int>(index_.code())];
  int64_t window = 0;
  for (int64_t p = item.panels.begin; p < item.panels.end; ++p) {
    if (p > item.panels.begin && (p - item.panels.begin) % kWindowPanels == 0) {
      if (window > count * kWindowPanels * kKnnPanel / 2) return p;
      window = 0;
    }
    const int64_t found = filter({.panel = index_.panel(p),
                                  .queries = m.codes,
                                  .groups = index_.groups(),
                                  .query_count = count,
                                  .c = index_.c() + p * kKnnPanel,
                                  .inverse = 1 / (factor_ * scale * index_.scale(p)),
                                  .radius = index_.radius(p),
                                  .reach = index_.reach(p),
                                  .base = m.base,
                                  .beta = m.beta,
                                  .epsilon = m.epsilon,
                                  .bias = m.bias,
                                  .thresholds = m.thresholds,
                                  .sums = m.sums,
                                  .next_panel = p + 1 < item.panels.end ? index_.panel(p + 1) : nullptr,
                                  .hits = m.hits});
    window += found;
    statistics.kept_pairs += found;
    if (found > 0) add_hits(item, m, p, scale, found, statistics);
  }
  return item.panels.end;
}

void KnnSearch::search_item(const Item& item, const Memory& m, KnnStatistics& statistics) {
  const TilesInUse tiles(tiles_, item.queries.size());
  if (table_rows_ > 0) return search_table(item, m, statistics);
  const int64_t count = item.queries.size();
  const int64_t capacity = KnnCandidates::capacity(plan_.k);
  for (int64_t i = 0; i < count; ++i)
    new (m.candidates + i)
        KnnCandidates(m.items + i * capacity, m.tau_bounds + i * KnnCandidates::bound_count(plan_.k), plan_.k,
                      l2_ ? 2 * eta_ : 0);
  int64_t scanned_from = item.panels.begin;
  if (filter_) {
    const double scale = encode_queries(item, m);
    for (int64_t i = 0; i < count; ++i) set_base(m, i);
    scanned_from = walk_panels(item, m, scale, statistics);
    for (int64_t i = 0; i < count; ++i) {
      measure(m, i, order_[static_cast<size_t>(item.queries.begin + i)], statistics);
      if (scanned_from < item.panels.end) m.candidates[i].keep_first(m.candidates[i].size());
    }
    if (scanned_from < item.panels.end) {
      for (int64_t i = item.queries.begin; i < item.queries.end; ++i)
        given_up_[static_cast<size_t>(i * parts_ + item.part)] = 1;
    }
  }
  const int64_t first_row = scanned_from * kKnnPanel;
  const int64_t end_row = std::min(nb_, item.panels.end * kKnnPanel);
  if (first_row < end_row) walk_rows(item, m, first_row, end_row, statistics);
  for (int64_t i = 0; i < count; ++i) {
    m.candidates[i].finish(kernels_, m.bounds_now);
    write(order_[static_cast<size_t>(item.queries.begin + i)], item.part, m.candidates[i]);
  }
}

void KnnSearch::put(int64_t query, const KnnCandidate* items) const {
  const int64_t k = plan_.k;
  int64_t* const indices = plan_.indices.data<int64_t>() + query * k;
  for (int64_t j = 0; j < k; ++j) indices[j] = items[j].row();
  if (!plan_.distances.present()) return;
  if (plan_.distances.dtype() == DType::kF64) {
    double* const distances = plan_.distances.data<double>() + query * k;
    for (int64_t j = 0; j < k; ++j) distances[j] = items[j].low;
  } else {
    float* const distances = plan_.distances.data<float>() + query * k;
    for (int64_t j = 0; j < k; ++j) distances[j] = static_cast<float>(items[j].low);
  }
}

void KnnSearch::write(int64_t query, int64_t part, KnnCandidates& candidates) {
  const KnnCandidate* items = candidates.items();
  if (parts_ == 1) return put(query, items);
  KnnCandidate* to = part_results_.data() + (query * parts_ + part) * plan_.k;
  std::copy_n(items, candidates.size(), to);
  // A part may have fewer than k rows.
  for (int64_t j = candidates.size(); j < plan_.k; ++j) to[j] = {INFINITY, INFINITY, INT64_MAX};
}

void KnnSearch::merge_parts() {
  for (int64_t query = 0; query < nq_; ++query) {
    KnnCandidate* all = part_results_.data() + query * parts_ * plan_.k;
    std::partial_sort(all, all + plan_.k, all + parts_ * plan_.k,
                      [](const KnnCandidate& a, const KnnCandidate& b) {
                        return a.low < b.low || (a.low == b.low && a.row() < b.row());
                      });
    put(query, all);
  }
}

KnnStatistics KnnSearch::run() {
  order_queries();
  const KnnBlockShape shape = choose_shape();
  parts_ = shape.parts;
  given_up_.assign(static_cast<size_t>(nq_ * parts_), 0);
  if (parts_ > 1) part_results_.resize(static_cast<size_t>(checked_mul(checked_mul(nq_, parts_), plan_.k)));
  const Scratch scratch =
      device_.scratch().take(checked_mul(shape.thread_bytes, device_.threads().thread_count()));
  std::vector<KnnStatistics> statistics(static_cast<size_t>(device_.threads().thread_count()));
  const int64_t panels = ceil_div(nb_, kKnnPanel);
  device_.threads().parallel_for(shape.blocks * parts_, [&](int64_t i, int thread) {
    const int64_t block = i / parts_;
    const int64_t part = i % parts_;
    const Memory memory = memory_at(scratch.data<char>() + thread * shape.thread_bytes, shape.block);
    search_item({{block * shape.block, std::min(nq_, (block + 1) * shape.block)},
                 part_of(panels, parts_, part),
                 part},
                memory, statistics[static_cast<size_t>(thread)]);
  });
  if (parts_ > 1) merge_parts();
  KnnStatistics total;
  total.filter = filter_ ? index_.filter() : KnnFilter::kNone;
  for (const KnnStatistics& one : statistics) {
    total.kept_pairs += one.kept_pairs;
    total.survivors += one.survivors;
  }
  for (auto it = given_up_.begin(); it != given_up_.end(); it += parts_)
    total.rescanned_rows += std::find(it, it + parts_, 1) != it + parts_ ? 1 : 0;
  return total;
}

KnnStatistics knn_search_some(CpuDevice& device, const KnnSearchPlan& plan,
                              const std::vector<int64_t>& queries) {
  const auto count = static_cast<int64_t>(queries.size());
  const int64_t d = plan.index->d();
  const Tensor rows(device, DType::kF32, {count, d}, "knn queries");
  Tensor distances;
  if (plan.distances.present())
    distances = Tensor(device, plan.distances.dtype(), {count, plan.k}, "knn distances");
  const Tensor indices(device, DType::kI64, {count, plan.k}, "knn indices");
  for (int64_t i = 0; i < count; ++i)
    std::copy_n(plan.queries.row(queries[static_cast<size_t>(i)], nullptr), d, rows.data<float>() + i * d);
  KnnSearchPlan some = plan;
  some.queries = KnnRows(device, rows);
  some.distances = distances.present() ? distances.view() : TensorView();
  some.indices = indices;
  const KnnStatistics statistics = KnnSearch(device, some).run();
  for (int64_t i = 0; i < count; ++i) {
    const int64_t to = queries[static_cast<size_t>(i)];
    if (distances.present()) copy(distances.view().rows(i, i + 1), plan.distances.rows(to, to + 1));
    copy(indices.view().rows(i, i + 1), plan.indices.rows(to, to + 1));
  }
  return statistics;
}

KnnStatistics knn_certified_search(CpuDevice& device, const KnnSearchPlan& plan) {
  const KnnCycles cycles = knn_expected_cycles(knn_product_cycles(device, plan.queries.count()), plan.k,
                                               plan.index->size(), plan.index->d());
  if (!knn_nearest_pays(device, plan, std::min(cycles.filter, cycles.table)))
    return KnnSearch(device, plan).run();
  const std::vector<int64_t> unsure = knn_nearest_search(device, plan);
  const int64_t sure = plan.queries.count() - static_cast<int64_t>(unsure.size());
  KnnStatistics statistics{nearest_way(device).filter, sure, sure, 0};
  if (unsure.empty()) return statistics;
  const KnnStatistics rest = knn_search_some(device, plan, unsure);
  statistics.kept_pairs += rest.kept_pairs;
  statistics.survivors += rest.survivors;
  statistics.rescanned_rows = rest.rescanned_rows;
  return statistics;
}

bool knn_eight_bits_pay(CpuDevice& device, const CpuKnnIndex& index) {
  const int64_t nb = index.size();
  const int64_t d = index.d();
  if (nb < kTrialGallery) return true;
  const Tensor queries(device, DType::kF32, {kTrialQueries, d}, "knn trial");
  const Tensor distances(device, DType::kF64, {kTrialQueries, kTrialNeighbours}, "knn trial");
  const Tensor indices(device, DType::kI64, {kTrialQueries, kTrialNeighbours}, "knn trial");
  for (int64_t i = 0; i < kTrialQueries; ++i) {
    float* to = queries.data<float>() + i * d;
    const float* row = index.rows().row((2 * i + 1) * nb / (2 * kTrialQueries), to);
    if (row != to) std::copy_n(row, d, to);
  }
  const KnnStatistics trial = knn_certified_search(device, {.index = &index,
                                                            .kernel = "knn_gallery_prepare",
                                                            .queries = KnnRows(device, queries),
                                                            .k = kTrialNeighbours,
                                                            .distances = distances,
                                                            .indices = indices,
                                                            .workspace_bytes = KnnOptions{}.workspace_bytes,
                                                            .filter_trial = true});
  // A query whose 8-bit filter was given up says enough.
  if (trial.rescanned_rows > 0) return false;
  const auto rows = static_cast<double>(nb);
  const auto width = static_cast<double>(d);
  const double hits = static_cast<double>(trial.kept_pairs) / kTrialQueries;
  // Until k rows are known, everything is kept: a panel more.
  const double excess = hits - knn_expected_hits(kTrialNeighbours, rows) - kKnnPanel;
  // Most searches are of more queries than a trial.
  const KnnProductCycles& cycles = knn_product_cycles(device, INT64_MAX);
  return excess * knn_cycles_per_hit(width) <= rows * width * (cycles.sixteen_bits - cycles.eight_bits);
}

}  // namespace panda::kernels::cpu
