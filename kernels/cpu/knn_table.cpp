// The certified search of a small gallery of which much is wanted: the filter would keep most pairs until it
// has seen k rows and often k more, so all products are formed first. From them come bounds on every
// distance, from the upper ones tau (at once as low as it gets), and what lies below tau is measured.
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/knn_search_steps.h"

namespace panda::kernels::cpu {

void KnnSearch::search_table(const Item& item, const Memory& m, KnnStatistics& statistics) {
  const int64_t count = item.queries.size();
  const double scale = encode_queries(item, m);
  // In two steps: with -fsanitize=null GCC 12 checks the index expression of one before it is evaluated.
  const auto* const by_code = tiles_ != nullptr ? tiles_->products : kernels_.products;
  const auto products = by_code[static_cast<int>(index_.code())];
  for (int64_t p = item.panels.begin; p < item.panels.end; ++p) {
    products({.panel = index_.panel(p),
              .queries = m.codes,
              .groups = index_.groups(),
              .query_count = count,
              .bias = m.bias,
              .sums = m.sums,
              .stride = table_rows_,
              .words = m.words + (p - item.panels.begin) * kKnnPanel});
  }
  for (int64_t i = 0; i < count; ++i) search_row_of_table(item, m, i, scale, statistics);
}

void KnnSearch::search_row_of_table(const Item& item, const Memory& m, int64_t i, double scale,
                                    KnnStatistics& statistics) {
  const double* const rows_c = index_.c();
  const double* const rows_e = index_.e();
  const double* const rows_n = index_.n();
  for (int64_t p = item.panels.begin; p < item.panels.end; ++p) {
    const int64_t at = (p - item.panels.begin) * kKnnPanel;
    const double unit = factor_ * scale * index_.scale(p);
    kernels_.bounds({.code = index_.code(),
                     .words = m.words + i * table_rows_ + at,
                     .c = rows_c + p * kKnnPanel,
                     .e = rows_e + p * kKnnPanel,
                     .n = rows_n + p * kKnnPanel,
                     .unit = unit,
                     .beta = m.beta[i],
                     .epsilon = m.epsilon[i],
                     .underflow = underflow(unit),
                     .query_low = m.bounds[i].low,
                     .query_high = m.bounds[i].high,
                     .slack = kKnnBoundSlack,
                     .c_up = 1 + 8 * eta_,
                     .rounding = l2_ ? 1 + 2 * eta_ : 1,
                     .low = m.lows + at,
                     .high = m.highs + at});
  }
  const int64_t first_row = item.panels.begin * kKnnPanel;
  const int64_t rows = std::min(nb_, item.panels.end * kKnnPanel) - first_row;
  KnnCandidates& candidates =
      *new (m.candidates + i) KnnCandidates(m.table_items, m.tau_bounds, plan_.k, l2_ ? 2 * eta_ : 0);
  if (rows >= plan_.k) candidates.lower_tau(kernels_.about_kth(m.highs, rows, plan_.k));
  const double limit = candidates.discard_above();
  const int64_t count = kernels_.places_at_most(m.lows, rows, limit, m.places);
  for (int64_t j = 0; j < count; ++j) {
    const int32_t row = m.places[j];
    candidates.put({m.lows[row], m.highs[row], first_row + row});
  }
  const int64_t query = order_[static_cast<size_t>(item.queries.begin + i)];
  statistics.kept_pairs += candidates.size();
  measure(m, i, query, statistics);
  candidates.finish(kernels_, m.bounds_now);
  write(query, item.part, candidates);
}

}  // namespace panda::kernels::cpu
