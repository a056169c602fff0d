#include "kernels/cpu/knn_nearest.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "kernels/cpu/knn_cost.h"
#include "kernels/cpu/knn_nearest_scores.h"
#include "kernels/cpu/knn_search.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

namespace {

/// Queries below which the general search serves as well.
constexpr int64_t kFewQueries = 32;
/// Queries of a block, at least, and a multiple of what every way takes scores of together.
constexpr int64_t kLeastBlock = 96;
/// Rows beyond which codes of fewer bits are faster.
constexpr int64_t kMostRows = 2048;
/// D's rounding is below 2^-40 of itself up to this.
constexpr int64_t kMostDimensions = 65536;

/// D of a query (widened into that memory) to a gallery row.
double measure_one(const CpuDevice& device, const CpuKnnIndex& index, const float* query, int64_t row,
                   double* widened) {
  knn_widen(query, index.d(), widened);
  const float* const x = index.rows().row(row, nullptr);
  double distance = 0;
  device.exact().distance_rows({.query = widened,
                                .rows = &x,
                                .count = 1,
                                .d = index.d(),
                                .distances = &distance,
                                .term = ExactTerm::kSquaredDifference});
  return distance;
}

int64_t widened_size(int64_t d) {
  return round_up(d, 16);
}

/// The size of searches that this file is for.
bool serves(CpuDevice& device, const CpuKnnIndex& index, int64_t queries, int64_t workspace_bytes) {
  const int64_t nb = index.size();
  const int64_t d = index.d();
  return index.automatic() && index.metric() == KnnMetric::kL2 && nb <= kMostRows && d >= 1 &&
         d <= kMostDimensions && queries >= kFewQueries && index.rows().dtype() == DType::kF32 &&
         nearest_way(device).bytes(device, nb, d) <= workspace_bytes;
}

/// Per query, beside the distance if it is asked for.
double cycles_per_query(const CpuDevice& device, const CpuKnnIndex& index, int64_t queries) {
  // The general search also centers and encodes each query; both measure one D, if it is asked for.
  constexpr double kEncoding = 5;  // cycles a component
  constexpr double kPacking = 2;   // cycles a component of a row
  const auto d = static_cast<double>(index.d());
  const double packing = kPacking * static_cast<double>(index.size()) * d / static_cast<double>(queries);
  return nearest_way(device).cycles(device, index.size(), index.d()) + packing - kEncoding * d;
}

/// Scores the listed queries (or all of `all`, with no list) and calls `sure(query, found, widened)` from
/// threads for those whose nearest row is found's; returns the others in rising order.
template <typename Sure>
std::vector<int64_t> score_all(CpuDevice& device, const CpuKnnIndex& index, const NearestScores& scores,
                               const char* kernel, const KnnRows& all, std::span<const int64_t> list,
                               const Sure& sure) {
  const auto count = list.empty() ? all.count() : static_cast<int64_t>(list.size());
  const int64_t d = index.d();
  const int threads = device.threads().thread_count();
  // Several for every thread, in whole groups of what scores are taken of together.
  const int64_t block = std::min(scores.block(), round_up(ceil_div(count, 4 * threads), kLeastBlock));
  const int64_t bytes = round_up(scores.block_bytes(), 64);
  const Scratch scratch = device.scratch().take(bytes * threads);
  std::vector<std::vector<int64_t>> unsure(static_cast<size_t>(threads));
  FirstNotFinite first_bad(all.count());

  device.threads().parallel_for(ceil_div(count, block), [&](int64_t item, int thread) {
    const Range places{item * block, std::min((item + 1) * block, count)};
    std::vector<NearestFound> found(static_cast<size_t>(places.size()));
    const int64_t* const members = list.empty() ? nullptr : list.data() + places.begin;
    const float* const queries = all.row(list.empty() ? places.begin : 0, nullptr);
    scores.find(queries, members, places.size(), scratch.data<char>() + thread * bytes, found.data());
    std::vector<double> widened(static_cast<size_t>(widened_size(d)));
    for (int64_t i = 0; i < places.size(); ++i) {
      const NearestFound& one = found[static_cast<size_t>(i)];
      const int64_t query = members == nullptr ? places.begin + i : members[i];
      if (one.sure(scores.longest())) {
        sure(query, one, widened.data());
        continue;
      }
      const float* const x = all.row(query, nullptr);
      if (!std::isfinite(one.norm) && !std::isfinite(device.micro().dot(x, x, d))) {
        first_bad.found(query);
      } else {
        unsure[static_cast<size_t>(thread)].push_back(query);
      }
    }
  });
  if (first_bad.any()) throw_not_finite(kernel, "queries", all, first_bad.row(), 0);
  std::vector<int64_t> others;
  for (const std::vector<int64_t>& some : unsure) others.insert(others.end(), some.begin(), some.end());
  std::sort(others.begin(), others.end());
  return others;
}

class CpuNearestSearch final : public KnnNearestSearch {
 public:
  CpuNearestSearch(CpuDevice& device, const CpuKnnIndex& index)
      : device_(device), index_(index), scores_(nearest_way(device).make(device, index.rows())) {}
  void search(const KnnNearestArgs& args) const override;
  void measure(const ConstTensorView& queries, const int64_t* indices, double* distances) const override;

 private:
  static constexpr const char* kKernel = "knn nearest";
  CpuDevice& device_;
  const CpuKnnIndex& index_;
  std::unique_ptr<const NearestScores> scores_;
};

void CpuNearestSearch::search(const KnnNearestArgs& args) const {
  if (args.rows.empty()) return;
  const int64_t nq = args.queries.shape()[0];
  const KnnRows queries(device_, args.queries);
  const bool all = static_cast<int64_t>(args.rows.size()) == nq;
  const double square_error = scores_->square_error();
  const std::vector<int64_t> unsure =
      score_all(device_, index_, *scores_, kKernel, queries, all ? std::span<const int64_t>() : args.rows,
                [&](int64_t query, const NearestFound& found, double*) {
                  const double rounding = found.square * square_error + 0x1p-100;
                  const double near = double{found.best} + found.square + found.error + rounding;
                  const double far = double{found.second} + found.square - found.second_error - rounding;
                  // More than what the roots and f32 take.
                  constexpr float kSlack = 0x1p-22F;
                  args.indices[query] = found.row;
                  args.within[query] = std::sqrt(static_cast<float>(std::max(near, 0.0))) * (1 + kSlack);
                  args.beyond[query] = std::sqrt(static_cast<float>(std::max(far, 0.0))) * (1 - kSlack);
                });
  if (unsure.empty()) return;
  knn_search_some(device_,
                  {.index = &index_,
                   .kernel = kKernel,
                   .queries = queries,
                   .k = 1,
                   .distances = {},
                   .indices = TensorView(args.indices, DType::kI64, {nq, 1}, host()),
                   .workspace_bytes = KnnOptions{}.workspace_bytes},
                  unsure);
  for (const int64_t query : unsure) {
    args.within[query] = INFINITY;
    args.beyond[query] = 0;
  }
}

void CpuNearestSearch::measure(const ConstTensorView& queries, const int64_t* indices,
                               double* distances) const {
  constexpr int64_t kQueriesPerItem = 256;
  const int64_t d = index_.d();
  const int64_t nq = queries.shape()[0];
  device_.threads().parallel_for(ceil_div(nq, kQueriesPerItem), [&](int64_t item, int) {
    std::vector<double> widened(static_cast<size_t>(widened_size(d)));
    for (int64_t i = item * kQueriesPerItem; i < std::min((item + 1) * kQueriesPerItem, nq); ++i)
      distances[i] = measure_one(device_, index_, queries.data<float>() + i * d, indices[i], widened.data());
  });
}

}  // namespace

bool knn_nearest_pays(CpuDevice& device, const KnnSearchPlan& plan, double cycles) {
  const CpuKnnIndex& index = *plan.index;
  const int64_t nq = plan.queries.count();
  if (plan.k != 1 || plan.queries.dtype() != DType::kF32 || plan.filter_trial || plan.bound_factor != 1 ||
      !serves(device, index, nq, plan.workspace_bytes))
    return false;
  const double measuring = plan.distances.present() ? static_cast<double>(index.d()) : 0;
  return cycles_per_query(device, index, nq) + measuring < cycles;
}

std::vector<int64_t> knn_nearest_search(CpuDevice& device, const KnnSearchPlan& plan) {
  const CpuKnnIndex& index = *plan.index;
  const std::unique_ptr<NearestScores> scores = nearest_way(device).make(device, index.rows());
  return score_all(device, index, *scores, plan.kernel, plan.queries, {},
                   [&](int64_t query, const NearestFound& found, double* widened) {
                     plan.indices.data<int64_t>()[query] = found.row;
                     if (!plan.distances.present()) return;
                     const double distance =
                         measure_one(device, index, plan.queries.row(query, nullptr), found.row, widened);
                     if (plan.distances.dtype() == DType::kF64) {
                       plan.distances.data<double>()[query] = distance;
                     } else {
                       plan.distances.data<float>()[query] = static_cast<float>(distance);
                     }
                   });
}

std::unique_ptr<const KnnNearestSearch> make_nearest_search(CpuDevice& device, const CpuKnnIndex& index,
                                                            int64_t queries) {
  if (!serves(device, index, queries, KnnOptions{}.workspace_bytes)) return nullptr;
  const KnnCycles cycles =
      knn_expected_cycles(knn_product_cycles(device, queries), 1, index.size(), index.d());
  if (cycles_per_query(device, index, queries) >= std::min(cycles.filter, cycles.table)) return nullptr;
  return std::make_unique<CpuNearestSearch>(device, index);
}

}  // namespace panda::kernels::cpu
