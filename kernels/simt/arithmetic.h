// The arithmetic of CUDA C++ that the C library lacks or has slowly. Where CUDA's function is approximate
// (__expf, rsqrtf, __fdividef) this one is rounded correctly or nearly so: a kernel's tolerance must not rest
// on it.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/simt/vector_types.h"

namespace panda::kernels::simt {

namespace emulator {
[[nodiscard]] float fma_rounded_once(float a, float b, float c);
}  // namespace emulator

/// a * b + c, rounded once, without the library call that fmaf is on the x86-64 baseline. The product is
/// exact in f64; the f64 sum rounds to the right f32 unless it lies on a midpoint of two f32 (it may have got
/// there by rounding) or below the normal numbers (whose midpoints are elsewhere): those go the slow way.
inline float fmaf(float a, float b, float c) {
  const double sum = static_cast<double>(a) * b + c;
  const auto bits = std::bit_cast<uint64_t>(sum);
  constexpr uint64_t kBelow = (uint64_t{1} << 29) - 1;  // bits of the f64 fraction that f32 drops
  constexpr uint64_t kMidpoint = uint64_t{1} << 28;
  constexpr auto kSmallestNormal = std::bit_cast<uint64_t>(0x1p-126);
  // Subnormal and not 0: 0 wraps to the largest value. A sum that rounds up to the smallest normal has a
  // midpoint of the normal numbers' grid or is rounded alike by both grids.
  const bool subnormal = (bits << 1) - 1 < (kSmallestNormal << 1) - 1;
  if ((bits & kBelow) == kMidpoint || subnormal) [[unlikely]]
    return emulator::fma_rounded_once(a, b, c);
  return static_cast<float>(sum);
}
inline double fma(double a, double b, double c) {
  return std::fma(a, b, c);
}
inline float fma(float a, float b, float c) {
  return fmaf(a, b, c);
}

inline float __fmaf_rn(float a, float b, float c) {
  return fmaf(a, b, c);
}
inline double __fma_rn(double a, double b, double c) {
  return std::fma(a, b, c);
}
// These are never contracted.
inline float __fadd_rn(float a, float b) {
  return a + b;
}
inline float __fsub_rn(float a, float b) {
  return a - b;
}
inline float __fmul_rn(float a, float b) {
  return a * b;
}
inline float __fdiv_rn(float a, float b) {
  return a / b;
}
inline float __frcp_rn(float a) {
  return 1.0f / a;
}
inline float __fsqrt_rn(float a) {
  return std::sqrt(a);
}
inline double __dadd_rn(double a, double b) {
  return a + b;
}
inline double __dsub_rn(double a, double b) {
  return a - b;
}
inline double __dmul_rn(double a, double b) {
  return a * b;
}
inline double __ddiv_rn(double a, double b) {
  return a / b;
}
inline double __dsqrt_rn(double a) {
  return std::sqrt(a);
}

inline float rsqrtf(float a) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(a)));
}
inline float __frsqrt_rn(float a) {
  return rsqrtf(a);
}
inline float __fdividef(float a, float b) {
  return a / b;
}
inline float __expf(float a) {
  return std::exp(a);
}
inline float __logf(float a) {
  return std::log(a);
}
/// Clamped to 0..1; NaN gives 0.
inline float __saturatef(float a) {
  return a > 0 ? (a < 1 ? a : 1.0f) : 0.0f;
}

// As in CUDA, of two floats the one that is not NaN. (Of a signalling NaN too, of which std::fmin makes NaN.)
#define PANDA_SIMT_FLOAT_MIN_MAX(Type)                              \
  inline Type min(Type a, Type b) {                                 \
    return std::isnan(a) ? b : std::isnan(b) ? a : std::fmin(a, b); \
  }                                                                 \
  inline Type max(Type a, Type b) {                                 \
    return std::isnan(a) ? b : std::isnan(b) ? a : std::fmax(a, b); \
  }
PANDA_SIMT_FLOAT_MIN_MAX(float)
PANDA_SIMT_FLOAT_MIN_MAX(double)
#undef PANDA_SIMT_FLOAT_MIN_MAX
inline float fminf(float a, float b) {
  return min(a, b);
}
inline float fmaxf(float a, float b) {
  return max(a, b);
}
#define PANDA_SIMT_MIN_MAX(Type)       \
  constexpr Type min(Type a, Type b) { \
    return b < a ? b : a;              \
  }                                    \
  constexpr Type max(Type a, Type b) { \
    return a < b ? b : a;              \
  }
PANDA_SIMT_MIN_MAX(int)
PANDA_SIMT_MIN_MAX(unsigned)
PANDA_SIMT_MIN_MAX(long)
PANDA_SIMT_MIN_MAX(unsigned long)
PANDA_SIMT_MIN_MAX(long long)
PANDA_SIMT_MIN_MAX(unsigned long long)
#undef PANDA_SIMT_MIN_MAX

inline int __popc(unsigned x) {
  return std::popcount(x);
}
inline int __popcll(unsigned long long x) {
  return std::popcount(x);
}
inline int __clz(int x) {
  return std::countl_zero(static_cast<unsigned>(x));
}
inline int __clzll(long long x) {
  return std::countl_zero(static_cast<unsigned long long>(x));
}
/// Position of the lowest set bit, from 1; 0 if there is none.
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
inline int __ffsll(long long x) {
  return __builtin_ffsll(x);
}
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int bit = 0; bit < 32; ++bit) reversed |= ((x >> bit) & 1u) << (31 - bit);
  return reversed;
}
inline unsigned long long __brevll(unsigned long long x) {
  return static_cast<unsigned long long>(__brev(static_cast<unsigned>(x))) << 32 |
         __brev(static_cast<unsigned>(x >> 32));
}
/// Byte i of the result is byte (selector >> 4i) & 7 of the eight bytes y:x. (PTX's prmt would copy that
/// byte's sign where bit 3 of the selector is set; the intrinsic clears it.)
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const uint64_t bytes = static_cast<uint64_t>(y) << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned from = selector >> (4 * i) & 7;
    const unsigned byte = static_cast<unsigned>(bytes >> (8 * from)) & 0xffu;
    result |= byte << (8 * i);
  }
  return result;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((static_cast<uint64_t>(high) << 32 | low) << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((static_cast<uint64_t>(high) << 32 | low) >> (shift & 31));
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32);
}
inline int __mulhi(int a, int b) {
  return static_cast<int>(static_cast<int64_t>(a) * b >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<unsigned long long>(static_cast<Wide>(a) * b >> 64);
}

inline unsigned __float_as_uint(float x) {
  return std::bit_cast<unsigned>(x);
}
inline int __float_as_int(float x) {
  return std::bit_cast<int>(x);
}
inline float __uint_as_float(unsigned x) {
  return std::bit_cast<float>(x);
}
inline float __int_as_float(int x) {
  return std::bit_cast<float>(x);
}
inline long long __double_as_longlong(double x) {
  return std::bit_cast<long long>(x);
}
inline double __longlong_as_double(long long x) {
  return std::bit_cast<double>(x);
}

namespace emulator {
/// CUDA's conversions to integers: clamped to the range, NaN gives 0 (64-bit: the smallest value).
template <typename Integer>
Integer to_integer(double rounded) {
  constexpr Integer kLowest = std::numeric_limits<Integer>::min();
  constexpr Integer kLargest = std::numeric_limits<Integer>::max();
  if (std::isnan(rounded)) return sizeof(Integer) == 8 ? static_cast<Integer>(uint64_t{1} << 63) : Integer{0};
  if (rounded <= static_cast<double>(kLowest)) return kLowest;
  if (rounded >= static_cast<double>(kLargest)) return kLargest;
  return static_cast<Integer>(rounded);
}
}  // namespace emulator

inline int __float2int_rn(float x) {
  return emulator::to_integer<int>(std::nearbyint(x));
}
inline int __float2int_rz(float x) {
  return emulator::to_integer<int>(std::trunc(x));
}
inline int __float2int_rd(float x) {
  return emulator::to_integer<int>(std::floor(x));
}
inline int __float2int_ru(float x) {
  return emulator::to_integer<int>(std::ceil(x));
}
inline unsigned __float2uint_rn(float x) {
  return emulator::to_integer<unsigned>(std::nearbyint(x));
}
inline unsigned __float2uint_rz(float x) {
  return emulator::to_integer<unsigned>(std::trunc(x));
}
inline int __double2int_rn(double x) {
  // From f64 a NaN gives the smallest value in 32 bits too (PTX ISA, cvt).
  return std::isnan(x) ? std::numeric_limits<int>::min() : emulator::to_integer<int>(std::nearbyint(x));
}
inline long long __double2ll_rn(double x) {
  return emulator::to_integer<long long>(std::nearbyint(x));
}
inline float __int2float_rn(int x) {
  return static_cast<float>(x);
}
inline float __uint2float_rn(unsigned x) {
  return static_cast<float>(x);
}
inline float __ll2float_rn(long long x) {
  return static_cast<float>(x);
}
inline double __ll2double_rn(long long x) {
  return static_cast<double>(x);
}
inline float __double2float_rn(double x) {
  return static_cast<float>(x);
}

template <typename T>
T __ldg(const T* pointer) {
  return *pointer;
}

}  // namespace panda::kernels::simt
