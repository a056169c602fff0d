// Scores of 8-bit codes with their best two, by AVX-512 VNNI; flags in kernels/cpu/CMakeLists.txt.
#include "kernels/cpu/simd/nearest_codes.h"

#include <immintrin.h>  // extern inline functions that are always inlined: no symbols

namespace panda::kernels::cpu::avx512vnni {
namespace {

#define PANDA_INLINE static inline __attribute__((always_inline))

int64_t call_count = 0;
void count_call() {
  __atomic_fetch_add(&call_count, 1, __ATOMIC_RELAXED);
}

/// Rows that are reduced together.
constexpr int kBatch = 16;

/// Lane r of the result is the sum of vector r's lanes, or the least or largest of them: halves of two
/// vectors become one vector, four times.
template <typename Two>
PANDA_INLINE __m512 reduce_each(const __m512 (&v)[kBatch], const Two& two) {
  __m512 a[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i)
    a[i] = two(_mm512_shuffle_f32x4(v[i], v[i + 8], 0x44), _mm512_shuffle_f32x4(v[i], v[i + 8], 0xee));
  __m512 b[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
    b[i] = two(_mm512_shuffle_f32x4(a[i], a[i + 4], 0x88), _mm512_shuffle_f32x4(a[i], a[i + 4], 0xdd));
  __m512 c[2];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i)
    c[i] = two(_mm512_shuffle_ps(b[i], b[i + 2], 0x44), _mm512_shuffle_ps(b[i], b[i + 2], 0xee));
  const __m512 all = two(_mm512_shuffle_ps(c[0], c[1], 0x88), _mm512_shuffle_ps(c[0], c[1], 0xdd));
  // Now in the order 0 2 1 3, 8 10 9 11, 4 6 5 7, 12 14 13 15.
  const __m512i place = _mm512_setr_epi32(0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15);
  return _mm512_permutexvar_ps(place, all);
}

PANDA_INLINE __m512 sum_of_each(const __m512 (&v)[kBatch]) {
  return reduce_each(
      v, [](__m512 a, __m512 b) __attribute__((always_inline)) { return _mm512_add_ps(a, b); });
}
PANDA_INLINE __m512 least_of_each(const __m512 (&v)[kBatch]) {
  return reduce_each(
      v, [](__m512 a, __m512 b) __attribute__((always_inline)) { return _mm512_min_ps(a, b); });
}
PANDA_INLINE __m512 largest_of_each(const __m512 (&v)[kBatch]) {
  return reduce_each(
      v, [](__m512 a, __m512 b) __attribute__((always_inline)) { return _mm512_max_ps(a, b); });
}

PANDA_INLINE __mmask16 first_lanes(int64_t count) {
  return static_cast<__mmask16>(count >= 16 ? 0xffff : (1u << count) - 1);
}

/// Calls take(i, mask) for every 16 components from i on.
template <typename Take>
PANDA_INLINE void for_components(int64_t d, const Take& take) {
  int64_t i = 0;
  for (; i + 16 <= d; i += 16) take(i, static_cast<__mmask16>(0xffff));
  if (i < d) take(i, first_lanes(d - i));
}

PANDA_INLINE __m512 norm_above(__m512 square, const NearestEncodeArgs& args) {
  const __m512 above = _mm512_fmadd_ps(square, _mm512_set1_ps(args.relative), _mm512_set1_ps(args.absolute));
  return _mm512_mul_ps(_mm512_sqrt_ps(above), _mm512_set1_ps(1 + 0x1p-21F));
}

void encode(const NearestEncodeArgs& args) {
  count_call();
  const int64_t stride = (args.d + 15) / 16 * 16;
  for (int64_t first = 0; first < args.rows; first += kBatch) {
    const int count = args.rows - first < kBatch ? static_cast<int>(args.rows - first) : kBatch;
    const __mmask16 of_rows = first_lanes(count);
    const float* x[kBatch];
    __m512 squares[kBatch];
    __m512 others[kBatch];  // the largest |y|, then the squares of what codes leave
    for (int r = 0; r < kBatch; ++r) {
      squares[r] = others[r] = _mm512_setzero_ps();
      if (r >= count) continue;
      x[r] = args.x + (args.members == nullptr ? first + r : args.members[first + r]) * args.d;
      __m512 square = _mm512_setzero_ps();
      __m512 largest = _mm512_setzero_ps();
      for_components(
          args.d, [&](int64_t i, __mmask16 mask) __attribute__((always_inline)) {
            const __m512 y = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x[r] + i),
                                           _mm512_maskz_loadu_ps(mask, args.center + i));
            square = _mm512_fmadd_ps(y, y, square);
            largest = _mm512_max_ps(_mm512_abs_ps(y), largest);
          });
      squares[r] = square;
      others[r] = largest;
    }
    const __m512 square = sum_of_each(squares);
    const __m512 norm = norm_above(square, args);
    _mm512_mask_storeu_ps(args.squares + first, of_rows, square);
    _mm512_mask_storeu_ps(args.norms + first, of_rows, norm);
    // A little more than largest / 127, so that no code is beyond 127.
    const __m512 scale = args.scale > 0
                             ? _mm512_set1_ps(args.scale)
                             : _mm512_mul_ps(largest_of_each(others), _mm512_set1_ps((1 + 0x1p-20F) / 127));
    // What is too small for a scale has codes of zeros: it is all left.
    const __mmask16 some = _mm512_cmp_ps_mask(scale, _mm512_set1_ps(0x1p-100F), _CMP_GT_OQ);
    const __m512 inverse = _mm512_maskz_div_ps(some, _mm512_set1_ps(1.0F), scale);
    _mm512_mask_storeu_ps(args.scales + first, of_rows, scale);
    alignas(64) float inverses[kBatch];
    alignas(64) float scales[kBatch];
    _mm512_store_ps(inverses, inverse);
    _mm512_store_ps(scales, scale);
    __m512 sums[kBatch];  // of codes: whole numbers that f32 holds, for d <= 2^17
    for (int r = 0; r < kBatch; ++r) {
      sums[r] = others[r] = _mm512_setzero_ps();
      if (r >= count) continue;
      const __m512 by = _mm512_set1_ps(inverses[r]);
      const __m512 unit = _mm512_set1_ps(scales[r]);
      __m512 rest = _mm512_setzero_ps();
      __m512 sum = _mm512_setzero_ps();
      int8_t* const to = args.codes + (first + r) * stride;
      for_components(
          args.d, [&](int64_t i, __mmask16 mask) __attribute__((always_inline)) {
            const __m512 y = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x[r] + i),
                                           _mm512_maskz_loadu_ps(mask, args.center + i));
            const __m512i code = _mm512_cvtps_epi32(_mm512_mul_ps(y, by));
            const __m512 value = _mm512_cvtepi32_ps(code);
            const __m512 left = _mm512_fnmadd_ps(unit, value, y);
            rest = _mm512_fmadd_ps(left, left, rest);
            sum = _mm512_add_ps(sum, value);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), _mm512_cvtepi32_epi8(code));
          });
      others[r] = rest;
      sums[r] = sum;
    }
    // What the subtraction of the center rounds is left, too.
    _mm512_mask_storeu_ps(
        args.rests + first, of_rows,
        _mm512_fmadd_ps(norm, _mm512_set1_ps(0x1.1p-23F), norm_above(sum_of_each(others), args)));
    _mm512_mask_storeu_epi32(args.sums + first, of_rows, _mm512_cvtps_epi32(sum_of_each(sums)));
  }
}

void bound(const NearestBoundArgs& args) {
  count_call();
  const __m512 longest = _mm512_set1_ps(args.longest);
  const __m512 two = _mm512_set1_ps(2);
  for (int64_t first = 0; first < args.rows; first += 16) {
    const __mmask16 mask = first_lanes(args.rows - first);
    const __m512 norm = _mm512_maskz_loadu_ps(mask, args.norms + first);
    const __m512 rest = _mm512_maskz_loadu_ps(mask, args.rests + first);
    const __m512 coded = _mm512_add_ps(norm, rest);
    // 2 (r C + (|x - m| + r) R)
    const __m512 of_codes =
        _mm512_mul_ps(two, _mm512_fmadd_ps(rest, longest, _mm512_mul_ps(coded, _mm512_set1_ps(args.rest))));
    // C^2 + 2 (|x - m| + r) (C + R)
    const __m512 size = _mm512_fmadd_ps(
        longest, longest, _mm512_mul_ps(two, _mm512_mul_ps(coded, _mm512_set1_ps(args.longest + args.rest))));
    __m512 error = _mm512_fmadd_ps(size, _mm512_set1_ps(0x1.1p-16F), of_codes);
    error = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, args.squares + first),
                            _mm512_set1_ps(args.square_error), error);
    error = _mm512_fmadd_ps(_mm512_add_ps(norm, _mm512_set1_ps(1)), _mm512_set1_ps(args.underflow), error);
    error = _mm512_mul_ps(error, _mm512_set1_ps(1 + 0x1p-19F));
    // Beside what the error asks, enough that the measured distance of the nearest is below all others'
    // bounds.
    const __m512 both = _mm512_add_ps(norm, longest);
    const __m512 reach = _mm512_fmadd_ps(
        two, error, _mm512_mul_ps(_mm512_set1_ps(args.measured + 0x1p-22F), _mm512_mul_ps(both, both)));
    _mm512_mask_storeu_ps(args.errors + first, mask, error);
    _mm512_mask_storeu_ps(args.reach + first, mask, _mm512_mul_ps(reach, _mm512_set1_ps(1 + 0x1p-19F)));
    const __m512 scale = _mm512_maskz_loadu_ps(mask, args.scales + first);
    _mm512_mask_storeu_ps(args.factors + first, mask, _mm512_mul_ps(scale, _mm512_set1_ps(2 * args.scale)));
  }
}

/// One tile: kRows x kVectors.
template <int kVectors, int kRows>
__attribute__((noinline)) void nearest_tile(const NearestCodesArgs& args, int64_t first) {
  const int64_t stride = (args.d + 15) / 16 * 16;
  const int64_t groups = (args.d + 3) / 4;
  const int8_t* codes[(kRows + 2) / 3];  // of rows 0, 3, 6, 9 and 12
#pragma GCC unroll 5
  for (int i = 0; i < (kRows + 2) / 3; ++i) codes[i] = args.codes + (first + 3 * i) * stride;
  const uint8_t* panel = args.panel;
  __m512i sum[kRows][kVectors];
#pragma GCC unroll 14
  for (int t = 0; t < kRows; ++t) {
    // The 128 that every byte of the panel has too much. Of a row that is not a number the sum is anything.
    const uint32_t more = 128 * static_cast<uint32_t>(args.sums[first + t]);
    const __m512i less = _mm512_set1_epi32(static_cast<int32_t>(0 - more));
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) sum[t][j] = less;
  }
#pragma GCC unroll 1
  for (int64_t g = 0; g < groups; ++g) {
    __m512i columns[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) columns[j] = _mm512_loadu_si512(panel + 64 * j);
#pragma GCC unroll 14
    for (int t = 0; t < kRows; ++t) {
      int32_t word;
      __builtin_memcpy(&word, codes[t / 3] + t % 3 * stride, 4);
      const __m512i row = _mm512_set1_epi32(word);
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) sum[t][j] = _mm512_dpbusd_epi32(sum[t][j], columns[j], row);
    }
#pragma GCC unroll 5
    for (int i = 0; i < (kRows + 2) / 3; ++i) codes[i] += 4;
    panel += 64 * kVectors;
  }
  // Keeps what follows out of the loop: GCC 12 takes some of it into it, and has no registers left.
#pragma GCC unroll 14
  for (int t = 0; t < kRows; ++t) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) asm("" : "+v"(sum[t][j]));
  }
  const __m512i number_bits = _mm512_set1_epi32(kCodeVectors - 1);
  __m512 norms[kVectors];
  __m512i number[kVectors];
#pragma GCC unroll 4
  for (int j = 0; j < kVectors; ++j) {
    norms[j] = _mm512_loadu_ps(args.norms + 16 * j);
    number[j] = _mm512_set1_epi32(args.first_vector + j);
  }
  const bool fresh = args.first_vector == 0;
  const __m512 none = _mm512_set1_ps(kCodeNoRow);
#pragma GCC unroll 14
  for (int t = 0; t < kRows; ++t) {
    float* const state = args.state + (first + t) * kCodeState;
    __m512 best = fresh ? none : _mm512_loadu_ps(state);
    __m512 second = fresh ? none : _mm512_loadu_ps(state + 16);
    const __m512 factor = _mm512_set1_ps(args.factors[first + t]);
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      const __m512 exact = _mm512_fnmadd_ps(factor, _mm512_cvtepi32_ps(sum[t][j]), norms[j]);
      // (score & ~number_bits) | number
      const __m512 score = _mm512_castsi512_ps(
          _mm512_ternarylogic_epi32(_mm512_castps_si512(exact), number_bits, number[j], 0xba));
      second = _mm512_min_ps(second, _mm512_max_ps(best, score));
      best = _mm512_min_ps(best, score);
    }
    _mm512_storeu_ps(state, best);
    _mm512_storeu_ps(state + 16, second);
  }
}

/// The last `rows` < kRows + 1 rows.
template <int kVectors, int kRows>
void nearest_rest(const NearestCodesArgs& args, int64_t rows, int64_t first) {
  if (rows == kRows) {
    nearest_tile<kVectors, kRows>(args, first);
  } else if constexpr (kRows > 1) {
    nearest_rest<kVectors, kRows - 1>(args, rows, first);
  }
}

template <int kVectors, int kRows>
void nearest_tiles(const NearestCodesArgs& args) {
  for (int64_t first = 0; first < args.rows; first += kRows)
    nearest_rest<kVectors, kRows>(args, args.rows - first < kRows ? args.rows - first : kRows, first);
}

void nearest(const NearestCodesArgs& args) {
  count_call();
  switch ((args.columns + 15) / 16) {
    case 1:
      return nearest_tiles<1, 14>(args);
    case 2:
      return nearest_tiles<2, 12>(args);
    case 3:
      return nearest_tiles<3, 8>(args);
    default:
      return nearest_tiles<4, 6>(args);
  }
}

void candidates(const NearestCandidatesArgs& args) {
  count_call();
  const __m512 none = _mm512_set1_ps(kCodeNoRow);
  for (int64_t first = 0; first < args.rows; first += kBatch) {
    const int count = args.rows - first < kBatch ? static_cast<int>(args.rows - first) : kBatch;
    const __mmask16 of_rows = first_lanes(count);
    const float* const state = args.state + first * kCodeState;
    __m512 best[kBatch];
    for (int r = 0; r < kBatch; ++r) best[r] = r < count ? _mm512_loadu_ps(state + r * kCodeState) : none;
    alignas(64) float limits[kBatch];
    _mm512_store_ps(limits,
                    _mm512_add_ps(least_of_each(best), _mm512_maskz_loadu_ps(of_rows, args.reach + first)));
    __m512 others[kBatch];
    for (int r = 0; r < kBatch; ++r) {
      others[r] = none;
      if (r >= count) continue;
      const __m512 limit = _mm512_set1_ps(limits[r]);
      const __m512 second = _mm512_loadu_ps(state + r * kCodeState + 16);
      const __mmask16 lanes = _mm512_cmp_ps_mask(best[r], limit, _CMP_LE_OQ);
      const __mmask16 crowded = _mm512_cmp_ps_mask(second, limit, _CMP_LE_OQ);
      others[r] = _mm512_mask_mov_ps(_mm512_mask_mov_ps(best[r], lanes, second), crowded, none);
      args.lanes[first + r] = lanes;
      args.crowded[first + r] = crowded;
    }
    _mm512_mask_storeu_ps(args.next + first, of_rows, least_of_each(others));
  }
}

void pick(const NearestPickArgs& args) {
  count_call();
  const __m512 measured = _mm512_set1_ps(args.measured);
  const __m512 underflow = _mm512_set1_ps(0x1p-110F);
  const __m512 infinite = _mm512_set1_ps(__builtin_inff());
  for (int64_t first = 0; first < args.rows; first += 16) {
    const __mmask16 mask = first_lanes(args.rows - first);
    const __m512i place = _mm512_maskz_loadu_epi32(mask, args.places + first);
    const __m512i count = _mm512_maskz_loadu_epi32(mask, args.counts + first);
    const __mmask16 any = _mm512_cmpgt_epi32_mask(count, _mm512_setzero_si512());
    const __mmask16 two = _mm512_cmpgt_epi32_mask(count, _mm512_set1_epi32(1));
    const __m512 one = _mm512_mask_i32gather_ps(infinite, any, place, args.distances, 4);
    const __m512 other = _mm512_mask_i32gather_ps(infinite, two, place, args.distances + 1, 4);
    const __mmask16 swapped = _mm512_cmp_ps_mask(other, one, _CMP_LT_OQ);
    const __m512 best = _mm512_min_ps(one, other);
    const __m512 worse = _mm512_max_ps(one, other);
    const __m512 worse_error = _mm512_fmadd_ps(worse, measured, underflow);
    const __m512 next = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, args.next + first),
                                      _mm512_maskz_loadu_ps(mask, args.squares + first));
    // With what this addition and the next comparison round.
    const __m512 next_error = _mm512_fmadd_ps(_mm512_abs_ps(next), _mm512_set1_ps(0x1p-22F),
                                              _mm512_maskz_loadu_ps(mask, args.errors + first));
    // Either may be taken; infinity less infinity is not less.
    const __mmask16 of_worse =
        _mm512_cmp_ps_mask(_mm512_sub_ps(worse, worse_error), _mm512_sub_ps(next, next_error), _CMP_LT_OQ);
    _mm512_mask_storeu_epi32(args.picked + first, mask,
                             _mm512_mask_add_epi32(place, swapped, place, _mm512_set1_epi32(1)));
    _mm512_mask_storeu_ps(args.best + first, mask, best);
    _mm512_mask_storeu_ps(args.best_errors + first, mask, _mm512_fmadd_ps(best, measured, underflow));
    _mm512_mask_storeu_ps(args.second + first, mask, _mm512_mask_mov_ps(next, of_worse, worse));
    _mm512_mask_storeu_ps(args.second_errors + first, mask,
                          _mm512_mask_mov_ps(next_error, of_worse, worse_error));
  }
}

void distances(const float* const* queries, const float* const* rows, int64_t pairs, int64_t d,
               float* results) {
  count_call();
  for (int64_t first = 0; first < pairs; first += kBatch) {
    const int count = pairs - first < kBatch ? static_cast<int>(pairs - first) : kBatch;
    __m512 sums[kBatch];
    for (int r = 0; r < kBatch; ++r) {
      sums[r] = _mm512_setzero_ps();
      if (r >= count) continue;
      const float* const q = queries[first + r];
      const float* const x = rows[first + r];
      __m512 sum = _mm512_setzero_ps();
      for_components(
          d, [&](int64_t i, __mmask16 mask) __attribute__((always_inline)) {
            const __m512 difference =
                _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, q + i), _mm512_maskz_loadu_ps(mask, x + i));
            sum = _mm512_fmadd_ps(difference, difference, sum);
          });
      sums[r] = sum;
    }
    _mm512_mask_storeu_ps(results + first, first_lanes(count), sum_of_each(sums));
  }
}

int64_t calls() {
  return __atomic_load_n(&call_count, __ATOMIC_RELAXED);
}

}  // namespace

const NearestCodeKernels kNearestCodeKernels = {.calls = calls,
                                                .encode = encode,
                                                .bound = bound,
                                                .nearest = nearest,
                                                .candidates = candidates,
                                                .pick = pick,
                                                .distances = distances};

}  // namespace panda::kernels::cpu::avx512vnni
