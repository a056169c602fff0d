#include "kernels/cpu/knn_nearest.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/knn_search.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

namespace {

/// Queries that share a panel while it is in L1 or L2.
constexpr int64_t kBlock = 96;
/// Queries below which the general search serves as well.
constexpr int64_t kFewQueries = 32;
/// Rows beyond which codes of fewer bits are faster.
constexpr int64_t kMostRows = 2048;
/// Norms beyond which a score could overflow, and is not trusted.
constexpr double kLongest = 1e18;

/// The best two of a row's lanes.
struct BestTwo {
  float best;
  float second;
  int32_t index;
};
BestTwo join_lanes(const float* state, int64_t lanes) {
  BestTwo result{INFINITY, INFINITY, 0};
  for (int64_t i = 0; i < lanes; ++i) {
    const float best = state[i];
    if (best < result.best) {
      result.second = std::min(result.best, state[lanes + i]);
      result.best = best;
      std::memcpy(&result.index, state + 2 * lanes + i, sizeof result.index);
    } else {
      result.second = std::min(result.second, best);
    }
  }
  return result;
}

/// Rows as f32 panels [rows / width][d][width], the last one narrower, by whole vectors; made for one search.
struct Panels {
  Panels(CpuDevice& device, const KnnRows& rows);

  Scratch scratch;
  float* panels;
  std::vector<float> norms;  ///< |c|^2; infinite after the last row, up to a whole panel
  double longest = 0;        ///< C, rounded up
};
Panels::Panels(CpuDevice& device, const KnnRows& rows)
    : scratch(device.scratch().take_array<float>(round_up(rows.count(), device.micro().vector_floats) *
                                                 rows.d())),
      panels(scratch.data<float>()) {
  const MicroKernels& micro = device.micro();
  const int64_t nb = rows.count();
  const int64_t d = rows.d();
  const int64_t width = micro.gemm_columns;
  const float* const x = rows.row(0, nullptr);
  norms.assign(static_cast<size_t>(round_up(nb, width)), INFINITY);
  for (int64_t first = 0; first < nb; first += width) {
    const int64_t columns = std::min(width, nb - first);
    const int64_t stride = round_up(columns, micro.vector_floats);
    if (stride != columns) std::fill_n(panels + first * d, stride * d, 0.0F);
    micro.transpose(x + first * d, d, columns, d, panels + first * d, stride);
  }
  for (int64_t i = 0; i < nb; ++i) {
    const double square = micro.dot(x + i * d, x + i * d, d);
    norms[static_cast<size_t>(i)] = static_cast<float>(square);
    longest = std::max(longest, std::sqrt(square) * (1 + knn_eta(d)));
  }
}

}  // namespace

bool knn_nearest_pays(const CpuDevice& device, const KnnSearchPlan& plan, double cycles) {
  const CpuKnnIndex& index = *plan.index;
  const int64_t nb = index.size();
  const int64_t nq = plan.queries.count();
  if (plan.k != 1 || !index.automatic() || index.metric() != KnnMetric::kL2 || nb > kMostRows ||
      nq < kFewQueries || index.rows().dtype() != DType::kF32 || plan.queries.dtype() != DType::kF32 ||
      plan.filter_trial || plan.bound_factor != 1 ||
      (nb + device.micro().vector_floats) * index.d() * 4 > plan.workspace_bytes)
    return false;
  // Two multiply-adds a cycle, of which a quarter is lost; the best two of a vector take some 6 instructions;
  // D. The general search also centers and encodes each query.
  constexpr double kEncoding = 5;  // cycles a component
  constexpr double kPacking = 2;   // the same of a row into panels
  const auto lanes = static_cast<double>(device.micro().vector_floats);
  const auto d = static_cast<double>(index.d());
  const auto rows = static_cast<double>(nb);
  const double mine =
      rows * (d / 1.5 + 6) / lanes + 4 * lanes + d + rows * d * kPacking / static_cast<double>(nq);
  return mine < cycles + kEncoding * d;
}

std::vector<int64_t> knn_nearest_search(CpuDevice& device, const KnnSearchPlan& plan) {
  const MicroKernels& micro = device.micro();
  const Panels panels(device, plan.index->rows());
  const int64_t nq = plan.queries.count();
  const int64_t nb = plan.index->size();
  const int64_t d = plan.index->d();
  const int64_t lanes = micro.vector_floats;
  const double gamma = 1.01 * 2 * static_cast<double>(d) * 0x1p-24;
  const double longest = panels.longest;
  const float* const x = plan.queries.row(0, nullptr);
  std::vector<std::vector<int64_t>> unsure(static_cast<size_t>(device.threads().thread_count()));
  std::atomic<int64_t> first_bad{nq};

  device.threads().parallel_for(ceil_div(nq, kBlock), [&](int64_t item, int thread) {
    const Range rows{item * kBlock, std::min((item + 1) * kBlock, nq)};
    std::vector<float> state(static_cast<size_t>(3 * lanes * rows.size()), INFINITY);
    for (int64_t first = 0; first < nb; first += micro.gemm_columns) {
      micro.nearest_panel({.a = x + rows.begin * d,
                           .row_stride = d,
                           .rows = rows.size(),
                           .d = d,
                           .panel = panels.panels + first * d,
                           .columns = std::min(micro.gemm_columns, nb - first),
                           .first_column = first,
                           .norms = panels.norms.data() + first,
                           .state = state.data()});
    }
    std::vector<double> widened(static_cast<size_t>(round_up(d, 16)));
    for (int64_t i = rows.begin; i < rows.end; ++i) {
      const float* const query = x + i * d;
      const double norm = std::sqrt(micro.dot(query, query, d)) * (1 + knn_eta(d));
      if (!std::isfinite(norm)) {
        int64_t seen = first_bad.load();
        while (i < seen && !first_bad.compare_exchange_weak(seen, i)) {
        }
        continue;
      }
      const BestTwo found = join_lanes(state.data() + (i - rows.begin) * 3 * lanes, lanes);
      const double both = norm + longest;
      const double error = 2 * gamma * norm * longest + 0x1p-22 * longest * (longest + 2 * norm) + 0x1p-120;
      const double margin = double{found.second} - double{found.best};
      if (!(both < kLongest) || !(margin > 2 * error + 0x1p-40 * both * both)) {
        unsure[static_cast<size_t>(thread)].push_back(i);
        continue;
      }
      knn_widen(query, d, widened.data());
      const float* const row = plan.index->rows().row(found.index, nullptr);
      double distance = 0;
      device.exact().distance_rows({.query = widened.data(),
                                    .rows = &row,
                                    .count = 1,
                                    .d = d,
                                    .distances = &distance,
                                    .term = ExactTerm::kSquaredDifference});
      plan.indices.data<int64_t>()[i] = found.index;
      if (plan.distances.dtype() == DType::kF64) {
        plan.distances.data<double>()[i] = distance;
      } else {
        plan.distances.data<float>()[i] = static_cast<float>(distance);
      }
    }
  });
  if (first_bad < nq) throw_not_finite(plan.kernel, "queries", plan.queries, first_bad, 0);
  std::vector<int64_t> all;
  for (const std::vector<int64_t>& some : unsure) all.insert(all.end(), some.begin(), some.end());
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace panda::kernels::cpu
