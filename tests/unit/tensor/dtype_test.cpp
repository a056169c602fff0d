#include "kernels/tensor/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/tensor/error.h"

namespace panda {
namespace {

TEST(Float16, EveryValueSurvivesARoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const Float16 half{static_cast<uint16_t>(bits)};
    const float value = to_float(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(to_float(to_float16(value)))) << bits;
    } else {
      EXPECT_EQ(to_float16(value).bits, half.bits);
    }
  }
}

TEST(Float16, RoundsToNearestEvenBetweenEveryTwoNeighbours) {
  for (uint16_t bits = 0; bits < 0x7bff; ++bits) {
    const float low = to_float(Float16{bits});
    const float high = to_float(Float16{static_cast<uint16_t>(bits + 1)});
    const float middle = 0.5f * (low + high);  // exact: one more bit than a half has
    const uint16_t even = (bits & 1) == 0 ? bits : static_cast<uint16_t>(bits + 1);
    EXPECT_EQ(to_float16(middle).bits, even);
    EXPECT_EQ(to_float16(std::nextafter(middle, 0.0f)).bits, bits);
    EXPECT_EQ(to_float16(std::nextafter(middle, high)).bits, bits + 1);
    EXPECT_EQ(to_float16(-middle).bits, even | 0x8000);
  }
}

TEST(Float16, OverflowsToInfinity) {
  EXPECT_EQ(to_float16(65519.996f).bits, 0x7bff);
  EXPECT_EQ(to_float16(65520.0f).bits, 0x7c00);
  EXPECT_EQ(to_float16(-std::numeric_limits<float>::infinity()).bits, 0xfc00);
}

TEST(BFloat16, RoundsToNearestEvenAndKeepsNan) {
  EXPECT_EQ(to_bfloat16(1.0f).bits, 0x3f80);
  EXPECT_EQ(to_bfloat16(1.00390625f).bits, 0x3f80);  // 1 + 2^-8: a tie, to even
  EXPECT_EQ(to_bfloat16(1.01171875f).bits, 0x3f82);  // 1 + 3 * 2^-8: a tie, to even
  EXPECT_EQ(to_bfloat16(3.4e38f).bits, 0x7f80);
  EXPECT_TRUE(std::isnan(to_float(to_bfloat16(std::numeric_limits<float>::quiet_NaN()))));
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const BFloat16 value{static_cast<uint16_t>(bits)};
    if (!std::isnan(to_float(value))) {
      EXPECT_EQ(to_bfloat16(to_float(value)).bits, bits);
    }
  }
}

TEST(DType, NamesAreInverses) {
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBF16, DType::kI64, DType::kI32,
                            DType::kI16, DType::kI8, DType::kU8, DType::kBool}) {
    EXPECT_EQ(dtype_from_name(dtype_name(dtype)), dtype);
  }
  EXPECT_THROW((void)dtype_from_name("float"), InvalidArgument);
}

}  // namespace
}  // namespace panda
