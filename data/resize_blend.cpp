#include "data/resize_blend.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>

namespace panda::data::resize {

namespace {

constexpr int32_t kHalf = 1 << (kFractionBits - 1);

}  // namespace

void blend_portable(const uint8_t* in, int64_t stride, const int32_t* weights, int64_t taps, uint8_t* out,
                    int64_t size) {
  constexpr int64_t kBlock = 16;
  for (int64_t begin = 0; begin < size; begin += kBlock) {
    const int64_t count = std::min(kBlock, size - begin);
    int32_t sums[kBlock];
    for (int32_t& sum : sums) sum = kHalf;
    for (int64_t t = 0; t < taps; ++t) {
      const uint8_t* row = in + t * stride + begin;
      for (int64_t i = 0; i < count; ++i) sums[i] += row[i] * weights[t];
    }
    for (int64_t i = 0; i < count; ++i)
      out[begin + i] = static_cast<uint8_t>(std::min(sums[i] >> kFractionBits, 255));
  }
}

namespace {

#if defined(__x86_64__)
[[gnu::target("avx2")]] void blend_avx2(const uint8_t* in, int64_t stride, const int32_t* weights,
                                        int64_t taps, uint8_t* out, int64_t size) {
  constexpr int64_t kBlock = 16;
  int64_t begin = 0;
  for (; begin + kBlock <= size; begin += kBlock) {
    __m256i low = _mm256_set1_epi32(kHalf);
    __m256i high = low;
    const uint8_t* row = in + begin;
    for (int64_t t = 0; t < taps; ++t, row += stride) {
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row));
      const __m256i weight = _mm256_set1_epi32(weights[t]);
      low = _mm256_add_epi32(low, _mm256_mullo_epi32(_mm256_cvtepu8_epi32(bytes), weight));
      high =
          _mm256_add_epi32(high, _mm256_mullo_epi32(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8)), weight));
    }
    low = _mm256_srli_epi32(low, kFractionBits);
    high = _mm256_srli_epi32(high, kFractionBits);
    // Packing works within halves of a register; the permutation puts the quarters back in order. It
    // saturates at 255.
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xd8);
    const __m128i packed =
        _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + begin), packed);
  }
  if (begin < size) blend_portable(in + begin, stride, weights, taps, out + begin, size - begin);
}
#endif

}  // namespace

Blend best_blend() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return blend_avx2;
#endif
  return blend_portable;
}

}  // namespace panda::data::resize
