// Measuring: from bounds on a distance to the distance itself.
#include <algorithm>

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/knn_search_steps.h"

namespace panda::kernels::cpu {

namespace {

constexpr int64_t kFewQueries = 3;
/// Candidates per row wanted above which f32 distances pay: they spare D of all but some more than k rows. In
/// cycles, as measured on Zen 4: f64 vectors of 8 take three, f32 ones of 16 one and a half.
double refined_above(int64_t d) {
  const auto width = static_cast<double>(d);
  const double exact = 20 + width * 3 / 8;
  const double refined = 17 + width * 1.5 / 16;
  return 1.2 * exact / (exact - refined);
}
/// Components from which sorting the candidates of a table costs less than it spares.
constexpr int64_t kSortedFrom = 1024;
/// Squared distances in f32 outside this range may have met an overflow or an underflow.
constexpr double kLeastRefined = 0x1p-60;
constexpr double kMostRefined = 0x1p120;

}  // namespace

double KnnSearch::distance_of(double sum, double query_norm, int64_t row) const {
  if (l2_) return sum;
  if (index_.metric() == KnnMetric::kInnerProduct) return -sum;
  const double norms = query_norm * index_.norm(row);
  return norms == 0 ? 1 : 1 - sum / norms;
}

/// Whether tau falls as candidates are measured, the nearest lower bound first. A table has lowered it
/// before, and what order spares then, half a row of ten, is worth sorting for if rows are long.
bool KnnSearch::nearest_bound_first() const {
  return plan_.k <= KnnCandidates::kEagerK && (table_rows_ == 0 || d_ >= kSortedFrom);
}

/// Bounds of bounded candidates, narrowed by f32 distances: what is left to measure is little more than k
/// rows. Returns how many remain; they stand first.
int64_t KnnSearch::refine(const Memory& m, const float* query, KnnCandidates& candidates,
                          int64_t measured) const {
  KnnCandidate* items = candidates.items();
  const int64_t size = candidates.size();
  const double gamma = knn_refined_error(d_);
  const bool eager = nearest_bound_first();
  KnnBound bound(m.bounds_now, plan_.k);
  for (int64_t j = 0; eager && j < measured; ++j) bound.offer(items[j].high);
  int64_t end = measured;
  while (end < size) {
    const float* rows[kMeasuredTogether];
    float distances[kMeasuredTogether];
    int64_t now = 0;
    for (; now < kMeasuredTogether && end + now < size && items[end + now].low <= candidates.discard_above();
         ++now)
      rows[now] = index_.rows().row(items[end + now].index, m.buffers + now * d16_);
    if (now == 0) break;
    kernels_.squared_distances(query, rows, now, d_, distances);
    for (int64_t j = 0; j < now; ++j) {
      KnnCandidate& item = items[end + j];
      const double distance = distances[j];
      if (distance > kLeastRefined && distance < kMostRefined) {
        item.low = std::max(item.low, distance * (1 - gamma));
        item.high = std::min(item.high, distance * (1 + gamma) * (1 + 2 * eta_));
      }
      if (eager && bound.offer(item.high)) candidates.lower_tau(bound.value());
    }
    end += now;
  }
  if (!eager) candidates.tighten(kernels_, end, m.bounds_now);
  const double limit = candidates.discard_above();
  const KnnCandidate* kept =
      std::remove_if(items + measured, items + end, [&](const KnnCandidate& one) { return one.low > limit; });
  return kept - items;
}

void KnnSearch::measure_rows(const Memory& m, double norm, KnnCandidate* items, int64_t count) const {
  for (int64_t at = 0; at < count; at += kMeasuredTogether) {
    const float* rows[kMeasuredTogether];
    double sums[kMeasuredTogether];
    const int64_t now = std::min(kMeasuredTogether, count - at);
    for (int64_t j = 0; j < now; ++j) rows[j] = index_.rows().row(items[at + j].index, m.buffers + j * d16_);
    device_.exact().distance_rows(
        {.query = m.centered, .rows = rows, .count = now, .d = d_, .distances = sums, .term = term()});
    for (int64_t j = 0; j < now; ++j) {
      KnnCandidate& item = items[at + j];
      item.low = item.high = distance_of(sums[j], norm, item.index);
      item.index = ~item.index;
    }
  }
}

/// Replaces bounds by distances; forgets who is not among the k first.
void KnnSearch::measure(const Memory& m, int64_t i, int64_t query, KnnStatistics& statistics) const {
  KnnCandidates& candidates = m.candidates[i];
  KnnCandidate* items = candidates.items();
  int64_t size = candidates.size();
  int64_t measured =
      std::partition(items, items + size, [](const KnnCandidate& one) { return one.measured(); }) - items;
  if (measured == size) return;
  const auto lower = [](const KnnCandidate& a, const KnnCandidate& b) { return a.low < b.low; };
  // Where tau does not fall meanwhile, the order decides nothing.
  const bool eager = nearest_bound_first();
  if (eager) {
    std::sort(items + measured, items + size, lower);
  } else {
    const double limit = candidates.discard_above();
    size = std::remove_if(items + measured, items + size,
                          [&](const KnnCandidate& one) { return one.low > limit; }) -
           items;
  }
  const float* q = query_row(query, m.query);
  if (l2_ && static_cast<double>(size - measured) > refined_above(d_) * static_cast<double>(plan_.k)) {
    candidates.shrink(size);
    size = refine(m, q, candidates, measured);
    if (eager) std::sort(items + measured, items + size, lower);
  }
  knn_widen(q, d_, m.centered);
  KnnBound bound(m.bounds_now, plan_.k);
  for (int64_t j = 0; eager && j < measured; ++j) bound.offer(items[j].low);
  while (measured < size) {
    int64_t next = measured;
    while (next < size && next - measured < kMeasuredTogether &&
           items[next].low <= candidates.discard_above())
      ++next;
    if (next == measured) break;
    measure_rows(m, m.norms[i], items + measured, next - measured);
    statistics.survivors += next - measured;
    for (; measured < next; ++measured) {
      if (eager && bound.offer(items[measured].low)) candidates.lower_tau(bound.value());
    }
  }
  candidates.shrink(measured);
}

/// S of `count` widened queries against `rows` gallery rows from `row` on, into m.distances [query][row].
void KnnSearch::exact_block(const Memory& m, int64_t count, int64_t row, int64_t rows) const {
  if (count <= kFewQueries) {  // widening a row in memory would cost more than widening it in registers
    for (int64_t at = 0; at < rows; at += kMeasuredTogether) {
      const float* pointers[kMeasuredTogether];
      const int64_t now = std::min(kMeasuredTogether, rows - at);
      for (int64_t j = 0; j < now; ++j) pointers[j] = index_.rows().row(row + at + j, m.buffers + j * d16_);
      for (int64_t i = 0; i < count; ++i) {
        device_.exact().distance_rows({.query = m.widened + i * d16_,
                                       .rows = pointers,
                                       .count = now,
                                       .d = d_,
                                       .distances = m.distances + i * rows + at,
                                       .term = term()});
      }
    }
    return;
  }
  double* gallery = m.widened + kExactQueries * d16_;
  for (int64_t j = 0; j < rows; ++j) knn_widen(index_.rows().row(row + j, m.buffers), d_, gallery + j * d16_);
  device_.exact().distances({.queries = m.widened,
                             .gallery = gallery,
                             .query_count = count,
                             .gallery_count = rows,
                             .d16 = d16_,
                             .distances = m.distances,
                             .term = term()});
}

/// Rows [first_row, end_row) against the item's queries by D alone.
void KnnSearch::walk_rows(const Item& item, const Memory& m, int64_t first_row, int64_t end_row,
                          KnnStatistics& statistics) {
  for (int64_t first = 0; first < item.queries.size(); first += kExactQueries) {
    const int64_t count = std::min(kExactQueries, item.queries.size() - first);
    for (int64_t i = 0; i < count; ++i) {
      const float* q = query_row(order_[static_cast<size_t>(item.queries.begin + first + i)], m.buffers);
      knn_widen(q, d_, m.widened + i * d16_);
      if (index_.metric() == KnnMetric::kCosine) m.norms[first + i] = knn_norm(device_, q, d_, m.centered);
    }
    for (int64_t row = first_row; row < end_row; row += kExactRows) {
      const int64_t rows = std::min(kExactRows, end_row - row);
      exact_block(m, count, row, rows);
      statistics.survivors += count * rows;
      for (int64_t i = 0; i < count; ++i) {
        KnnCandidates& candidates = m.candidates[first + i];
        for (int64_t j = 0; j < rows; ++j) {
          const double distance = distance_of(m.distances[i * rows + j], m.norms[first + i], row + j);
          if (distance > candidates.tau()) continue;
          candidates.push({distance, distance, ~(row + j)});
          if (candidates.full()) candidates.keep_first(candidates.size());
        }
      }
    }
  }
}

}  // namespace panda::kernels::cpu
