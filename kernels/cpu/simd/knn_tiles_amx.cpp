// A panel of 32 gallery vectors against blocks of 32 queries on AMX tiles of 8-bit codes, or of pairs of
// them; flags in kernels/cpu/CMakeLists.txt.
//
// A step of 64 components is four tile products of 16 x 16 x 64, 16 cycles each, of four tiles loaded; of
// pairs four times as many. A panel lies in memory as a right operand is wanted: 16 groups of four
// components, a row of lanes apart. Sums go through memory to vector registers, where they meet the
// thresholds.
#include "kernels/cpu/simd/knn_kernels.h"

#include <immintrin.h>  // extern inline functions that are always inlined: no symbols

namespace panda::kernels::cpu::amx {
namespace {

#include "kernels/cpu/simd/vector.inl"

#include "kernels/cpu/simd/amx_tiles.inl"
#include "kernels/cpu/simd/knn_thresholds.inl"

constexpr int64_t kRowBytes = kKnnPanel * 4;

/// products[query][lane] = initial[lane] + <query, lane> of one block; of its first 16 queries alone unless
/// kWhole.
template <bool kWhole>
PANDA_INLINE void multiply_bytes(const char* queries, const char* panel, int64_t steps,
                                 const int32_t* initial, int32_t* products) {
  _tile_loadd(0, initial, 0);  // a stride of 0: every row begins alike
  _tile_loadd(1, initial + 16, 0);
  if (kWhole) {
    _tile_loadd(2, initial, 0);
    _tile_loadd(3, initial + 16, 0);
  }
  for (int64_t step = 0; step < steps; ++step) {
    _tile_loadd(6, panel, kRowBytes);
    _tile_loadd(7, panel + 64, kRowBytes);
    _tile_loadd(4, queries, kKnnTileRowBytes);
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(1, 4, 7);
    if (kWhole) {
      _tile_loadd(5, queries + kKnnTileBytes, kKnnTileRowBytes);
      _tile_dpbsud(2, 5, 6);
      _tile_dpbsud(3, 5, 7);
    }
    panel += knn_tiled_step(KnnCode::kI8) * kRowBytes;
    queries += 2 * kKnnTileBytes;
  }
  _tile_stored(0, products, kRowBytes);
  _tile_stored(1, products + 16, kRowBytes);
  if (kWhole) {
    _tile_stored(2, products + 16 * kKnnPanel, kRowBytes);
    _tile_stored(3, products + 16 * kKnnPanel + 16, kRowBytes);
  }
}

/// The same of 16 queries and 16 lanes of pairs: 65536 high high + 256 (high low + low high) + low low,
/// modulo 2^32.
PANDA_INLINE void multiply_pairs(const char* queries, const char* panel, int64_t steps,
                                 const int32_t* initial, int32_t* products) {
  _tile_loadd(0, initial, 0);
  _tile_zero(1);
  _tile_zero(2);
  for (int64_t step = 0; step < steps; ++step) {
    _tile_loadd(6, panel, 2 * kRowBytes);
    _tile_loadd(7, panel + kRowBytes, 2 * kRowBytes);
    _tile_loadd(4, queries, kKnnTileRowBytes);
    _tile_loadd(5, queries + 2 * kKnnTileBytes, kKnnTileRowBytes);
    _tile_dpbsud(2, 4, 6);
    _tile_dpbsud(1, 4, 7);
    _tile_dpbsud(0, 5, 7);
    _tile_dpbsud(1, 5, 6);
    panel += knn_tiled_step(KnnCode::kI8Pair) * kRowBytes;
    queries += 4 * kKnnTileBytes;
  }
  alignas(64) int32_t low[256];
  alignas(64) int32_t middle[256];
  alignas(64) int32_t high[256];
  _tile_stored(2, high, 64);
  _tile_stored(0, low, 64);
  _tile_stored(1, middle, 64);
  for (int row = 0; row < 16; ++row) {
    const __m512i upper = _mm512_add_epi32(_mm512_slli_epi32(_mm512_load_si512(high + 16 * row), 8),
                                           _mm512_load_si512(middle + 16 * row));
    _mm512_store_si512(products + row * kKnnPanel,
                       _mm512_add_epi32(_mm512_slli_epi32(upper, 8), _mm512_load_si512(low + 16 * row)));
  }
}

template <KnnCode kCode>
PANDA_INLINE void multiply(int64_t count, const char* queries, const char* panel, int64_t steps,
                           const int32_t* initial, int32_t* products) {
  if (kCode == KnnCode::kI8) {
    if (count > 16) {
      multiply_bytes<true>(queries, panel, steps, initial, products);
    } else {
      multiply_bytes<false>(queries, panel, steps, initial, products);
    }
    return;
  }
  for (int64_t first = 0; first < count; first += 16) {
    const char* const tile = queries + first * kKnnTileRowBytes;
    for (int64_t lane = 0; lane < kKnnPanel; lane += 16)
      multiply_pairs(tile, panel + lane * 4, steps, initial + lane, products + first * kKnnPanel + lane);
  }
}

template <KnnCode kCode>
constexpr int64_t kStepBytes = knn_tiled_step(kCode) * 4 * kKnnTiledQueries;

/// Bit j: lane j of this query is kept, its margin not negative.
PANDA_INLINE uint32_t kept_lanes(const int32_t* sums, int32_t threshold) {
  const __m512i more = _mm512_set1_epi32(threshold);
  const __mmask16 low = _mm512_movepi32_mask(_mm512_add_epi32(_mm512_load_si512(sums), more));
  const __mmask16 high = _mm512_movepi32_mask(_mm512_add_epi32(_mm512_load_si512(sums + 16), more));
  return ~(uint32_t{low} | uint32_t{high} << 16);
}

/// Whether no lane of eight queries is kept.
PANDA_INLINE bool nothing_kept(const int32_t* sums, const int32_t* thresholds) {
  __m512i all = _mm512_set1_epi32(-1);
  for (int t = 0; t < 8; ++t) {
    const __m512i more = _mm512_set1_epi32(thresholds[t]);
    const __m512i low = _mm512_add_epi32(_mm512_load_si512(sums + t * kKnnPanel), more);
    const __m512i high = _mm512_add_epi32(_mm512_load_si512(sums + t * kKnnPanel + 16), more);
    all = _mm512_ternarylogic_epi32(all, low, high, 0x80);
  }
  return _mm512_movepi32_mask(all) == 0xffff;
}

template <KnnCode kCode>
int64_t filter(const KnnFilterArgs& a) {
  count_call();
  alignas(64) int32_t c[kKnnPanel];
  alignas(64) int32_t initial[kKnnPanel];
  alignas(64) int32_t sums[kKnnTiledQueries * kKnnPanel];
  make_thresholds<kCode>(a, c);
  for (int j = 0; j < kKnnPanel; ++j) initial[j] = -c[j];
  const int64_t steps = (a.groups + knn_tiled_step(kCode) - 1) / knn_tiled_step(kCode);
  const int64_t blocks = (a.query_count + kKnnTiledQueries - 1) / kKnnTiledQueries;
  const int64_t share = (a.groups * kRowBytes / blocks + 63) / 64 * 64;
  const auto* queries = static_cast<const char*>(a.queries);
  const auto* next = static_cast<const char*>(a.next_panel);
  int64_t hits = 0;
  for (int64_t first = 0; first < a.query_count; first += kKnnTiledQueries) {
    const int64_t count = first + kKnnTiledQueries < a.query_count ? kKnnTiledQueries : a.query_count - first;
    if (next != nullptr) {
      for (int64_t i = 0; i < share; i += 64) __builtin_prefetch(next + i, 0, 2);
      next += share;
    }
    multiply<kCode>(count, queries, static_cast<const char*>(a.panel), steps, initial, sums);
    queries += steps * kStepBytes<kCode>;
    for (int64_t t = 0; t < count; ++t) {
      if (t % 8 == 0 && t + 8 <= count && nothing_kept(sums + t * kKnnPanel, a.thresholds + first + t)) {
        t += 7;
        continue;
      }
      const int32_t threshold = a.thresholds[first + t];
      for (uint32_t lanes = kept_lanes(sums + t * kKnnPanel, threshold); lanes != 0; lanes &= lanes - 1) {
        const int j = __builtin_ctz(lanes);
        // The sum is product + bias - c, modulo 2^32.
        const uint32_t product = static_cast<uint32_t>(sums[t * kKnnPanel + j]) +
                                 static_cast<uint32_t>(c[j]) - static_cast<uint32_t>(a.bias[first + t]);
        a.hits[hits++] = {static_cast<int32_t>(first + t), j,
                          static_cast<double>(static_cast<int32_t>(product))};
      }
    }
  }
  return hits;
}

template <KnnCode kCode>
void products(const KnnProductsArgs& a) {
  count_call();
  alignas(64) static constexpr int32_t kZeros[kKnnPanel] = {};
  alignas(64) int32_t sums[kKnnTiledQueries * kKnnPanel];
  const int64_t steps = (a.groups + knn_tiled_step(kCode) - 1) / knn_tiled_step(kCode);
  const auto* queries = static_cast<const char*>(a.queries);
  for (int64_t first = 0; first < a.query_count; first += kKnnTiledQueries) {
    const int64_t count = first + kKnnTiledQueries < a.query_count ? kKnnTiledQueries : a.query_count - first;
    multiply<kCode>(count, queries, static_cast<const char*>(a.panel), steps, kZeros, sums);
    queries += steps * kStepBytes<kCode>;
    for (int64_t t = 0; t < count; ++t) {
      const __m512i bias = _mm512_set1_epi32(a.bias[first + t]);
      int32_t* const to = a.words + (first + t) * a.stride;
      for (int j = 0; j < kKnnPanel; j += 16)
        _mm512_storeu_si512(to + j, _mm512_sub_epi32(_mm512_load_si512(sums + t * kKnnPanel + j), bias));
    }
  }
}

void begin() {
  _tile_loadconfig(&kTileConfig);
}
void end() {
  _tile_release();
}

int64_t calls() {
  return __atomic_load_n(&call_count, __ATOMIC_RELAXED);
}

}  // namespace

const KnnTileKernels kKnnTileKernels = {
    .calls = calls,
    .begin = begin,
    .end = end,
    .filter = {nullptr, nullptr, filter<KnnCode::kI8>, filter<KnnCode::kI8Pair>},
    .products = {nullptr, nullptr, products<KnnCode::kI8>, products<KnnCode::kI8Pair>},
};

}  // namespace panda::kernels::cpu::amx
