// What the table of a small gallery takes its threshold and its candidates from.
#include <algorithm>
#include <utility>

#include "kernels/cpu/knn_candidates.h"
#include "kernels/cpu/simd/knn_kernels.h"
#include "kernels/tensor/random.h"
#include "tests/unit/cpu/support.h"

namespace panda::kernels::cpu {
namespace {

std::vector<double> values_of(int64_t count, bool ties, uint64_t seed) {
  Random random(seed);
  std::vector<double> values;
  for (int64_t i = 0; i < count; ++i)
    values.push_back(ties ? static_cast<double>(random.next_below(7)) - 3 : random.next_normal());
  return values;
}

TEST(CpuKnnBounds, AboutKthIsAtLeastTheKthAndNotMuchMore) {
  for (const Isa isa : supported_isas()) {
    const KnnKernels& kernels = knn_kernels(isa);
    for (const int64_t count : {1, 15, 16, 100, 127, 128, 129, 1000, 1999}) {
      for (const bool ties : {false, true}) {
        const std::vector<double> values = values_of(count, ties, static_cast<uint64_t>(count));
        std::vector<double> sorted = values;
        std::sort(sorted.begin(), sorted.end());
        for (const int64_t k : {int64_t{1}, int64_t{2}, int64_t{10}, int64_t{16}, int64_t{100}, count}) {
          if (k > count) continue;
          const double found = kernels.about_kth(values.data(), count, k);
          EXPECT_GE(found, sorted[static_cast<size_t>(k - 1)])
              << isa_name(isa) << " " << k << " of " << count;
          // Of few the minima of groups are counted, each of which may hide some. It need not be one of the
          // values, and of equal ones all are counted.
          const bool grouped = count >= 128 && k <= 128;
          const int64_t most = grouped ? 2 * k + 4 : k + k / 32 + 1;
          EXPECT_TRUE(most >= count || found < sorted[static_cast<size_t>(most)] ||
                      found == sorted[static_cast<size_t>(k - 1)])
              << isa_name(isa) << " " << k << " of " << count;
        }
      }
    }
  }
}

TEST(CpuKnnBounds, PlacesAtMostAreThoseOfAPlainLoop) {
  for (const Isa isa : supported_isas()) {
    for (const int64_t count : {1, 7, 16, 33, 500}) {
      std::vector<double> values = values_of(count, true, 5);
      values[static_cast<size_t>(count / 2)] = NAN;  // of a lane without a vector
      for (const double limit : {-4.0, -1.0, 0.0, 3.0, double{INFINITY}}) {
        std::vector<int32_t> expected;
        for (size_t i = 0; i < values.size(); ++i) {
          if (values[i] <= limit) expected.push_back(static_cast<int32_t>(i));
        }
        std::vector<int32_t> places(values.size());
        const int64_t found = knn_kernels(isa).places_at_most(values.data(), count, limit, places.data());
        places.resize(static_cast<size_t>(found));
        EXPECT_EQ(places, expected) << isa_name(isa) << " " << count << " values, at most " << limit;
      }
    }
  }
}

TEST(CpuKnnBounds, RanksCountWhatIsLess) {
  for (const Isa isa : supported_isas()) {
    for (const int64_t count :
         {int64_t{1}, int64_t{2}, int64_t{31}, int64_t{32}, int64_t{33}, int64_t{105}, kKnnMostRanked}) {
      for (const bool ties : {false, true}) {
        std::vector<double> values = values_of(count, ties, 3);
        values[static_cast<size_t>(count / 3)] = INFINITY;
        std::vector<int32_t> ranks(values.size(), -1);
        knn_kernels(isa).ranks(values.data(), count, ranks.data());
        for (size_t i = 0; i < values.size(); ++i) {
          const auto less =
              std::count_if(values.begin(), values.end(), [&](double one) { return one < values[i]; });
          EXPECT_EQ(ranks[i], less) << isa_name(isa) << " value " << i << " of " << count;
        }
      }
    }
  }
}

/// The k first of measured candidates: few and many, ties in the order of rows, fewer than k.
TEST(CpuKnnBounds, FinishedCandidatesAreTheFirstInOrder) {
  for (const Isa isa : supported_isas()) {
    for (const int64_t count : {int64_t{1}, int64_t{90}, int64_t{150}, kKnnMostRanked, kKnnMostRanked + 1}) {
      for (const int64_t k : {1, 16, 17, 100, 130}) {
        if (count > KnnCandidates::capacity(k)) continue;
        for (const bool ties : {false, true}) {
          const std::vector<double> values = values_of(count, ties, 11);
          std::vector<KnnCandidate> items(static_cast<size_t>(KnnCandidates::capacity(k)));
          std::vector<double> bounds(static_cast<size_t>(KnnCandidates::bound_count(k)));
          std::vector<double> scratch(items.size());
          KnnCandidates candidates(items.data(), bounds.data(), k, 0);
          std::vector<std::pair<double, int64_t>> expected;
          for (int64_t i = 0; i < count; ++i) {
            const int64_t row = (i * 7919 + 13) % 10007;
            const double value = values[static_cast<size_t>(i)];
            candidates.put({value, value, ~row});
            expected.emplace_back(value, row);
          }
          candidates.finish(knn_kernels(isa), scratch.data());
          std::sort(expected.begin(), expected.end());
          expected.resize(static_cast<size_t>(std::min(k, count)));
          ASSERT_EQ(candidates.size(), std::ssize(expected));
          for (int64_t i = 0; i < candidates.size(); ++i) {
            const KnnCandidate& one = candidates.items()[i];
            EXPECT_EQ(std::pair(one.low, one.row()), expected[static_cast<size_t>(i)])
                << isa_name(isa) << " place " << i << " of " << count << " k " << k << (ties ? " ties" : "");
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace panda::kernels::cpu
