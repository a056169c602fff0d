// The oracle's own truth: what it gives falls, and holds every value as often as before.
#include "kernels/sort.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <vector>

#include "kernels/device_registry.h"
#include "kernels/tensor/random.h"

namespace panda {
namespace {

template <typename T>
std::map<T, int64_t> counts_of(const std::vector<T>& values) {
  std::map<T, int64_t> counts;
  for (const T value : values) ++counts[value];
  return counts;
}

template <typename T>
void expect_sorted(std::vector<T> values) {
  const auto reference = kernels::make_device({"reference", 1, ""});
  const std::map<T, int64_t> before = counts_of(values);
  const auto n = static_cast<int64_t>(values.size());
  kernels::sort_descending(*reference, {TensorView(values.data(), DTypeOf<T>::value, {n}, host())});
  for (size_t i = 1; i < values.size(); ++i) ASSERT_GE(values[i - 1], values[i]) << i;
  EXPECT_EQ(counts_of(values), before);
}

TEST(ReferenceSort, FallsAndKeepsEveryValue) {
  Random random(1);
  std::vector<int32_t> narrow = {std::numeric_limits<int32_t>::max(), std::numeric_limits<int32_t>::min(), 0,
                                 -1};
  std::vector<int64_t> wide = {std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::min(), 0,
                               -1};
  for (int i = 0; i < 1000; ++i) {
    narrow.push_back(static_cast<int32_t>(random.next_below(700) - 350));
    wide.push_back((random.next_below(700) - 350) * (int64_t{1} << 40));
  }
  expect_sorted(narrow);
  expect_sorted(wide);
}

TEST(ReferenceSort, OrdersByHand) {
  const auto reference = kernels::make_device({"reference", 1, ""});
  std::vector<int32_t> values = {-3, 7, 0, 7, -9, 1};
  kernels::sort_descending(*reference, {TensorView(values.data(), DType::kI32, {6}, host())});
  EXPECT_EQ(values, (std::vector<int32_t>{7, 7, 1, 0, -3, -9}));
}

}  // namespace
}  // namespace panda
