#include "anomaly/one_class_svm.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "anomaly/auroc.h"
#include "anomaly/chained_sums.h"
#include "anomaly/one_class_svm_solver.h"
#include "kernels/tensor/error.h"

namespace panda::anomaly {

namespace {

constexpr int64_t kQueriesPerItem = 8;
constexpr int64_t kQueriesPerReport = 512;

double gamma_of(const ConstTensorView& features, const OneClassSvmOptions& options) {
  return options.gamma ? *options.gamma : scale_gamma(features);
}

}  // namespace

void check_one_class_svm(const OneClassSvmOptions& options) {
  PANDA_CHECK(options.nu > 0 && options.nu <= 1, "oc-svm: nu=", options.nu,
              ", expected above 0 and at most 1");
  const double gamma = options.gamma.value_or(1);
  PANDA_CHECK(gamma > 0 && std::isfinite(gamma), "oc-svm: gamma=", gamma, ", expected gamma > 0");
  PANDA_CHECK(options.tolerance > 0, "oc-svm: tolerance=", options.tolerance, ", expected above 0");
}

double scale_gamma(const ConstTensorView& features) {
  const auto* x = features.data<float>();
  const int64_t count = features.numel();
  double mean = 0;
  for (int64_t i = 0; i < count; ++i) mean += double{x[i]};
  mean /= static_cast<double>(count);
  double squares = 0;
  for (int64_t i = 0; i < count; ++i) squares += (double{x[i]} - mean) * (double{x[i]} - mean);
  const double variance = squares / static_cast<double>(count);
  PANDA_CHECK(variance > 0, "oc-svm: all features of all ", features.shape()[0],
              " training images are equal: there is no scale to take gamma from");
  return 1 / (static_cast<double>(features.shape()[1]) * variance);
}

OneClassSvm OneClassSvm::fit(const ConstTensorView& features, const OneClassSvmOptions& options,
                             ThreadPool& threads, Progress* progress) {
  check_one_class_svm(options);
  const int64_t n = features.shape()[0];
  const int64_t d = features.shape()[1];
  PANDA_CHECK(n >= 1, "oc-svm: there are no training images");
  SquaredDistances distances(features, threads, 0);
  RbfRows kernel(distances, gamma_of(features, options), options.memory_bytes);
  const SvmSolution solution = solve_one_class_svm(kernel, options.nu, options.tolerance, {}, progress);
  const int64_t support = n - std::count(solution.weights.begin(), solution.weights.end(), 0.0);
  Tensor packed(host(), DType::kF64, {support + 1, d + 2}, "support vectors");
  auto* row = packed.data<double>();
  std::fill_n(row, d, 0.0);
  row[d] = kernel.gamma();
  row[d + 1] = solution.rho;
  for (int64_t i = 0; i < n; ++i) {
    const double weight = solution.weights[static_cast<size_t>(i)];
    if (weight == 0) continue;
    row += d + 2;
    std::copy_n(features.data<float>() + i * d, d, row);
    row[d] = weight;
    row[d + 1] = 0;
  }
  return OneClassSvm(std::move(packed));
}

OneClassSvm::OneClassSvm(Tensor packed) : packed_(std::move(packed)) {
  const Shape& shape = packed_.shape();
  PANDA_CHECK(shape.rank() == 2 && packed_.dtype() == DType::kF64 && shape[0] >= 2 && shape[1] >= 3,
              "oc-svm: ", packed_.view().to_string(), ", expected f64 support vectors + 1, features + 2");
  PANDA_CHECK(gamma() > 0, "oc-svm: gamma=", gamma(), ", expected gamma > 0");
  for (int64_t i = 1; i <= support_count(); ++i) {
    const double weight = packed_.data<double>()[i * shape[1] + feature_width()];
    PANDA_CHECK(weight > 0 && weight <= 1, "oc-svm: support vector ", i - 1, " has the weight ", weight,
                ", expected above 0 and at most 1");
  }
}

std::vector<double> OneClassSvm::scores(const ConstTensorView& features, ThreadPool& threads) const {
  const int64_t n = features.shape()[0];
  const int64_t d = feature_width();
  std::vector<double> squares;  // |x_i|^2
  for (int64_t i = 1; i <= support_count(); ++i) {
    const double* const x = packed_.data<double>() + i * (d + 2);
    squares.push_back(chained_dot(x, x, d));
  }
  std::vector<double> scores(static_cast<size_t>(n), rho());
  threads.parallel_for((n + kQueriesPerItem - 1) / kQueriesPerItem, [&](int64_t item, int) {
    const int64_t first = item * kQueriesPerItem;
    const int64_t rows = std::min(n - first, kQueriesPerItem);
    const std::vector<double> queries(features.data<float>() + first * d,
                                      features.data<float>() + (first + rows) * d);
    std::vector<double> lengths;
    for (int64_t q = 0; q < rows; ++q)
      lengths.push_back(chained_dot(queries.data() + q * d, queries.data() + q * d, d));
    for (int64_t i = 0; i < support_count(); ++i) {
      const double* const x = packed_.data<double>() + (i + 1) * (d + 2);
      for (int64_t q = 0; q < rows; ++q) {
        const double product = chained_dot(queries.data() + q * d, x, d);
        const double distance =
            std::max(0.0, lengths[static_cast<size_t>(q)] + squares[static_cast<size_t>(i)] - 2 * product);
        scores[static_cast<size_t>(first + q)] -= x[d] * std::exp(-gamma() * distance);
      }
    }
  });
  return scores;
}

std::vector<double> OneClassSvm::left_out_scores(const ConstTensorView& features,
                                                 std::span<const int64_t> fold_of, int64_t folds,
                                                 const OneClassSvmOptions& options, ThreadPool& threads,
                                                 Progress* progress) {
  check_one_class_svm(options);
  const auto n = static_cast<size_t>(features.shape()[0]);
  PANDA_CHECK(fold_of.size() == n, "oc-svm: folds of ", fold_of.size(), " images, but there are ", n);
  SquaredDistances distances(features, threads, 0);
  RbfRows kernel(distances, gamma_of(features, options), options.memory_bytes);
  std::vector<double> scores(n);
  std::vector<uint8_t> takes_part(n);
  for (int64_t fold = 0; fold < folds; ++fold) {
    for (size_t i = 0; i < n; ++i) takes_part[i] = fold_of[i] != fold ? 1 : 0;
    const SvmSolution solution = solve_one_class_svm(kernel, options.nu, options.tolerance, takes_part);
    for (size_t i = 0; i < n; ++i) {
      if (fold_of[i] == fold) scores[i] = solution.rho - solution.gradient[i];
    }
    report_progress(progress, "calibrating", fold + 1, folds);
  }
  return scores;
}

std::vector<double> paper_nus() {
  return {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9};
}

std::vector<double> paper_gammas() {
  std::vector<double> gammas;
  for (int power = -7; power <= 2; ++power) gammas.push_back(std::ldexp(1.0, power));
  return gammas;
}

namespace {

/// The dual's weights of every machine of the grid: points of gamma g begin at g * nus.size().
std::vector<SvmSolution> solve_grid(const ConstTensorView& features, std::span<const double> nus,
                                    std::span<const double> gammas, const OneClassSvmOptions& options,
                                    ThreadPool& threads, Progress* progress, int64_t total) {
  SquaredDistances distances(features, threads, options.memory_bytes / 2);
  std::vector<SvmSolution> solutions;
  for (const double gamma : gammas) {
    RbfRows kernel(distances, gamma, options.memory_bytes / 2);
    for (const double nu : nus) {
      solutions.push_back(solve_one_class_svm(kernel, nu, options.tolerance));
      report_progress(progress, "searching the grid", static_cast<int64_t>(solutions.size()), total);
    }
  }
  return solutions;
}

}  // namespace

std::vector<SvmGridPoint> search_svm_grid(const ConstTensorView& features,
                                          const ConstTensorView& test_features,
                                          std::span<const uint8_t> labels, std::span<const double> nus,
                                          std::span<const double> gammas, const OneClassSvmOptions& options,
                                          ThreadPool& threads, Progress* progress) {
  const int64_t n = features.shape()[0];
  const int64_t d = features.shape()[1];
  const int64_t test_count = test_features.shape()[0];
  PANDA_CHECK(n >= 1, "oc-svm: there are no training images");
  PANDA_CHECK(test_features.shape()[1] == d && static_cast<int64_t>(labels.size()) == test_count,
              "oc-svm: ", labels.size(), " labels for features ", test_features.shape(), ", expected ",
              test_count, ",", d);
  const auto machines = static_cast<int64_t>(nus.size() * gammas.size());
  // Half of the report's way is the solving, half the scoring, whose distances serve all machines.
  const std::vector<SvmSolution> solutions =
      solve_grid(features, nus, gammas, options, threads, progress, 2 * machines);
  const SquaredDistances distances(features, threads, 0);
  std::vector<std::vector<double>> scores(solutions.size(),
                                          std::vector<double>(static_cast<size_t>(test_count)));
  for (int64_t begin = 0; begin < test_count; begin += kQueriesPerReport) {
    const int64_t end = std::min(test_count, begin + kQueriesPerReport);
    threads.parallel_for(end - begin, [&](int64_t item, int) {
      const float* const x = test_features.data<float>() + (begin + item) * d;
      std::vector<double> row(static_cast<size_t>(n));
      std::vector<double> similar(static_cast<size_t>(n));
      distances.measure(std::vector<double>(x, x + d).data(), row.data());
      for (size_t g = 0; g < gammas.size(); ++g) {
        for (size_t t = 0; t < row.size(); ++t) similar[t] = std::exp(-gammas[g] * row[t]);
        for (size_t m = g * nus.size(); m < (g + 1) * nus.size(); ++m)
          scores[m][static_cast<size_t>(begin + item)] =
              solutions[m].rho - chained_dot(similar.data(), solutions[m].weights.data(), n);
      }
    });
    report_progress(progress, "searching the grid", machines + machines * end / test_count, 2 * machines);
  }
  std::vector<SvmGridPoint> points;
  for (size_t m = 0; m < solutions.size(); ++m) {
    const std::optional<double> value = auroc(scores[m], labels);
    PANDA_CHECK(value.has_value(), "oc-svm: the labelled images are all of one kind, so there is no ROCAUC");
    points.push_back({nus[m % nus.size()], gammas[m / nus.size()], *value});
  }
  return points;
}

const SvmGridPoint& best_of(std::span<const SvmGridPoint> points) {
  PANDA_CHECK(!points.empty(), "oc-svm: an empty grid has no best point");
  return *std::max_element(points.begin(), points.end(),
                           [](const SvmGridPoint& x, const SvmGridPoint& y) { return x.auroc < y.auroc; });
}

}  // namespace panda::anomaly
