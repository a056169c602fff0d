#include "anomaly/scoring.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "anomaly/threshold.h"
#include "kernels/device_registry.h"
#include "kernels/kmeans.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/random.h"
#include "tests/support/messages.h"
#include "tests/support/random_features.h"

namespace panda::anomaly {
namespace {

using test::message_of;
using test::random_features;

constexpr ScoreRule kRules[] = {ScoreRule::kKnnSumSq, ScoreRule::kKnnMean, ScoreRule::kCenter};

/// Small integers: every distance and sum is exact.
Tensor integer_features(uint64_t seed, int64_t n, int64_t d) {
  Random random(seed);
  std::vector<float> values(static_cast<size_t>(n * d));
  for (float& value : values) value = static_cast<float>(random.next_below(7)) - 3;
  return Tensor::from<float>({n, d}, values.data());
}

Tensor without_row(const Tensor& features, int64_t row) {
  const int64_t n = features.shape()[0];
  const int64_t d = features.shape()[1];
  std::vector<float> values;
  for (int64_t i = 0; i < n * d; ++i) {
    if (i / d != row) values.push_back(features.data<float>()[i]);
  }
  return Tensor::from<float>({n - 1, d}, values.data());
}

double score_by_definition(ScoreRule rule, const float* x, const Tensor& gallery, int64_t k) {
  const int64_t n = gallery.shape()[0];
  const int64_t d = gallery.shape()[1];
  if (rule == ScoreRule::kCenter) {
    double sum = 0;
    for (int64_t j = 0; j < d; ++j) {
      double mean = 0;
      for (int64_t i = 0; i < n; ++i) mean += double{gallery.data<float>()[i * d + j]};
      const double difference = double{x[j]} - mean / static_cast<double>(n);
      sum += difference * difference;
    }
    return sum;
  }
  std::vector<double> distances;
  for (int64_t i = 0; i < n; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < d; ++j) {
      const double difference = double{x[j]} - double{gallery.data<float>()[i * d + j]};
      sum += difference * difference;
    }
    distances.push_back(sum);
  }
  std::sort(distances.begin(), distances.end());
  double score = 0;
  for (int64_t j = 0; j < k; ++j) {
    const double distance = distances[static_cast<size_t>(j)];
    score += rule == ScoreRule::kKnnSumSq ? distance : std::sqrt(distance) / static_cast<double>(k);
  }
  return score;
}

class Scoring : public ::testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<Device> device_ = kernels::make_device({GetParam(), 2, ""});
};

TEST_P(Scoring, AgreesWithTheDefinition) {
  for (const int64_t d : {1, 5, 16, 33}) {
    double total = 0;
    const Tensor gallery = integer_features(1, 40, d);
    const Tensor queries = integer_features(2, 17, d);
    for (const ScoreRule rule : kRules) {
      for (const int64_t k : {1, 2, 7, 40}) {
        const FeatureScorer scorer = FeatureScorer::fit(*device_, gallery, {rule, k, false});
        const std::vector<double> scores = scorer.score(queries);
        ASSERT_EQ(scores.size(), 17u);
        for (int64_t i = 0; i < 17; ++i) {
          const double expected = score_by_definition(rule, queries.data<float>() + i * d, gallery, k);
          // Distances are exact; k roots, their sum and the quotient are rounded (a mean likewise).
          const double tolerance = rule == ScoreRule::kKnnSumSq ? 0 : 64 * 0x1p-53 * (1 + expected);
          EXPECT_TRUE(std::abs(scores[static_cast<size_t>(i)] - expected) <= tolerance)
              << score_rule_name(rule) << " d=" << d << " k=" << k;
          total += expected;
        }
      }
    }
    EXPECT_GT(total, 0);
  }
}

TEST_P(Scoring, LeavingOneOutIsAFitWithoutIt) {
  const Tensor features = random_features(3, 23, 12);
  for (const bool normalize : {false, true}) {
    for (const ScoreRule rule : kRules) {
      const ScoreOptions options{rule, 3, normalize};
      const std::vector<double> left_out =
          FeatureScorer::fit(*device_, features, options).leave_one_out_scores(features);
      for (int64_t i = 0; i < 23; ++i) {
        const FeatureScorer refit = FeatureScorer::fit(*device_, without_row(features, i), options);
        const double expected = refit.score(features.view().rows(i, i + 1))[0];
        if (rule == ScoreRule::kCenter) {
          EXPECT_TRUE(std::abs(left_out[static_cast<size_t>(i)] - expected) <= 200 * 0x1p-53 * expected);
        } else {
          EXPECT_EQ(left_out[static_cast<size_t>(i)], expected) << score_rule_name(rule) << " image " << i;
        }
      }
    }
  }
}

TEST_P(Scoring, LeavesOutTheImageAndNotItsCopies) {
  // Five copies of one image (more than k + 1), then two of another and a lone one.
  const float values[] = {1, 1, 1, 1, 1, 4, 4, 10};
  const Tensor features = Tensor::from<float>({8, 1}, values);
  const FeatureScorer scorer = FeatureScorer::fit(*device_, features, {ScoreRule::kKnnSumSq, 2, false});
  const std::vector<double> expected = {0, 0, 0, 0, 0, 0 + 9, 0 + 9, 36 + 36};
  EXPECT_EQ(scorer.leave_one_out_scores(features), expected);
}

TEST_P(Scoring, DoesNotDependOnHowManyAreScoredAtOnce) {
  const Tensor gallery = random_features(4, 300, 19);
  const Tensor queries = random_features(5, 600, 19);
  for (const ScoreRule rule : kRules) {
    const FeatureScorer scorer = FeatureScorer::fit(*device_, gallery, {rule, 2, true});
    const std::vector<double> together = scorer.score(queries);
    for (const int64_t i : {0, 1, 255, 256, 511, 512, 599}) {
      EXPECT_EQ(scorer.score(queries.view().rows(i, i + 1))[0], together[static_cast<size_t>(i)]);
    }
  }
}

TEST_P(Scoring, OfNormalizedFeaturesIgnoresLength) {
  const Tensor gallery = random_features(6, 20, 8);
  Tensor queries = random_features(7, 5, 8);
  const FeatureScorer scorer = FeatureScorer::fit(*device_, gallery, {ScoreRule::kKnnSumSq, 2, true});
  const std::vector<double> before = scorer.score(queries);
  for (int64_t i = 0; i < queries.numel(); ++i)
    queries.data<float>()[i] *= 4;  // a power of two: nothing is rounded
  EXPECT_EQ(scorer.score(queries), before);
  // D = 2 - 2 cos is at most 4 for each of two neighbours.
  for (const double score : before) EXPECT_TRUE(score > 0 && score <= 8 * (1 + 1e-6));
}

TEST_P(Scoring, IsRebuiltFromItsReference) {
  const Tensor features = random_features(8, 31, 10);
  const Tensor queries = random_features(9, 7, 10);
  for (const ScoreRule rule : kRules) {
    const ScoreOptions options{rule, 4, true};
    const FeatureScorer fitted = FeatureScorer::fit(*device_, features, options);
    const FeatureScorer rebuilt(*device_, fitted.reference(), options);
    EXPECT_EQ(rebuilt.score(queries), fitted.score(queries)) << score_rule_name(rule);
  }
}

ScoreOptions kmeans_options(int64_t clusters, bool normalize = false) {
  return {.rule = ScoreRule::kKmeans, .normalize = normalize, .clusters = clusters, .seed = 5};
}

TEST_P(Scoring, ByKmeansIsTheDistanceToTheNearestOfTheCenters) {
  const Tensor features = random_features(20, 60, 7);
  const Tensor queries = random_features(21, 9, 7);
  for (const bool normalize : {false, true}) {
    const FeatureScorer scorer = FeatureScorer::fit(*device_, features, kmeans_options(6, normalize));
    const Tensor centers = clone_to(scorer.reference(), host(), "centers");
    ASSERT_EQ(centers.shape(), (Shape{6, 7}));
    if (!normalize) {  // and the centers are those of K-means
      const kernels::KmeansResult found =
          kernels::kmeans(*device_, kernels::KmeansPoints::of(features), {.k = 6, .seed = 5});
      for (int64_t i = 0; i < centers.numel(); ++i)
        EXPECT_EQ(centers.data<float>()[i], found.centers.data<float>()[i]);
      const std::vector<double> scores = scorer.score(queries);
      for (int64_t i = 0; i < 9; ++i) {
        const double expected =
            score_by_definition(ScoreRule::kKnnSumSq, queries.data<float>() + i * 7, centers, 1);
        EXPECT_GT(expected, 0);
        EXPECT_TRUE(std::abs(scores[static_cast<size_t>(i)] - expected) <= 64 * 0x1p-53 * expected);
      }
    } else {  // centers of unit vectors lie inside the sphere, and a length does not matter
      Tensor longer = clone_to(queries, host(), "queries");
      for (int64_t i = 0; i < longer.numel(); ++i) longer.data<float>()[i] *= 4;
      EXPECT_EQ(scorer.score(longer), scorer.score(queries));
      for (const double score : scorer.score(queries)) EXPECT_TRUE(score > 0 && score <= 4);
    }
    const FeatureScorer rebuilt(*device_, scorer.reference(), kmeans_options(6, normalize));
    EXPECT_EQ(rebuilt.score(queries), scorer.score(queries));
  }
}

TEST_P(Scoring, ByAsManyCentersAsImagesIsTheNearestImage) {
  const Tensor features = random_features(22, 11, 5);
  const Tensor queries = random_features(23, 8, 5);
  const FeatureScorer nearest = FeatureScorer::fit(*device_, features, {ScoreRule::kKnnSumSq, 1, false});
  EXPECT_EQ(FeatureScorer::fit(*device_, features, kmeans_options(11)).score(queries),
            nearest.score(queries));
}

TEST_P(Scoring, ByKmeansLeavesOneOutAsARefitWhereImagesAreFew) {
  // No more images than folds: each is a fold of its own.
  const Tensor features = random_features(24, kFolds, 4);
  for (const bool normalize : {false, true}) {
    const ScoreOptions options = kmeans_options(3, normalize);
    const std::vector<double> left_out =
        FeatureScorer::fit(*device_, features, options).leave_one_out_scores(features);
    for (int64_t i = 0; i < kFolds; ++i) {
      const FeatureScorer refit = FeatureScorer::fit(*device_, without_row(features, i), options);
      EXPECT_EQ(left_out[static_cast<size_t>(i)], refit.score(features.view().rows(i, i + 1))[0]) << i;
    }
  }
}

TEST_P(Scoring, ByKmeansLeavesEveryImageOutOnce) {
  // A lone image far away is a center of its own where it takes part, and is far from all centers otherwise.
  Tensor features = random_features(25, 43, 3);
  for (const int64_t lone : {0, 17, 42}) {
    Tensor moved = clone_to(features, host(), "features");
    for (int64_t j = 0; j < 3; ++j) moved.data<float>()[lone * 3 + j] = 1000;
    const FeatureScorer scorer = FeatureScorer::fit(*device_, moved, kmeans_options(4));
    EXPECT_EQ(scorer.score(moved)[static_cast<size_t>(lone)], 0);
    const std::vector<double> left_out = scorer.leave_one_out_scores(moved);
    for (int64_t i = 0; i < 43; ++i) {
      EXPECT_TRUE(left_out[static_cast<size_t>(i)] > 0);
      EXPECT_EQ(left_out[static_cast<size_t>(i)] > 1e6, i == lone) << i;
    }
  }
}

TEST_P(Scoring, ByMahalanobisIsTheWhitenedDistance) {
  const Tensor features = random_features(30, 40, 7);
  const Tensor queries = random_features(31, 300, 7);
  ThreadPool threads(1);
  for (const bool normalize : {false, true}) {
    for (const WhiteningOptions& whitening : {WhiteningOptions{}, WhiteningOptions{3, 0.1}}) {
      const ScoreOptions options{
          .rule = ScoreRule::kMahalanobis, .normalize = normalize, .seed = 5, .whitening = whitening};
      const FeatureScorer scorer = FeatureScorer::fit(*device_, features, options);
      EXPECT_EQ(scorer.feature_width(), 7);
      const std::vector<double> scores = scorer.score(queries);
      if (!normalize) {
        EXPECT_EQ(scores, Whitening::fit(features, whitening, threads).scores(queries, threads));
      }
      EXPECT_EQ(FeatureScorer(*device_, scorer.reference(), options).score(queries), scores);
      // One image at a time is what the rest of a batch does not change.
      EXPECT_EQ(scorer.score(queries.view().rows(270, 271))[0], scores[270]);
      const bool folds = whitening.components > 0;
      EXPECT_EQ(scorer.leaves_out_folds(40), folds);
      const std::vector<double> left_out = scorer.leave_one_out_scores(features);
      const std::vector<double> inside = scorer.score(features);
      ASSERT_EQ(left_out.size(), inside.size());
      for (size_t i = 0; !folds && i < inside.size(); ++i) {
        EXPECT_GT(left_out[i], inside[i]);  // an image pulls mean and covariance towards itself
      }
    }
  }
}

TEST_P(Scoring, ByMahalanobisLeavesFoldsOutAsRefits) {
  // No more images than folds: each is a fold of its own. With components there is no closed form.
  const Tensor features = random_features(32, kFolds, 4);
  const ScoreOptions options{.rule = ScoreRule::kMahalanobis, .seed = 5, .whitening = {2, 0.0}};
  const std::vector<double> left_out =
      FeatureScorer::fit(*device_, features, options).leave_one_out_scores(features);
  for (int64_t i = 0; i < kFolds; ++i) {
    const FeatureScorer refit = FeatureScorer::fit(*device_, without_row(features, i), options);
    EXPECT_EQ(left_out[static_cast<size_t>(i)], refit.score(features.view().rows(i, i + 1))[0]) << i;
  }
  EXPECT_TRUE(FeatureScorer::can_leave_one_out(4, options));
  EXPECT_FALSE(FeatureScorer::can_leave_one_out(3, options));
}

TEST_P(Scoring, StopsWhenInterrupted) {
  const Tensor features = random_features(10, 5, 4);
  const FeatureScorer scorer = FeatureScorer::fit(*device_, features, {});
  request_interrupt();
  EXPECT_THROW(static_cast<void>(scorer.score(features)), Interrupted);
  clear_interrupt();
}

TEST_P(Scoring, RefusesBadInput) {
  const Tensor one = random_features(11, 1, 4);
  const auto fit = [&](const Tensor& features, const ScoreOptions& options) {
    return message_of([&] { static_cast<void>(FeatureScorer::fit(*device_, features, options)); });
  };
  EXPECT_EQ(fit(one, {ScoreRule::kKnnSumSq, 2, false}), "scoring: 1 training image is fewer than k=2");
  EXPECT_EQ(fit(random_features(11, 3, 4), {ScoreRule::kKnnMean, 5, false}),
            "scoring: 3 training images are fewer than k=5");
  EXPECT_EQ(fit(one, {ScoreRule::kKnnSumSq, 0, false}), "scoring: k=0, expected k >= 1");
  EXPECT_EQ(fit(random_features(1, 0, 4), {ScoreRule::kCenter, 2, false}),
            "scoring: there are no training images");
  EXPECT_EQ(fit(one, {ScoreRule::kCenter, 2, false}), "no error");
  EXPECT_EQ(fit(one, kmeans_options(0)), "scoring: clusters=0, expected clusters >= 1");
  EXPECT_EQ(fit(random_features(11, 3, 4), kmeans_options(4)),
            "scoring: 3 training images are fewer than clusters=4");
  EXPECT_EQ(message_of([&] {
              static_cast<void>(FeatureScorer(*device_, random_features(11, 3, 4), kmeans_options(4)));
            }),
            "scoring: 3 centers, expected clusters=4");
  EXPECT_EQ(
      message_of([&] {
        const Tensor four = random_features(11, 4, 4);
        static_cast<void>(FeatureScorer::fit(*device_, four, kmeans_options(4)).leave_one_out_scores(four));
      }),
      "scoring: leaving one of 4 training images out leaves too few for clusters=4");

  Tensor broken = random_features(12, 3, 4);
  broken.data<float>()[6] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(fit(broken, {}), "scoring: feature 2 of image 1 is inf");

  const FeatureScorer scorer = FeatureScorer::fit(*device_, random_features(13, 2, 4), {});
  EXPECT_EQ(message_of([&] { static_cast<void>(scorer.score(random_features(14, 2, 5))); }),
            "scoring: features have d=5 but the training features have d=4");
  EXPECT_EQ(message_of([&] { static_cast<void>(scorer.leave_one_out_scores(random_features(13, 2, 4))); }),
            "scoring: leaving one of 2 training images out leaves too few for k=2");
}

INSTANTIATE_TEST_SUITE_P(Devices, Scoring, ::testing::Values("reference", "cpu"),
                         [](const auto& parameter) { return std::string(parameter.param); });

TEST(ScoreRuleNames, AreTheirInverse) {
  for (const ScoreRule rule : kRules) EXPECT_EQ(score_rule_from_name(score_rule_name(rule)), rule);
  EXPECT_EQ(score_rule_from_name("kmeans"), ScoreRule::kKmeans);
  EXPECT_EQ(score_rule_from_name("mahalanobis"), ScoreRule::kMahalanobis);
  EXPECT_EQ(message_of([] { static_cast<void>(score_rule_from_name("mean")); }),
            "unknown score rule 'mean', expected knn-sum-sq, knn-mean, center, kmeans or mahalanobis");
}

TEST(LeaveOneOutThreshold, KeepsItsPromiseForMahalanobisScoresInASimulation) {
  const std::unique_ptr<Device> device = kernels::make_device({"reference", 1, ""});
  constexpr int64_t kDraws = 500;
  constexpr int64_t kNormals = 39;
  // More and fewer features than images; closed form and folds.
  for (const auto& [d, components] : std::vector<std::pair<int64_t, int64_t>>{{4, 0}, {60, 0}, {4, 2}}) {
    const ScoreOptions options{.rule = ScoreRule::kMahalanobis, .whitening = {components, {}}};
    int64_t alarms = 0;
    for (int64_t draw = 0; draw < kDraws; ++draw) {
      const Tensor images = random_features(static_cast<uint64_t>(5000 + draw), kNormals + 1, d);
      const Tensor training = without_row(images, kNormals);
      const FeatureScorer scorer = FeatureScorer::fit(*device, training, options);
      const double threshold = conformal_threshold(scorer.leave_one_out_scores(training), 0.1).value;
      alarms += scorer.score(images.view().rows(kNormals, kNormals + 1))[0] > threshold;
    }
    const double measured = static_cast<double>(alarms) / kDraws;
    EXPECT_LE(measured, 0.1 + 4 * std::sqrt(0.1 * 0.9 / kDraws)) << d << " " << components;
    EXPECT_GE(measured, 0.02);
    RecordProperty(text("false_alarm_rate_", d, "_", components), std::to_string(measured));
  }
}

TEST(LeaveOneOutThreshold, KeepsItsPromiseForNeighbourScores) {
  // docs/decisions/threshold.md: for the kNN rules the promise holds although the left-out images are in the
  // gallery.
  const std::unique_ptr<Device> device = kernels::make_device({"reference", 1, ""});
  constexpr int64_t kDraws = 4000;
  constexpr int64_t kNormals = 19;
  for (const ScoreRule rule : {ScoreRule::kKnnSumSq, ScoreRule::kKnnMean}) {
    int64_t alarms = 0;
    for (int64_t draw = 0; draw < kDraws; ++draw) {
      const Tensor images = random_features(static_cast<uint64_t>(1000 + draw), kNormals + 1, 2);
      const Tensor training = without_row(images, kNormals);
      const FeatureScorer scorer = FeatureScorer::fit(*device, training, {rule, 2, false});
      const double threshold = conformal_threshold(scorer.leave_one_out_scores(training), 0.1).value;
      alarms += scorer.score(images.view().rows(kNormals, kNormals + 1))[0] > threshold;
    }
    const double measured = static_cast<double>(alarms) / kDraws;
    EXPECT_LE(measured, 0.1 + 4 * std::sqrt(0.1 * 0.9 / kDraws));
    EXPECT_GE(measured, 0.02);  // conservative, not useless
    RecordProperty(std::string("false_alarm_rate_") + score_rule_name(rule), std::to_string(measured));
  }
}

TEST(LeaveOneOutThreshold, KeepsItsPromiseForKmeansCentersInASimulation) {
  // docs/decisions/threshold.md: no theorem here, since centers of fewer images calibrate those of all.
  const std::unique_ptr<Device> device = kernels::make_device({"reference", 1, ""});
  constexpr int64_t kDraws = 1000;
  constexpr int64_t kNormals = 39;
  int64_t alarms = 0;
  for (int64_t draw = 0; draw < kDraws; ++draw) {
    const Tensor images = random_features(static_cast<uint64_t>(9000 + draw), kNormals + 1, 2);
    const Tensor training = without_row(images, kNormals);
    const FeatureScorer scorer = FeatureScorer::fit(*device, training, kmeans_options(4));
    const double threshold = conformal_threshold(scorer.leave_one_out_scores(training), 0.1).value;
    alarms += scorer.score(images.view().rows(kNormals, kNormals + 1))[0] > threshold;
  }
  const double measured = static_cast<double>(alarms) / kDraws;
  std::printf("K-means: 10 %% promised, %.1f %% measured\n", 100 * measured);
  EXPECT_LE(measured, 0.1 + 4 * std::sqrt(0.1 * 0.9 / kDraws));
  EXPECT_GE(measured, 0.02);
}

}  // namespace
}  // namespace panda::anomaly
