// What the table of a small gallery takes its threshold and its candidates from.
#include <algorithm>

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
          // 5 k / 4 + 2 of the minima of groups, each of which may hide a few.
          const int64_t most = std::min(count, 2 * k + 4);
          EXPECT_LE(found, sorted[static_cast<size_t>(most - 1)])
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

}  // namespace
}  // namespace panda::kernels::cpu
