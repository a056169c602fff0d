#include "kernels/cpu/knn_one_row.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

namespace {

/// Queries of a work item: their addresses fit the first-level cache.
constexpr int64_t kQueriesPerItem = 256;

}  // namespace

bool knn_one_row_serves(const KnnSearchPlan& plan) {
  const CpuKnnIndex& index = *plan.index;
  return index.size() == 1 && index.filter() == KnnFilter::kNone && index.metric() == KnnMetric::kL2 &&
         index.rows().dtype() == DType::kF32 && plan.queries.dtype() == DType::kF32;
}

KnnStatistics knn_one_row_search(CpuDevice& device, const KnnSearchPlan& plan) {
  const int64_t nq = plan.queries.count();
  const int64_t d = plan.index->d();
  // (q - x)^2 and (x - q)^2 have the same bits: the row stands for the query, which is widened once.
  std::vector<double> row(static_cast<size_t>(round_up(d, 16)));
  knn_widen(plan.index->rows().row(0, nullptr), d, row.data());
  FirstNotFinite first_bad(nq);
  device.threads().parallel_for(ceil_div(nq, kQueriesPerItem), [&](int64_t item, int) {
    const Range queries{item * kQueriesPerItem, std::min((item + 1) * kQueriesPerItem, nq)};
    const float* rows[kQueriesPerItem];
    double distances[kQueriesPerItem];
    const float* const first = plan.queries.row(queries.begin, nullptr);
    for (int64_t i = 0; i < queries.size(); ++i) rows[i] = first + i * d;
    device.exact().distance_rows({.query = row.data(),
                                  .rows = rows,
                                  .count = queries.size(),
                                  .d = d,
                                  .distances = distances,
                                  .term = ExactTerm::kSquaredDifference});
    // Of what is finite, squares do not leave f64.
    const auto* const bad = std::find_if_not(distances, distances + queries.size(),
                                             [](double distance) { return std::isfinite(distance); });
    if (bad != distances + queries.size()) {
      first_bad.found(queries.begin + (bad - distances));
      return;
    }
    std::fill_n(plan.indices.data<int64_t>() + queries.begin, queries.size(), int64_t{0});
    if (!plan.distances.present()) return;
    if (plan.distances.dtype() == DType::kF64) {
      std::copy_n(distances, queries.size(), plan.distances.data<double>() + queries.begin);
    } else {
      std::transform(distances, distances + queries.size(), plan.distances.data<float>() + queries.begin,
                     [](double distance) { return static_cast<float>(distance); });
    }
  });
  if (first_bad.any()) throw_not_finite(plan.kernel, "queries", plan.queries, first_bad.row(), 0);
  return {.filter = KnnFilter::kNone, .survivors = nq};
}

}  // namespace panda::kernels::cpu
