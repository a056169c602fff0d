#include "anomaly/threshold.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernels/tensor/error.h"
#include "kernels/tensor/random.h"

namespace panda::anomaly {
namespace {

std::vector<double> one_to(int64_t count) {
  std::vector<double> scores;
  for (int64_t i = 0; i < count; ++i) scores.push_back(static_cast<double>(i + 1));
  return scores;
}

TEST(Threshold, IsTheOrderStatisticOfTheFormula) {
  // 19 normals at 5 %: r = ceil(20 * 0.95) = 19, the largest.
  EXPECT_EQ(conformal_threshold(one_to(19), 0.05).value, 19);
  // r = ceil(100 * 0.95) = 95; ceil(1000 * 0.99) = 990; ceil(10 * 0.7) = 7 (0.7 * 10 is not 7 in binary for
  // every spelling).
  EXPECT_EQ(conformal_threshold(one_to(99), 0.05).value, 95);
  EXPECT_EQ(conformal_threshold(one_to(999), 0.01).value, 990);
  EXPECT_EQ(conformal_threshold(one_to(9), 0.3).value, 7);
  // r = ceil(51 * 0.95) = ceil(48.45) = 49.
  EXPECT_EQ(conformal_threshold(one_to(50), 0.05).value, 49);
}

TEST(Threshold, TakesEveryWholeNumberOfExceedancesExactly) {
  // rate = j / (n + 1) must allow exactly j scores above it, whatever binary makes of the quotient.
  for (const int64_t n : {2, 9, 18, 48, 99, 772}) {
    for (int64_t j = 1; j <= n; ++j) {
      const double rate = static_cast<double>(j) / static_cast<double>(n + 1);
      ASSERT_EQ(conformal_threshold(one_to(n), rate).value, static_cast<double>(n + 1 - j))
          << j << " of " << n + 1;
    }
  }
}

TEST(Threshold, DoesNotDependOnTheOrderOfTheScores) {
  const std::vector<double> sorted = one_to(60);
  std::vector<double> shuffled;
  for (const int64_t i : Random(3).permutation(60)) shuffled.push_back(sorted[static_cast<size_t>(i)]);
  EXPECT_EQ(conformal_threshold(sorted, 0.1).value, conformal_threshold(shuffled, 0.1).value);
}

TEST(Threshold, StaysWithinTheScoresForARateNextToOne) {
  EXPECT_EQ(conformal_threshold(one_to(5), std::nextafter(1.0, 0.0)).value, 1);
}

TEST(Threshold, KeepsItsPromiseForAnyDistribution) {
  // The expected rate over draws of 20 normals and a new one is exactly floor(21 rate) / 21 for continuous
  // scores, less with ties.
  constexpr int64_t kDraws = 40000;
  constexpr int64_t kNormals = 20;
  for (const double rate : {0.05, 0.1, 0.25}) {
    for (const int distribution : {0, 1, 2}) {
      Random random(17, static_cast<uint64_t>(distribution));
      const auto draw = [&] {
        if (distribution == 0) return random.next_normal();
        if (distribution == 1) return std::exp(4 * random.next_normal());
        return static_cast<double>(random.next_below(4));
      };
      int64_t alarms = 0;
      for (int64_t i = 0; i < kDraws; ++i) {
        std::vector<double> scores;
        for (int64_t j = 0; j < kNormals; ++j) scores.push_back(draw());
        alarms += draw() > conformal_threshold(scores, rate).value;
      }
      const double measured = static_cast<double>(alarms) / kDraws;
      const double exact = std::floor(21 * rate) / 21;
      const double four_sigma = 4 * std::sqrt(exact * (1 - exact) / kDraws);
      EXPECT_LE(measured, exact + four_sigma) << "rate " << rate << ", distribution " << distribution;
      if (distribution != 2) {
        EXPECT_GE(measured, exact - four_sigma) << "rate " << rate << ", distribution " << distribution;
      }
    }
  }
}

std::string message_of(const std::vector<double>& scores, double rate) {
  try {
    static_cast<void>(conformal_threshold(scores, rate));
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "no error";
}

TEST(Threshold, SaysWhichRateIsReachable) {
  EXPECT_EQ(
      message_of(one_to(9), 0.05),
      "threshold: 9 normal images cannot promise 5 % false alarms: the smallest rate they allow is 10 %, "
      "and that rate needs 19 images");
  EXPECT_EQ(message_of(one_to(18), 0.05).substr(0, 40), "threshold: 18 normal images cannot promi");
  EXPECT_EQ(message_of(one_to(19), 0.05), "no error");
  EXPECT_EQ(message_of(one_to(9), smallest_false_alarm_rate(9)), "no error");
}

TEST(Threshold, RefusesBadInput) {
  EXPECT_EQ(message_of({}, 0.05), "threshold: 0 normal scores, expected at least 1");
  EXPECT_EQ(message_of({1, std::nan("")}, 0.5), "threshold: score 1 is not a number");
  for (const double rate : {0.0, 1.0, -0.1, 1.5, std::nan(""), std::numeric_limits<double>::infinity()}) {
    EXPECT_NE(message_of(one_to(9), rate).find("expected one between 0 and 1"), std::string::npos) << rate;
  }
}

TEST(Threshold, ExplainsItself) {
  EXPECT_EQ(threshold_meaning({3.25, 0.05, 50}, "left out in turn"),
            "at most 5 % of normal images are expected above 3.25 (from 50 normal images left out in turn)");
  EXPECT_EQ(percent_text(0.0125), "1.25 %");
  EXPECT_EQ(percent_text(1.0 / 3), "33.3 %");
}

TEST(HoldOut, LeavesEnoughForFivePercentAndEnoughToTrainOn) {
  EXPECT_EQ(default_held_out(3), 0);
  EXPECT_EQ(default_held_out(24), 6);
  EXPECT_EQ(default_held_out(76), 19);
  EXPECT_EQ(default_held_out(242), 24);
  EXPECT_EQ(default_held_out(5000), 100);
}

}  // namespace
}  // namespace panda::anomaly
