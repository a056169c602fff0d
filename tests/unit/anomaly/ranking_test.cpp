#include "anomaly/ranking.h"

#include <gtest/gtest.h>

#include <vector>

namespace panda::anomaly {
namespace {

TEST(Ranking, NamesAThresholdThatFlagsExactlyTheBest) {
  const std::vector<double> scores = {1, 2, 3, 4, 5};
  const Ranking ranking = rank_scores(scores, std::vector<uint8_t>{0, 0, 1, 0, 1});
  // At >= 3: tp 2, fp 1, F1 = 4/5.
  EXPECT_EQ(ranking.best_f1->f1, 0.8);
  EXPECT_EQ(ranking.best_f1->threshold, 2);
  const Ranking all = rank_scores(std::vector<double>{3, 3}, std::vector<uint8_t>{0, 1});
  EXPECT_LT(all.best_f1->threshold, 3);
  EXPECT_EQ(all.roc.back().x, 1);
}

}  // namespace
}  // namespace panda::anomaly
