// The one-class SVM against scikit-learn (tests/golden/make_baseline_goldens.py), by the conditions of its
// optimum, and as a score of features.
#include "anomaly/one_class_svm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "anomaly/auroc.h"
#include "anomaly/one_class_svm_solver.h"
#include "anomaly/scoring.h"
#include "kernels/device_registry.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/random.h"
#include "tests/support/goldens.h"
#include "tests/support/messages.h"
#include "tests/support/random_features.h"

namespace panda::anomaly {
namespace {

using test::message_of;
using test::random_features;

constexpr int64_t kMemory = int64_t{1} << 24;

Tensor f32_of(const std::vector<double>& values, int64_t d) {
  std::vector<float> floats(values.begin(), values.end());
  return Tensor::from<float>({static_cast<int64_t>(floats.size()) / d, d}, floats.data());
}

TEST(OneClassSvm, GivesTheDecisionValuesOfScikitLearn) {
  ThreadPool threads(2);
  for (const char* name : {"svm", "svm-copies"}) {
    const test::Goldens goldens = test::read_goldens("baseline_goldens.txt", name);
    ASSERT_FALSE(goldens.empty());
    const Tensor features = f32_of(goldens.at("features"), 7);
    const Tensor queries = f32_of(goldens.at("queries"), 7);
    EXPECT_NEAR(scale_gamma(features) / goldens.at("gamma")[0], 1, 1e-12);
    int64_t cases = 0;
    for (const auto& [quantity, expected] : goldens) {
      if (quantity.rfind("decision/", 0) != 0) continue;
      ++cases;
      const std::string point = quantity.substr(9);
      const std::string gamma = point.substr(point.find('/') + 1);
      OneClassSvmOptions options{.nu = std::stod(point), .tolerance = 1e-10};
      if (gamma != "scale") options.gamma = std::stod(gamma);
      const OneClassSvm svm = OneClassSvm::fit(features, options, threads);
      const double rho = goldens.at("rho/" + point)[0];
      EXPECT_NEAR(svm.rho(), rho, 1e-7 * rho) << point;
      const std::vector<double> scores = svm.scores(queries, threads);
      ASSERT_EQ(scores.size(), expected.size());
      for (size_t i = 0; i < scores.size(); ++i)
        EXPECT_TRUE(std::abs(scores[i] + expected[i]) <= 1e-7 * rho) << point << " query " << i;
      if (name == std::string("svm")) {  // copies share their weight in more than one way
        EXPECT_EQ(svm.support_count(), static_cast<int64_t>(goldens.at("support/" + point)[0])) << point;
      }
    }
    EXPECT_EQ(cases, 16);
  }
}

/// The conditions of the header, to the tolerance.
void expect_optimal(RbfRows& kernel, const SvmSolution& solution, double nu, double tolerance,
                    const std::vector<uint8_t>& takes_part = {}) {
  const auto n = static_cast<size_t>(kernel.size());
  double sum = 0;
  double count = 0;
  for (size_t i = 0; i < n; ++i) {
    double g = 0;
    const double* const row = kernel.row(static_cast<int64_t>(i));
    for (size_t t = 0; t < n; ++t) g += row[t] * solution.weights[t];
    EXPECT_NEAR(g, solution.gradient[i], 1e-9 * (1 + g));
    const double weight = solution.weights[i];
    if (!takes_part.empty() && takes_part[i] == 0) {
      EXPECT_EQ(weight, 0);
      continue;
    }
    count += 1;
    sum += weight;
    EXPECT_TRUE(weight >= 0 && weight <= 1);
    const double slack = tolerance + 1e-9;
    if (weight < 1) {
      EXPECT_TRUE(g >= solution.rho - slack) << i;
    }
    if (weight > 0) {
      EXPECT_TRUE(g <= solution.rho + slack) << i;
    }
  }
  EXPECT_NEAR(sum, nu * count, 1e-9 * count);
}

TEST(OneClassSvm, IsOptimalForAnyNuAndGammaAndWithImagesLeftOut) {
  ThreadPool threads(1);
  const Tensor features = random_features(4, 83, 5);
  std::vector<uint8_t> takes_part(83, 1);
  for (size_t i = 0; i < 83; i += 4) takes_part[i] = 0;
  for (const double gamma : {1e-4, 0.05, 0.5, 50.0}) {
    SquaredDistances distances(features, threads, kMemory);
    RbfRows kernel(distances, gamma, kMemory);
    for (const double nu : {0.01, 0.1, 0.37, 0.9, 1.0}) {
      for (const double tolerance : {1e-3, 1e-8}) {
        expect_optimal(kernel, solve_one_class_svm(kernel, nu, tolerance), nu, tolerance);
        expect_optimal(kernel, solve_one_class_svm(kernel, nu, tolerance, takes_part), nu, tolerance,
                       takes_part);
      }
    }
  }
}

TEST(OneClassSvm, LeavesAboutTheShareNuOutside) {
  ThreadPool threads(2);
  const Tensor features = random_features(5, 400, 3);
  for (const double nu : {0.05, 0.2, 0.6}) {
    const OneClassSvm svm = OneClassSvm::fit(features, {.nu = nu, .tolerance = 1e-8}, threads);
    int64_t outside = 0;
    for (const double score : svm.scores(features, threads)) outside += score > 1e-6;
    EXPECT_LE(static_cast<double>(outside), nu * 400);
    EXPECT_GE(static_cast<double>(svm.support_count()), nu * 400 - 1e-9);
    EXPECT_GT(outside, 0);
  }
}

TEST(OneClassSvm, GivesTheSameBitsForAnyThreadsAndMemory) {
  const Tensor features = random_features(6, 150, 20);
  const Tensor queries = random_features(7, 37, 20);
  ThreadPool one(1);
  const OneClassSvm expected = OneClassSvm::fit(features, {}, one);
  const std::vector<double> scores = expected.scores(queries, one);
  EXPECT_GT(scores[0], 0);
  for (const int count : {1, 3}) {
    for (const int64_t bytes : {int64_t{1}, int64_t{10} * 150 * 8, kMemory}) {  // two rows, ten, all
      ThreadPool threads(count);
      const OneClassSvm svm = OneClassSvm::fit(features, {.memory_bytes = bytes}, threads);
      ASSERT_EQ(svm.packed().shape(), expected.packed().shape());
      for (int64_t i = 0; i < svm.packed().numel(); ++i)
        ASSERT_EQ(svm.packed().data<double>()[i], expected.packed().data<double>()[i]);
      EXPECT_EQ(OneClassSvm(svm.packed()).scores(queries, threads), scores);
      EXPECT_EQ(svm.scores(queries.view().rows(20, 21), threads)[0], scores[20]);
    }
  }
}

TEST(OneClassSvm, LeftOutScoresAreThoseOfMachinesWithoutTheFold) {
  ThreadPool threads(2);
  const Tensor features = random_features(8, 40, 6);
  std::vector<int64_t> fold_of;
  for (int64_t i = 0; i < 40; ++i) fold_of.push_back(i % 7 % 3);
  const OneClassSvmOptions options{.nu = 0.3, .gamma = 0.1, .tolerance = 1e-10};
  const std::vector<double> left_out = OneClassSvm::left_out_scores(features, fold_of, 3, options, threads);
  for (int64_t fold = 0; fold < 3; ++fold) {
    std::vector<float> others;
    for (int64_t t = 0; t < 40 * 6; ++t) {
      if (fold_of[static_cast<size_t>(t / 6)] != fold) others.push_back(features.data<float>()[t]);
    }
    const Tensor rest = Tensor::from<float>({static_cast<int64_t>(others.size()) / 6, 6}, others.data());
    const std::vector<double> scores = OneClassSvm::fit(rest, options, threads).scores(features, threads);
    for (size_t i = 0; i < 40; ++i) {
      if (fold_of[i] == fold) {
        EXPECT_NEAR(left_out[i], scores[i], 1e-8) << i;
      }
    }
  }
}

TEST(OneClassSvm, GridIsTheRocaucOfEachMachine) {
  ThreadPool threads(2);
  const Tensor features = random_features(9, 60, 4);
  Tensor tested = random_features(10, 30, 4);
  std::vector<uint8_t> labels(30);
  for (size_t i = 15; i < 30; ++i) {
    labels[i] = 1;
    for (size_t j = 0; j < 4; ++j) tested.data<float>()[i * 4 + j] *= 2;
  }
  const std::vector<double> nus = {0.2, 0.7};
  const std::vector<double> gammas = {0.01, 0.3, 3};
  const std::vector<SvmGridPoint> points =
      search_svm_grid(features, tested, labels, nus, gammas, {.tolerance = 1e-8}, threads);
  ASSERT_EQ(points.size(), 6u);
  double best = 0;
  for (size_t m = 0; m < points.size(); ++m) {
    EXPECT_EQ(points[m].nu, nus[m % 2]);
    EXPECT_EQ(points[m].gamma, gammas[m / 2]);
    const OneClassSvm svm = OneClassSvm::fit(
        features, {.nu = points[m].nu, .gamma = points[m].gamma, .tolerance = 1e-8}, threads);
    EXPECT_NEAR(points[m].auroc, *auroc(svm.scores(tested, threads), labels), 1e-12);
    best = std::max(best, points[m].auroc);
  }
  EXPECT_GT(best, 0.6);
  EXPECT_EQ(best_of(points).auroc, best);
  EXPECT_EQ(paper_nus().size() * paper_gammas().size(), 90u);
  EXPECT_EQ(paper_gammas().front(), 1.0 / 128);
  EXPECT_EQ(paper_gammas().back(), 4);
}

TEST(OneClassSvm, IsAScoreOfFeatures) {
  for (const char* name : {"reference", "cpu"}) {
    const std::unique_ptr<Device> device = kernels::make_device({name, 2, ""});
    const Tensor features = random_features(11, 60, 8);
    const Tensor queries = random_features(12, 9, 8, 3);
    for (const bool normalize : {false, true}) {
      const ScoreOptions options{.rule = ScoreRule::kOneClassSvm, .normalize = normalize, .seed = 3};
      const FeatureScorer scorer = FeatureScorer::fit(*device, features, options);
      EXPECT_EQ(scorer.feature_width(), 8);
      const std::vector<double> scores = scorer.score(queries);
      EXPECT_EQ(FeatureScorer(*device, scorer.reference(), options).score(queries), scores);
      if (!normalize) {
        EXPECT_EQ(scores,
                  OneClassSvm::fit(features, {}, device->threads()).scores(queries, device->threads()));
      }
      EXPECT_TRUE(scorer.leaves_out_folds(60));
      const std::vector<double> left_out = scorer.leave_one_out_scores(features);
      const std::vector<double> inside = scorer.score(features);
      double sum = 0;
      for (size_t i = 0; i < inside.size(); ++i) sum += left_out[i] - inside[i];
      EXPECT_GT(sum, 0);  // a machine knows its own images
    }
  }
}

TEST(OneClassSvm, RefusesBadInputAndStopsWhenInterrupted) {
  ThreadPool threads(1);
  const Tensor features = random_features(13, 12, 3);
  const auto fit = [&](const OneClassSvmOptions& options) {
    return message_of([&] { static_cast<void>(OneClassSvm::fit(features, options, threads)); });
  };
  EXPECT_EQ(fit({}), "no error");
  EXPECT_EQ(fit({.nu = 0}), "oc-svm: nu=0, expected above 0 and at most 1");
  EXPECT_EQ(fit({.nu = 1.5}), "oc-svm: nu=1.5, expected above 0 and at most 1");
  EXPECT_EQ(fit({.gamma = -1}), "oc-svm: gamma=-1, expected gamma > 0");
  EXPECT_EQ(fit({.tolerance = 0}), "oc-svm: tolerance=0, expected above 0");
  const float same[] = {2, 2, 2, 2};
  const Tensor equal = Tensor::from<float>({2, 2}, same);
  EXPECT_NE(message_of([&] { static_cast<void>(OneClassSvm::fit(equal, {}, threads)); }).find("no scale"),
            std::string::npos);
  EXPECT_EQ(OneClassSvm::fit(equal, {.gamma = 1}, threads).scores(equal, threads)[0], 0);

  const OneClassSvm svm = OneClassSvm::fit(features, {}, threads);
  Tensor changed = clone_to(svm.packed(), host(), "packed");
  changed.data<double>()[1 * 5 + 3] = 2;
  EXPECT_EQ(message_of([&] { static_cast<void>(OneClassSvm(changed)); }),
            "oc-svm: support vector 0 has the weight 2, expected above 0 and at most 1");
  EXPECT_NE(message_of([&] { static_cast<void>(OneClassSvm(features)); }).find("expected f64"),
            std::string::npos);
  const std::vector<uint8_t> labels(12, 1);
  EXPECT_NE(message_of([&] {
              static_cast<void>(
                  search_svm_grid(features, features, labels, paper_nus(), paper_gammas(), {}, threads));
            }).find("no ROCAUC"),
            std::string::npos);
  request_interrupt();
  EXPECT_THROW(static_cast<void>(OneClassSvm::fit(features, {}, threads)), Interrupted);
  clear_interrupt();
}

}  // namespace
}  // namespace panda::anomaly
