// Whitening against scikit-learn and NumPy (tests/golden/make_baseline_goldens.py), and by its definition.
#include "anomaly/whitening.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "kernels/tensor/error.h"
#include "kernels/tensor/random.h"
#include "tests/support/goldens.h"
#include "tests/support/messages.h"
#include "tests/support/random_features.h"

namespace panda::anomaly {
namespace {

using test::message_of;
using test::random_features;

struct Case {
  const char* name;
  int64_t n;
  int64_t d;
};
constexpr Case kCases[] = {{"whitening-tall", 12, 5}, {"whitening-wide", 6, 9}};

Tensor f32_of(const std::vector<double>& values, int64_t d) {
  std::vector<float> floats(values.begin(), values.end());
  return Tensor::from<float>({static_cast<int64_t>(floats.size()) / d, d}, floats.data());
}

void expect_close(const std::vector<double>& found, const std::vector<double>& expected,
                  const std::string& what) {
  ASSERT_EQ(found.size(), expected.size()) << what;
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_GT(expected[i], 0) << what;
    // Condition numbers of these covariances are below 1e4.
    EXPECT_TRUE(std::abs(found[i] - expected[i]) <= 1e4 * 100 * 0x1p-52 * expected[i])
        << what << " " << i << ": " << found[i] << ", expected " << expected[i];
  }
}

TEST(Whitening, GivesTheScoresOfScikitLearnAndNumPy) {
  ThreadPool threads(2);
  for (const Case& c : kCases) {
    const test::Goldens goldens = test::read_goldens("baseline_goldens.txt", c.name);
    ASSERT_FALSE(goldens.empty());
    const Tensor features = f32_of(goldens.at("features"), c.d);
    const Tensor queries = f32_of(goldens.at("queries"), c.d);
    ASSERT_EQ(features.shape(), (Shape{c.n, c.d}));
    const auto scores = [&](const WhiteningOptions& options) {
      return Whitening::fit(features, options, threads).scores(queries, threads);
    };
    expect_close({Whitening::fit(features, {}, threads).shrinkage()}, goldens.at("shrinkage"), "shrinkage");
    expect_close(scores({}), goldens.at("ledoit-wolf"), "ledoit-wolf");
    expect_close(scores({0, 0.3}), goldens.at("shrunk"), "shrunk");
    expect_close(scores({0, 0.0}), goldens.at("plain"), "plain");
    expect_close(scores({3, 0.0}), goldens.at("components"), "components");
    expect_close(Whitening::fit(features, {0, 0.3}, threads).leave_one_out_scores(features, threads),
                 goldens.at("left-out"), "left-out");
  }
}

TEST(Whitening, LeavingOneOutWithoutShrinkageIsAFitWithoutIt) {
  ThreadPool threads(1);
  const Tensor features = random_features(3, 20, 6);
  const Whitening whitening = Whitening::fit(features, {0, 0.0}, threads);
  ASSERT_TRUE(whitening.can_downdate(20));
  const std::vector<double> left_out = whitening.leave_one_out_scores(features, threads);
  for (int64_t i = 0; i < 20; ++i) {
    std::vector<float> others;
    for (int64_t t = 0; t < 20 * 6; ++t) {
      if (t / 6 != i) others.push_back(features.data<float>()[t]);
    }
    const Tensor rest = Tensor::from<float>({19, 6}, others.data());
    expect_close({left_out[static_cast<size_t>(i)]},
                 Whitening::fit(rest, {0, 0.0}, threads).scores(features.view().rows(i, i + 1), threads),
                 "left out");
  }
}

TEST(Whitening, MakesTheTrainingFeaturesWhite) {
  // Each kept direction has a variance of 1, so the scores' mean is (n - 1) / n times their number, for more
  // and for fewer images than features.
  ThreadPool threads(2);
  for (const auto& [n, d] :
       std::vector<std::pair<int64_t, int64_t>>{{300, 40}, {40, 300}, {41, 40}, {40, 40}}) {
    const Tensor features = random_features(4, n, d);
    for (const int64_t components : {int64_t{0}, int64_t{10}}) {
      const Whitening whitening = Whitening::fit(features, {components, 0.0}, threads);
      const int64_t expected = components > 0 ? components : std::min(n - 1, d);
      EXPECT_EQ(whitening.directions(), expected);
      double sum = 0;
      for (const double score : whitening.scores(features, threads)) sum += score;
      EXPECT_NEAR(sum / static_cast<double>(n - 1), static_cast<double>(expected), 1e-8) << n << "," << d;
    }
  }
}

TEST(Whitening, LooksOutsideTheTrainingImagesDirectionsUnlessToldNotTo) {
  // Features vary along the first axis alone; the query leaves it.
  ThreadPool threads(1);
  const float values[] = {-1, 0, 0, 0, 0, 0, 1, 0, 0};
  const float outside[] = {0, 2, 0};
  const Tensor features = Tensor::from<float>({3, 3}, values);
  const Tensor query = Tensor::from<float>({1, 3}, outside);
  EXPECT_EQ(Whitening::fit(features, {0, 0.0}, threads).scores(query, threads)[0], 0);
  // tr S / d = 1/3; a quarter of it is the variance outside.
  EXPECT_NEAR(Whitening::fit(features, {0, 0.25}, threads).scores(query, threads)[0], 4 / (0.25 / 3), 1e-12);
  EXPECT_EQ(Whitening::fit(features, {1, 0.25}, threads).scores(query, threads)[0], 0);
}

TEST(Whitening, GivesTheSameBitsForAnyThreadsAndFromItsPackedForm) {
  ThreadPool one(1);
  for (const auto& [n, d] : std::vector<std::pair<int64_t, int64_t>>{{120, 50}, {30, 70}}) {
    const Tensor features = random_features(5, n, d);
    const Tensor queries = random_features(6, 37, d);
    const Whitening expected = Whitening::fit(features, {}, one);
    for (const int count : {2, 3}) {
      ThreadPool threads(count);
      const Whitening whitening = Whitening::fit(features, {}, threads);
      ASSERT_EQ(whitening.packed().shape(), expected.packed().shape());
      for (int64_t i = 0; i < whitening.packed().numel(); ++i)
        ASSERT_EQ(whitening.packed().data<double>()[i], expected.packed().data<double>()[i]);
      EXPECT_EQ(Whitening(whitening.packed()).scores(queries, threads), expected.scores(queries, one));
    }
  }
}

TEST(Whitening, RefusesBadInput) {
  ThreadPool threads(1);
  const auto fit = [&](const Tensor& features, const WhiteningOptions& options) {
    return message_of([&] { static_cast<void>(Whitening::fit(features, options, threads)); });
  };
  EXPECT_EQ(fit(random_features(1, 1, 3), {}),
            "whitening: 1 training image has no variance, expected at least 2");
  EXPECT_EQ(fit(random_features(1, 4, 9), {4, {}}),
            "whitening: components=4, but 4 training images with 9 features vary in at most 3 directions");
  EXPECT_EQ(fit(random_features(1, 4, 9), {0, 1.5}), "whitening: shrinkage=1.5, expected 0 to 1");
  EXPECT_EQ(fit(random_features(1, 4, 9), {-1, {}}), "whitening: components=-1, expected components >= 0");
  const float same[] = {1, 2, 1, 2, 1, 2};
  EXPECT_EQ(fit(Tensor::from<float>({3, 2}, same), {}),
            "whitening: all 3 training images have the same features");

  const Whitening whitening = Whitening::fit(random_features(1, 8, 3), {}, threads);
  const auto packed = [&](int64_t row, int64_t column, double value) {
    Tensor changed = clone_to(whitening.packed(), host(), "packed");
    changed.data<double>()[row * 5 + column] = value;
    return message_of([&] { static_cast<void>(Whitening(std::move(changed))); });
  };
  EXPECT_EQ(packed(0, 0, 1), "no error");
  EXPECT_EQ(packed(2, 3, 0), "whitening: direction 1 has the variance 0, expected above 0");
  EXPECT_EQ(packed(0, 3, -1), "whitening: a variance of -1, expected 0 or more");
  EXPECT_EQ(packed(0, 4, 2), "whitening: shrinkage=2, expected 0 to 1");
  EXPECT_NE(message_of([] { static_cast<void>(Whitening(random_features(1, 4, 3))); }).find("expected f64"),
            std::string::npos);
}

}  // namespace
}  // namespace panda::anomaly
