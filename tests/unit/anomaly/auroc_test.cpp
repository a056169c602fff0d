#include "anomaly/auroc.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "kernels/tensor/error.h"
#include "kernels/tensor/random.h"

namespace panda::anomaly {
namespace {

struct Sample {
  std::vector<double> scores;
  std::vector<uint8_t> labels;
};

/// Scores on `levels` values (0: all distinct), labels by a fair coin with both classes present.
Sample random_sample(uint64_t seed, int64_t count, int64_t levels) {
  Random random(seed);
  Sample sample;
  for (int64_t i = 0; i < count; ++i) {
    sample.scores.push_back(levels == 0 ? random.next_uniform()
                                        : static_cast<double>(random.next_below(levels)));
    sample.labels.push_back(static_cast<uint8_t>(random.next_below(2)));
  }
  sample.labels[0] = 0;
  sample.labels[1] = 1;
  return sample;
}

int64_t twice_wins_by_definition(const Sample& sample) {
  int64_t twice_wins = 0;
  for (size_t a = 0; a < sample.scores.size(); ++a) {
    for (size_t n = 0; n < sample.scores.size(); ++n) {
      if (sample.labels[a] != 1 || sample.labels[n] != 0) continue;
      twice_wins += 2 * (sample.scores[a] > sample.scores[n]) + (sample.scores[a] == sample.scores[n]);
    }
  }
  return twice_wins;
}

TEST(Auroc, IsOneWhenEveryAnomalyScoresHigher) {
  EXPECT_EQ(auroc(std::vector<double>{0.1, 0.2, 0.3, 0.4}, std::vector<uint8_t>{0, 0, 1, 1}), 1.0);
}

TEST(Auroc, IsZeroWhenEveryAnomalyScoresLower) {
  EXPECT_EQ(auroc(std::vector<double>{4, 3, 2, 1}, std::vector<uint8_t>{0, 0, 1, 1}), 0.0);
}

TEST(Auroc, CountsATieAsHalf) {
  EXPECT_EQ(auroc(std::vector<double>{5, 5, 5}, std::vector<uint8_t>{0, 1, 0}), 0.5);
  // Pairs (anomaly, normal): 2>1, 2=2, 3>1, 3>2: 3.5 of 4.
  EXPECT_EQ(auroc(std::vector<double>{1, 2, 2, 3}, std::vector<uint8_t>{0, 0, 1, 1}), 0.875);
}

TEST(Auroc, TreatsZerosOfBothSignsAsEqual) {
  EXPECT_EQ(auroc(std::vector<double>{-0.0, 0.0}, std::vector<uint8_t>{0, 1}), 0.5);
}

TEST(Auroc, OrdersInfinities) {
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(auroc(std::vector<double>{-infinity, infinity}, std::vector<uint8_t>{0, 1}), 1.0);
  EXPECT_EQ(auroc(std::vector<double>{infinity, infinity}, std::vector<uint8_t>{0, 1}), 0.5);
}

TEST(Auroc, AgreesWithTheDefinitionForAllSizesAndTies) {
  for (const int64_t count : {2, 3, 7, 16, 61, 150}) {
    for (const int64_t levels : {0, 1, 2, 5, 40}) {
      const Sample sample = random_sample(static_cast<uint64_t>(count * 100 + levels), count, levels);
      EXPECT_EQ(count_pairs(sample.scores, sample.labels).twice_wins, twice_wins_by_definition(sample))
          << count << " scores on " << levels << " levels";
    }
  }
}

TEST(Auroc, DoesNotDependOnTheOrder) {
  const Sample sample = random_sample(11, 333, 9);
  Sample shuffled;
  for (const int64_t i : Random(5).permutation(333)) {
    shuffled.scores.push_back(sample.scores[static_cast<size_t>(i)]);
    shuffled.labels.push_back(sample.labels[static_cast<size_t>(i)]);
  }
  EXPECT_EQ(auroc(sample.scores, sample.labels), auroc(shuffled.scores, shuffled.labels));
}

TEST(Auroc, OfReversedScoresIsTheComplement) {
  const Sample sample = random_sample(12, 256, 20);
  std::vector<double> reversed;
  for (const double score : sample.scores) reversed.push_back(-score);
  const PairCounts forward = count_pairs(sample.scores, sample.labels);
  const PairCounts backward = count_pairs(reversed, sample.labels);
  EXPECT_EQ(forward.twice_wins + backward.twice_wins, 2 * forward.anomalous * forward.normal);
  EXPECT_NE(forward.twice_wins, backward.twice_wins);
}

TEST(Auroc, DoesNotChangeUnderARisingFunction) {
  const Sample sample = random_sample(13, 200, 0);
  std::vector<double> squared;
  for (const double score : sample.scores) squared.push_back(score * score);
  EXPECT_EQ(auroc(sample.scores, sample.labels), auroc(squared, sample.labels));
}

TEST(Auroc, IsNothingWhenAClassIsMissing) {
  EXPECT_EQ(auroc(std::vector<double>{1, 2}, std::vector<uint8_t>{0, 0}), std::nullopt);
  EXPECT_EQ(auroc(std::vector<double>{1, 2}, std::vector<uint8_t>{1, 1}), std::nullopt);
  EXPECT_EQ(auroc(std::vector<double>{}, std::vector<uint8_t>{}), std::nullopt);
}

std::string message_of(const std::vector<double>& scores, const std::vector<uint8_t>& labels) {
  try {
    static_cast<void>(auroc(scores, labels));
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "no error";
}

TEST(Auroc, RefusesBadInput) {
  EXPECT_EQ(message_of({1, std::nan(""), 2}, {0, 1, 0}), "auroc: score 1 is not a number");
  EXPECT_EQ(message_of({1, 2}, {0}), "auroc: 2 scores but 1 labels");
  EXPECT_EQ(message_of({1, 2}, {0, 2}), "auroc: label 1 is 2, expected 0 (normal) or 1 (anomalous)");
}

TEST(Auroc, AgreesWithScikitLearn) {
  std::ifstream golden(std::string(PANDA_SOURCE_DIR) + "/tests/golden/auroc.txt");
  std::string word;
  std::string name;
  std::string expected;
  int cases = 0;
  for (size_t count = 0; golden >> word >> name >> count >> expected; ++cases) {
    ASSERT_EQ(word, "case");
    Sample sample;
    for (size_t i = 0; i < count; ++i) {
      int label = 0;
      std::string score;
      ASSERT_TRUE(golden >> label >> score) << name;
      sample.labels.push_back(static_cast<uint8_t>(label));
      sample.scores.push_back(std::strtod(score.c_str(), nullptr));
    }
    const std::optional<double> value = auroc(sample.scores, sample.labels);
    ASSERT_TRUE(value.has_value()) << name;
    // scikit-learn sums a trapezoid per distinct score: each term and partial sum is rounded once.
    EXPECT_TRUE(std::abs(*value - std::strtod(expected.c_str(), nullptr)) <=
                static_cast<double>(count) * 0x1p-53)
        << name << ": " << *value << " against " << expected;
  }
  EXPECT_EQ(cases, 9);
}

}  // namespace
}  // namespace panda::anomaly
