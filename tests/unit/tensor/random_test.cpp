#include "kernels/tensor/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace panda {
namespace {

// Known answers published with the Random123 library (kat_vectors, philox4x32, 10 rounds).
TEST(Philox, MatchesPublishedVectors) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t f = 0xffffffff;
  EXPECT_EQ(philox4x32({f, f, f, f}, {f, f}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, SameSeedSameNumbersOtherStreamOthers) {
  Random a(7, 1);
  Random b(7, 1);
  Random c(7, 2);
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const uint64_t value = a.next_u64();
    EXPECT_EQ(value, b.next_u64());
    differs |= value != c.next_u64();
  }
  EXPECT_TRUE(differs);
}

TEST(Random, NormalHasUnitMoments) {
  Random random(1);
  double sum = 0;
  double squares = 0;
  constexpr int kCount = 200000;
  for (int i = 0; i < kCount; ++i) {
    const double value = random.next_normal();
    sum += value;
    squares += value * value;
  }
  EXPECT_LT(std::abs(sum / kCount), 5 / std::sqrt(double{kCount}));
  EXPECT_LT(std::abs(squares / kCount - 1), 5 * std::sqrt(2.0 / kCount));
}

TEST(Random, PermutationHoldsEveryIndexOnce) {
  Random random(3);
  std::vector<int64_t> order = random.permutation(1000);
  EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
  std::sort(order.begin(), order.end());
  for (int64_t i = 0; i < 1000; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(RandomOrder, HoldsEveryIndexOnceForAnyCount) {
  for (const int64_t count : {1, 2, 3, 4, 5, 15, 16, 17, 64, 65, 1000}) {
    const RandomOrder order(count, 9, 2);
    std::vector<int> met(static_cast<size_t>(count), 0);
    for (int64_t i = 0; i < count; ++i) ++met.at(static_cast<size_t>(order[i]));
    EXPECT_EQ(met, std::vector<int>(static_cast<size_t>(count), 1)) << count;
  }
  const RandomOrder many((int64_t{1} << 62) + 1, 9, 2);  // 32 bits in each half
  EXPECT_NE(many[0], many[1]);
  EXPECT_LE(std::max(many[0], many[1]), int64_t{1} << 62);
}

TEST(RandomOrder, DiffersBySeedAndStreamAndSpreads) {
  const RandomOrder order(1000, 1, 1);
  const RandomOrder other_seed(1000, 2, 1);
  const RandomOrder other_stream(1000, 1, 2);
  int same_by_seed = 0;
  int same_by_stream = 0;
  int rising = 0;
  for (int64_t i = 0; i < 1000; ++i) {
    same_by_seed += order[i] == other_seed[i] ? 1 : 0;
    same_by_stream += order[i] == other_stream[i] ? 1 : 0;
    rising += i > 0 && order[i] > order[i - 1] ? 1 : 0;
  }
  // Of two drawn permutations 1 +- 1 places agree; 500 +- 9 of the steps rise.
  EXPECT_LE(same_by_seed, 8);
  EXPECT_LE(same_by_stream, 8);
  EXPECT_NEAR(rising, 500, 50);
  // Over many seeds each index comes first equally often: 200 +- 14.
  std::vector<int> first(10, 0);
  for (uint64_t seed = 0; seed < 2000; ++seed) ++first.at(static_cast<size_t>(RandomOrder(10, seed, 0)[0]));
  for (const int count : first) EXPECT_NEAR(count, 200, 75);
}

TEST(Random, BelowStaysBelow) {
  Random random(5);
  for (const int64_t bound : {int64_t{1}, int64_t{2}, int64_t{3}, int64_t{1000}, INT64_MAX}) {
    for (int i = 0; i < 100; ++i) {
      const int64_t value = random.next_below(bound);
      EXPECT_GE(value, 0);
      EXPECT_LT(value, bound);
    }
  }
}

}  // namespace
}  // namespace panda
