#include "anomaly/score_map.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>

#include "kernels/tensor/error.h"
#include "tests/support/compare.h"
#include "tests/support/goldens.h"
#include "tests/support/messages.h"

namespace panda::anomaly {
namespace {

using test::message_of;

using test::compare_elementwise;
using test::Goldens;

/// `terms` roundings of sums of values up to `largest`.
std::vector<double> tolerance(size_t size, int64_t terms, const std::vector<double>& values) {
  return std::vector<double>(size, static_cast<double>(terms) * 0x1p-53 * test::largest_magnitude(values));
}

TEST(ScoreMap, SmoothsAsScipyDoes) {
  for (const std::string name :
       {"smooth_5", "smooth_4", "smooth_tiny_map", "smooth_one_row", "smooth_small_sigma"}) {
    const Goldens golden = test::read_goldens("maps.txt", name);
    ASSERT_EQ(golden.count("output"), 1U) << name;
    const auto height = static_cast<int64_t>(golden.at("shape")[0]);
    const auto width = static_cast<int64_t>(golden.at("shape")[1]);
    const double sigma = golden.at("sigma")[0];
    std::vector<double> map = golden.at("input");
    gaussian_smooth(map, height, width, sigma);
    // Two passes of 2 radius + 1 terms; weights carry an error of exp and of their sum.
    const auto terms = 4 * (2 * static_cast<int64_t>(4 * sigma + 0.5) + 3);
    EXPECT_TRUE(
        compare_elementwise(map, golden.at("output"), tolerance(map.size(), terms, golden.at("input"))))
        << name
        << compare_elementwise(map, golden.at("output"), tolerance(map.size(), terms, golden.at("input")))
               .reason;
  }
}

TEST(ScoreMap, InterpolatesAsPyTorchDoes) {
  for (const std::string name : {"larger_4", "larger_odd", "smaller", "from_one"}) {
    const Goldens golden = test::read_goldens("maps.txt", name);
    ASSERT_EQ(golden.count("output"), 1U) << name;
    const std::vector<double>& shape = golden.at("shape");
    std::vector<double> sum(golden.at("output").size(), 0.0);
    add_interpolated(golden.at("input"), static_cast<int64_t>(shape[0]), static_cast<int64_t>(shape[1]),
                     static_cast<int64_t>(shape[2]), static_cast<int64_t>(shape[3]), sum);
    // A position has an error of its magnitude times eps, and a weight that of a position.
    const std::vector<double> allowed = tolerance(sum.size(), 64, golden.at("input"));
    EXPECT_TRUE(compare_elementwise(sum, golden.at("output"), allowed))
        << name << compare_elementwise(sum, golden.at("output"), allowed).reason;
  }
}

TEST(ScoreMap, SmoothingKeepsTheSumAndAConstant) {
  std::vector<double> map(20 * 30, 3.5);
  gaussian_smooth(map, 20, 30, 5);
  for (const double value : map) EXPECT_NEAR(value, 3.5, 1e-14);
  std::fill(map.begin(), map.end(), 0.0);
  map[5 * 30 + 7] = 1;
  gaussian_smooth(map, 20, 30, 2);
  double sum = 0;
  for (const double value : map) sum += value;
  EXPECT_NEAR(sum, 1, 1e-14);
  EXPECT_EQ(std::max_element(map.begin(), map.end()) - map.begin(), 5 * 30 + 7);
}

TEST(ScoreMap, SigmaZeroChangesNothing) {
  std::vector<double> map = {1, 2, 3, 4};
  gaussian_smooth(map, 2, 2, 0);
  EXPECT_EQ(map, (std::vector<double>{1, 2, 3, 4}));
}

TEST(ScoreMap, AddsToWhatIsThere) {
  const std::vector<double> grid = {2, 4};
  std::vector<double> sum(2, 10.0);
  add_interpolated(grid, 1, 2, 1, 2, sum);
  EXPECT_EQ(sum, (std::vector<double>{12, 14}));
}

TEST(ScoreMap, RefusesBadInput) {
  std::vector<double> map(4);
  EXPECT_EQ(message_of([&] { gaussian_smooth(map, 2, 2, -1); }),
            "gaussian_smooth: sigma -1, expected 0 to 1000");
  EXPECT_EQ(message_of([&] { gaussian_smooth(map, 2, 3, 1); }), "gaussian_smooth: 4 values for 2 x 3");
  EXPECT_EQ(message_of([&] { add_interpolated(map, 2, 3, 2, 2, map); }),
            "add_interpolated: 4 values for 2 x 3, 4 for 2 x 2");
  EXPECT_EQ(message_of([] { static_cast<void>(map_maximum({})); }), "map_maximum: a map of 0 x 0");
}

TEST(ScoreMap, MarksWhatIsAboveTheThreshold) {
  const ScoreMap map{1, 3, {1, 2, 3}};
  EXPECT_EQ(above_threshold(map, 2), (std::vector<uint8_t>{0, 0, 255}));
  EXPECT_EQ(map_maximum(map), 3);
}

}  // namespace
}  // namespace panda::anomaly
