// The comparators must refuse what is wrong: each of these has been accepted by a comparator somewhere in the
// field.
#include "tests/support/compare.h"

#include <gtest/gtest.h>

namespace panda::test {
namespace {

TEST(CompareElementwise, AcceptsWithinAndRefusesBeyondTheTolerance) {
  EXPECT_TRUE(compare_elementwise({1.0, 2.0}, {1.0, 2.1}, {0.0, 0.11}));
  EXPECT_FALSE(compare_elementwise({1.0, 2.0}, {1.0, 2.1}, {0.0, 0.09}));
  EXPECT_TRUE(compare_elementwise({}, {}, {}));
}

TEST(CompareElementwise, RefusesNanOnEitherSide) {
  EXPECT_FALSE(compare_elementwise({NAN}, {1.0}, {1e9}));
  EXPECT_FALSE(compare_elementwise({1.0}, {NAN}, {1e9}));
  EXPECT_FALSE(compare_elementwise({1.0}, {1.0}, {NAN}));
  EXPECT_TRUE(compare_elementwise({NAN, 1}, {NAN, 1}, {0, 0}));
}

TEST(CompareElementwise, RefusesWrongSignsOfLargeNegatives) {
  EXPECT_FALSE(compare_elementwise({-20}, {-10}, {1}));
  EXPECT_FALSE(compare_elementwise({20}, {10}, {1}));
}

TEST(CompareElementwise, InfinityMustBeTheSame) {
  EXPECT_TRUE(compare_elementwise({INFINITY}, {INFINITY}, {0}));
  EXPECT_FALSE(compare_elementwise({-INFINITY}, {INFINITY}, {INFINITY}));
  EXPECT_FALSE(compare_elementwise({1.0}, {INFINITY}, {INFINITY}));
  EXPECT_FALSE(compare_elementwise({INFINITY}, {1.0}, {1e300}));
}

TEST(CompareElementwise, RefusesOtherSizesAndVacuousExpectations) {
  EXPECT_FALSE(compare_elementwise({1.0}, {1.0, 2.0}, {0.0, 0.0}));
  EXPECT_FALSE(compare_elementwise({1.0}, {1.0}, {}));
  EXPECT_FALSE(compare_elementwise({0.0, 0.0}, {0.0, 0.0}, {1.0, 1.0}));
  EXPECT_TRUE(compare_elementwise({0.0}, {0.0}, {0.0}, Zeros::kExpected));
}

TEST(RelativeError, IsInfiniteWhereItMeansNothing) {
  EXPECT_DOUBLE_EQ(relative_error({3, 4.5}, {3, 4}), 0.1);
  EXPECT_EQ(relative_error({NAN}, {1}), INFINITY);
  EXPECT_EQ(relative_error({1}, {NAN}), INFINITY);
  EXPECT_EQ(relative_error({0}, {0}), INFINITY);
  EXPECT_EQ(relative_error({1}, {1, 2}), INFINITY);
}

}  // namespace
}  // namespace panda::test
