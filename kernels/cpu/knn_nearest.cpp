#include "kernels/cpu/knn_nearest.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "kernels/cpu/knn_nearest_scores.h"
#include "kernels/cpu/knn_search.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

namespace {

/// Queries below which the general search serves as well.
constexpr int64_t kFewQueries = 32;
/// Rows beyond which codes of fewer bits are faster.
constexpr int64_t kMostRows = 2048;
/// D's rounding is below 2^-40 of itself up to this.
constexpr int64_t kMostDimensions = 65536;
/// Norms beyond which a score could overflow, and is not trusted.
constexpr double kLongest = 1e18;

void write_sure(const CpuDevice& device, const KnnSearchPlan& plan, int64_t query, int64_t row,
                double* widened) {
  plan.indices.data<int64_t>()[query] = row;
  if (!plan.distances.present()) return;
  const int64_t d = plan.index->d();
  knn_widen(plan.queries.row(query, nullptr), d, widened);
  const float* const x = plan.index->rows().row(row, nullptr);
  double distance = 0;
  device.exact().distance_rows({.query = widened,
                                .rows = &x,
                                .count = 1,
                                .d = d,
                                .distances = &distance,
                                .term = ExactTerm::kSquaredDifference});
  if (plan.distances.dtype() == DType::kF64) {
    plan.distances.data<double>()[query] = distance;
  } else {
    plan.distances.data<float>()[query] = static_cast<float>(distance);
  }
}

}  // namespace

bool knn_nearest_pays(CpuDevice& device, const KnnSearchPlan& plan, double cycles) {
  const CpuKnnIndex& index = *plan.index;
  const int64_t nb = index.size();
  const int64_t nq = plan.queries.count();
  const int64_t d = index.d();
  if (plan.k != 1 || !index.automatic() || index.metric() != KnnMetric::kL2 || nb > kMostRows || d < 1 ||
      d > kMostDimensions || nq < kFewQueries || index.rows().dtype() != DType::kF32 ||
      plan.queries.dtype() != DType::kF32 || plan.filter_trial || plan.bound_factor != 1 ||
      nearest_scores_bytes(device, nb, d) > plan.workspace_bytes)
    return false;
  // The general search also centers and encodes each query; both measure one D, if it is asked for.
  constexpr double kEncoding = 5;  // cycles a component
  const auto depth = static_cast<double>(d);
  const double measuring = plan.distances.present() ? depth : 0;
  return nearest_scores_cycles(device, nb, d, nq) + measuring < cycles + kEncoding * depth;
}

std::vector<int64_t> knn_nearest_search(CpuDevice& device, const KnnSearchPlan& plan) {
  const std::unique_ptr<NearestScores> scores = nearest_scores(device, plan.index->rows());
  const int64_t nq = plan.queries.count();
  const int64_t d = plan.index->d();
  const int threads = device.threads().thread_count();
  const int64_t block = scores->block();
  const int64_t bytes = round_up(scores->block_bytes(), 64);
  const Scratch scratch = device.scratch().take(bytes * threads);
  std::vector<std::vector<int64_t>> unsure(static_cast<size_t>(threads));
  FirstNotFinite first_bad(nq);

  device.threads().parallel_for(ceil_div(nq, block), [&](int64_t item, int thread) {
    const Range rows{item * block, std::min((item + 1) * block, nq)};
    std::vector<NearestFound> found(static_cast<size_t>(rows.size()));
    const float* const queries = plan.queries.row(rows.begin, nullptr);
    scores->find(queries, rows.size(), scratch.data<char>() + thread * bytes, found.data());
    std::vector<double> widened(static_cast<size_t>(round_up(d, 16)));
    for (int64_t i = rows.begin; i < rows.end; ++i) {
      const NearestFound& one = found[static_cast<size_t>(i - rows.begin)];
      const double both = one.norm + scores->longest();
      const double margin = double{one.second} - double{one.best};
      if (both < kLongest && margin > 2 * scores->error(one.norm) + 0x1p-40 * both * both) {
        write_sure(device, plan, i, one.row, widened.data());
        continue;
      }
      const float* const query = queries + (i - rows.begin) * d;
      if (!std::isfinite(one.norm) && !std::isfinite(device.micro().dot(query, query, d))) {
        first_bad.found(i);
      } else {
        unsure[static_cast<size_t>(thread)].push_back(i);
      }
    }
  });
  if (first_bad.any()) throw_not_finite(plan.kernel, "queries", plan.queries, first_bad.row(), 0);
  std::vector<int64_t> all;
  for (const std::vector<int64_t>& some : unsure) all.insert(all.end(), some.begin(), some.end());
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace panda::kernels::cpu
