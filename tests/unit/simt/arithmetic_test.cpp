// Arithmetic of CUDA C++ on the host, against the C library or the definition.
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/tensor/random.h"
#include "tests/unit/simt/support.h"

namespace panda::kernels::simt {
namespace {

/// Same bits, or both NaN.
void expect_fma(float a, float b, float c) {
  const float expected = std::fma(a, b, c);
  const float actual = fmaf(a, b, c);
  if (std::isnan(expected)) {
    EXPECT_TRUE(std::isnan(actual)) << a << " " << b << " " << c;
    return;
  }
  ASSERT_EQ(__float_as_uint(actual), __float_as_uint(expected))
      << std::hexfloat << a << " * " << b << " + " << c << " = " << expected << ", got " << actual;
}

TEST(SimtArithmetic, FmafIsRoundedOnceForRandomBits) {
  Random random(17);
  for (int i = 0; i < 300000; ++i) {
    const auto bits = [&] { return static_cast<unsigned>(random.next_u64()); };
    expect_fma(__uint_as_float(bits()), __uint_as_float(bits()), __uint_as_float(bits()));
  }
}

TEST(SimtArithmetic, FmafIsRoundedOnceWhereTheExponentsMeet) {
  Random random(18);
  const auto near = [&](int exponent) {
    const auto significand = static_cast<unsigned>(random.next_u64()) & 0x7fffffu;
    const float sign = random.next_below(2) == 0 ? 1.0f : -1.0f;
    // Few significant bits half of the time: sums then lie on midpoints.
    const unsigned kept = random.next_below(2) == 0 ? significand : significand & 0x700001u;
    return sign * std::ldexp(__uint_as_float(0x3f800000u | kept), exponent);
  };
  for (int i = 0; i < 200000; ++i) {
    const int a = static_cast<int>(random.next_below(40)) - 20;
    const int b = static_cast<int>(random.next_below(40)) - 20;
    const int c = a + b + static_cast<int>(random.next_below(60)) - 30;
    expect_fma(near(a), near(b), near(c));
    expect_fma(near(a - 70), near(b - 60), near(c - 130));       // results around the smallest normal
    expect_fma(near(a + 64), near(b + 64), near(c + 128 - 30));  // and the largest
  }
}

TEST(SimtArithmetic, FmafOnMidpointsThatTheDoubleSumRoundsTo) {
  // 1 + 2^-24 (a midpoint) plus or minus far too little for a double to hold: rounding twice would tie.
  for (const float tiny : {0x1p-60f, -0x1p-60f, 0x1p-100f, -0x1p-100f, 0x1p-149f, -0x1p-149f}) {
    expect_fma(1.0f + 0x1p-12f, 1.0f + 0x1p-12f, tiny);
    expect_fma(0x1.000002p0f, 0x1p-24f, 1.0f);
    expect_fma(0x1.fffffep0f, 0x1.000002p0f, tiny);
    expect_fma(0x1p12f + 0x1p-12f, 0x1p-12f, tiny);
    expect_fma(0x1.8p-75f, 0x1p-74f, tiny);  // subnormal midpoints
    expect_fma(0x1p-75f, 0x1p-75f, tiny);
    expect_fma(0x1.fffffep63f, 0x1.fffffep63f, 0x1p103f + tiny);
  }
  for (const float special : {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1.0f, -1.0f, 0x1p-126f, 0x1p-149f,
                              0x1.fffffep127f, -0x1.fffffep127f}) {
    for (const float other : {0.0f, -0.0f, INFINITY, 2.0f, -0x1p-149f, 0x1.fffffep127f}) {
      for (const float third : {0.0f, -0.0f, -INFINITY, 1.0f, 0x1p-126f, -0x1.fffffep127f})
        expect_fma(special, other, third);
    }
  }
}

TEST(SimtArithmetic, F32OperationsAreRoundedOnce) {
  // f64 holds twice the digits and two more: rounding its result to f32 is rounding once.
  Random random(19);
  const auto draw = [&] {
    return static_cast<float>(
        std::ldexp(random.next_uniform(-1, 1), static_cast<int>(random.next_below(40)) - 20));
  };
  for (int i = 0; i < 20000; ++i) {
    const float a = draw();
    const float b = draw();
    const double wide = a;
    EXPECT_EQ(__fadd_rn(a, b), static_cast<float>(wide + b));
    EXPECT_EQ(__fsub_rn(a, b), static_cast<float>(wide - b));
    EXPECT_EQ(__fmul_rn(a, b), static_cast<float>(wide * b));
    EXPECT_EQ(__fdiv_rn(a, b), static_cast<float>(wide / b));
    EXPECT_EQ(__frcp_rn(a), static_cast<float>(1 / wide));
    EXPECT_EQ(__fsqrt_rn(std::abs(a)), static_cast<float>(std::sqrt(std::abs(wide))));
    EXPECT_EQ(__double2float_rn(wide), a);
    EXPECT_EQ(__fmaf_rn(a, b, 0.0f), static_cast<float>(wide * b));
  }
  // 1 + 2^-11 + 2^-24 before rounding: a sum that took the product unrounded would keep the last term.
  EXPECT_EQ(__fsub_rn(__fmul_rn(1 + 0x1p-12f, 1 + 0x1p-12f), 1 + 0x1p-11f), 0.0f);
  EXPECT_EQ(__fmaf_rn(1 + 0x1p-12f, 1 + 0x1p-12f, -1 - 0x1p-11f), 0x1p-24f);
}

TEST(SimtArithmetic, F64OperationsAreRoundedOnceTiesToEven) {
  EXPECT_EQ(__dadd_rn(0x1p53, 1), 0x1p53);
  EXPECT_EQ(__dadd_rn(0x1p53, 3), 0x1p53 + 4);
  EXPECT_EQ(__dsub_rn(-0x1p53, 3), -0x1p53 - 4);
  EXPECT_EQ(__dmul_rn(1 + 0x1p-52, 1 + 0x1p-52), 1 + 0x1p-51);
  EXPECT_EQ(__dsub_rn(__dmul_rn(1 + 0x1p-27, 1 + 0x1p-27), 1 + 0x1p-26), 0.0);  // a fused one gives 2^-54
  EXPECT_EQ(__fma_rn(1 + 0x1p-27, 1 + 0x1p-27, -1 - 0x1p-26), 0x1p-54);
  EXPECT_EQ(__ddiv_rn(1, 3), 0x1.5555555555555p-2);
  EXPECT_EQ(__ddiv_rn(2, 3), 0x1.5555555555555p-1);
  EXPECT_EQ(__dsqrt_rn(2), 0x1.6a09e667f3bcdp+0);
}

TEST(SimtArithmetic, MinAndMaxPreferNumbersToNan) {
  EXPECT_EQ(max(NAN, 2.0f), 2.0f);
  EXPECT_EQ(min(2.0f, NAN), 2.0f);
  const float signalling = std::bit_cast<float>(0x7f8b9313u);
  EXPECT_EQ(max(signalling, 2.0f), 2.0f);
  EXPECT_EQ(min(2.0f, signalling), 2.0f);
  EXPECT_TRUE(std::isnan(min(signalling, NAN)));
  EXPECT_EQ(fmaxf(2.0f, signalling), 2.0f);
  EXPECT_EQ(fminf(signalling, 2.0f), 2.0f);
  EXPECT_EQ(max(-3, 2), 2);
  EXPECT_EQ(min(3u, 2u), 2u);
  EXPECT_EQ(max(int64_t{1} << 40, int64_t{5}), int64_t{1} << 40);
}

TEST(SimtArithmetic, BitOperations) {
  EXPECT_EQ(__popc(0xf0f00001u), 9);
  EXPECT_EQ(__popcll(0xf000000000000001ull), 5);
  EXPECT_EQ(__clz(1), 31);
  EXPECT_EQ(__clz(0), 32);
  EXPECT_EQ(__clz(-1), 0);
  EXPECT_EQ(__clzll(1), 63);
  EXPECT_EQ(__ffs(0), 0);
  EXPECT_EQ(__ffs(8), 4);
  EXPECT_EQ(__ffsll(1ll << 40), 41);
  EXPECT_EQ(__brev(1u), 0x80000000u);
  EXPECT_EQ(__brev(0x0000f1a2u), 0x458f0000u);
  EXPECT_EQ(__brevll(2ull), 0x4000000000000000ull);
  EXPECT_EQ(__byte_perm(0x33221100u, 0x77665544u, 0x7531u), 0x77553311u);
  EXPECT_EQ(__byte_perm(0x00008001u, 0, 0x98u), 0x01018001u);  // bit 3 is ignored
  EXPECT_EQ(__funnelshift_l(0x80000000u, 1u, 1), 3u);
  EXPECT_EQ(__funnelshift_r(2u, 1u, 1), 0x80000001u);
  EXPECT_EQ(__umulhi(0xffffffffu, 0xffffffffu), 0xfffffffeu);
  EXPECT_EQ(__mulhi(-1, 5), -1);
  EXPECT_EQ(__umul64hi(~0ull, ~0ull), ~0ull - 1);
  const unsigned stored = 0x1234u;
  EXPECT_EQ(__ldg(&stored), 0x1234u);
}

TEST(SimtArithmetic, ConversionsRoundAndClamp) {
  EXPECT_EQ(__float2int_rn(2.5f), 2);
  EXPECT_EQ(__float2int_rn(3.5f), 4);
  EXPECT_EQ(__float2int_rz(-2.7f), -2);
  EXPECT_EQ(__float2int_rd(-2.1f), -3);
  EXPECT_EQ(__float2int_ru(2.1f), 3);
  EXPECT_EQ(__float2int_rn(3e9f), std::numeric_limits<int>::max());
  EXPECT_EQ(__float2int_rn(-3e9f), std::numeric_limits<int>::min());
  EXPECT_EQ(__float2int_rn(NAN), 0);
  EXPECT_EQ(__float2uint_rn(-1.0f), 0u);
  EXPECT_EQ(__float2uint_rz(4294967040.0f), 4294967040u);
  EXPECT_EQ(__double2int_rn(-1.5), -2);
  EXPECT_EQ(__double2int_rn(std::numeric_limits<double>::quiet_NaN()), std::numeric_limits<int>::min());
  EXPECT_EQ(__double2ll_rn(1e30), std::numeric_limits<long long>::max());
  EXPECT_EQ(__float_as_int(-0.0f), std::numeric_limits<int>::min());
  EXPECT_EQ(__int_as_float(0x3fc00000), 1.5f);
  EXPECT_EQ(__int2float_rn((1 << 24) + 1), 0x1p24f);  // ties to even
  EXPECT_EQ(__int2float_rn((1 << 24) + 3), 0x1p24f + 4);
  EXPECT_EQ(__uint2float_rn(0xffffffffu), 0x1p32f);
  EXPECT_EQ(__ll2float_rn((1ll << 40) + (1ll << 16)), 0x1p40f);
  EXPECT_EQ(__ll2float_rn((1ll << 40) + (1ll << 16) + 1), 0x1p40f + 0x1p17f);
  EXPECT_EQ(__ll2double_rn((1ll << 53) + 3), 0x1p53 + 4);
  EXPECT_EQ(__double2float_rn(1 + 0x1p-24), 1.0f);
  EXPECT_EQ(__double2float_rn(1 + 0x1p-24 + 0x1p-50), 1 + 0x1p-23f);
  EXPECT_EQ(__longlong_as_double(__double_as_longlong(0.1)), 0.1);
  EXPECT_EQ(__saturatef(NAN), 0.0f);
  EXPECT_EQ(__saturatef(1.5f), 1.0f);
  EXPECT_EQ(__saturatef(0.25f), 0.25f);
}

TEST(SimtArithmetic, ApproximateFunctionsAreWithinTheGuidesErrors) {
  // CUDA C++ Programming Guide, "Mathematical Functions": ours may not be worse than what a GPU promises.
  for (float x = 0x1p-20f; x < 80; x *= 1.37f) {
    EXPECT_EQ(__frsqrt_rn(x), static_cast<float>(1 / std::sqrt(static_cast<double>(x))));
    EXPECT_NEAR(rsqrtf(x) * std::sqrt(static_cast<double>(x)), 1, 0x1p-22) << x;
    EXPECT_NEAR(__expf(-x) / std::exp(-static_cast<double>(x)), 1, 0x1p-22 * (2 + 1.173 * x)) << x;
    EXPECT_NEAR(__logf(x), std::log(static_cast<double>(x)), 0x1p-21 + 0x1p-22 * std::abs(std::log(x))) << x;
    EXPECT_NEAR(__fdividef(3, x) * static_cast<double>(x) / 3, 1, 0x1p-22) << x;
  }
  EXPECT_TRUE(std::isinf(rsqrtf(0.0f)));
  EXPECT_TRUE(std::isnan(rsqrtf(-1.0f)));
}

TEST(SimtTf32, RoundsToTenBitsTiesAwayFromZero) {
  const auto rounded = [](float x) {
    float result = 0;
    SimtDevice device;
    run_kernel(1, 1, 0, device, [&] { result = __uint_as_float(to_tf32(x)); });
    return result;
  };
  EXPECT_EQ(rounded(1.0f), 1.0f);
  EXPECT_EQ(rounded(1.0f + 0x1p-11f), 1.0f + 0x1p-10f);  // a tie
  EXPECT_EQ(rounded(-1.0f - 0x1p-11f), -1.0f - 0x1p-10f);
  EXPECT_EQ(rounded(1.0f + 0x1.ffcp-12f), 1.0f);
  EXPECT_EQ(rounded(0x1.fffffep127f), INFINITY);
  EXPECT_EQ(rounded(-INFINITY), -INFINITY);
  EXPECT_TRUE(std::isnan(rounded(NAN)));
  EXPECT_EQ(rounded(0x1p-149f), 0.0f);
}

}  // namespace
}  // namespace panda::kernels::simt
