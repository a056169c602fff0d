#include "tools/axis_ticks.h"

#include <gtest/gtest.h>

#include <cmath>

namespace panda::tools {
namespace {

TEST(AxisTicks, StepIsRoundAndCutsTheRangeIntoFewParts) {
  EXPECT_DOUBLE_EQ(tick_step(1, 5), 0.2);
  EXPECT_DOUBLE_EQ(tick_step(1, 6), 0.2);
  EXPECT_DOUBLE_EQ(tick_step(100, 5), 20);
  EXPECT_DOUBLE_EQ(tick_step(101, 5), 50);
  for (double range = 1e-7; range < 1e9; range *= 1.37) {
    const double step = tick_step(range, 6);
    EXPECT_LE(range / step, 6 * (1 + 1e-12)) << range;
    EXPECT_GE(range / step, 2) << range;  // 5 / 2, less at most a rounding
    const double digit = step / std::pow(10, std::floor(std::log10(step) + 1e-9));
    EXPECT_TRUE(std::abs(digit - 1) < 1e-9 || std::abs(digit - 2) < 1e-9 || std::abs(digit - 5) < 1e-9)
        << step;
  }
}

TEST(AxisTicks, AreTheMultiplesInsideTheRange) {
  EXPECT_EQ(ticks(-0.5, 1.1, 0.5), (std::vector<double>{-0.5, 0, 0.5, 1}));
  EXPECT_FALSE(std::signbit(ticks(-0.1, 1, 0.5).front()));
  EXPECT_TRUE(ticks(0.1, 0.2, 0.5).empty());
}

TEST(AxisTicks, TextHasTheDigitsOfTheStep) {
  EXPECT_EQ(tick_text(0.25, 0.05), "0.25");
  EXPECT_EQ(tick_text(40, 20), "40");
  EXPECT_EQ(tick_text(0, 1e-7), "0");
  EXPECT_EQ(tick_text(2.5e-6, 5e-7), "2.5e-6");
  EXPECT_EQ(tick_text(3e6, 1e6), "3e6");
}

}  // namespace
}  // namespace panda::tools
