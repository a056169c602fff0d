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

/// Rows of a panel that a step takes, and bytes of a block's queries.
template <KnnCode kCode>
constexpr int64_t kStepRows = knn_tiled_step(kCode);
template <KnnCode kCode>
constexpr int64_t kStepBytes = kStepRows<kCode> * 4 * kKnnTiledQueries;

/// Sums of a block of 32 queries and a panel begin as these, a row per query `stride` bytes apart; a stride
/// of 0: every row begins alike.
struct Begin {
  const int32_t* words;
  int64_t stride;
};

/// sums[query][lane] = begin + <query, lane> over some steps of one block; of its first 16 queries alone
/// unless kWhole.
template <bool kWhole>
PANDA_INLINE void multiply_bytes(const char* queries, const char* panel, int64_t steps, Begin begin,
                                 int32_t* sums) {
  const auto* const second = reinterpret_cast<const char*>(begin.words) + 16 * begin.stride;
  _tile_loadd(0, begin.words, begin.stride);
  _tile_loadd(1, begin.words + 16, begin.stride);
  if (kWhole) {
    _tile_loadd(2, second, begin.stride);
    _tile_loadd(3, second + 64, begin.stride);
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
    panel += kStepRows<KnnCode::kI8> * kRowBytes;
    queries += kStepBytes<KnnCode::kI8>;
  }
  _tile_stored(0, sums, kRowBytes);
  _tile_stored(1, sums + 16, kRowBytes);
  if (kWhole) {
    _tile_stored(2, sums + 16 * kKnnPanel, kRowBytes);
    _tile_stored(3, sums + 16 * kKnnPanel + 16, kRowBytes);
  }
}

/// The same of up to 16 queries and 16 lanes of pairs: 65536 high high + 256 (high low + low high) + low low,
/// modulo 2^32. The two in the middle have sums of their own: a tile product waits 52 cycles for the last one
/// into its sum.
PANDA_INLINE void multiply_pairs(int64_t count, const char* queries, const char* panel, int64_t steps,
                                 Begin begin, int32_t* sums) {
  _tile_loadd(0, begin.words, begin.stride);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t step = 0; step < steps; ++step) {
    _tile_loadd(6, panel, 2 * kRowBytes);
    _tile_loadd(4, queries, kKnnTileRowBytes);
    _tile_dpbsud(3, 4, 6);
    _tile_loadd(7, panel + kRowBytes, 2 * kRowBytes);
    _tile_dpbsud(2, 4, 7);
    _tile_loadd(5, queries + 2 * kKnnTileBytes, kKnnTileRowBytes);
    _tile_dpbsud(1, 5, 6);
    _tile_dpbsud(0, 5, 7);
    panel += kStepRows<KnnCode::kI8Pair> * kRowBytes;
    queries += kStepBytes<KnnCode::kI8Pair>;
  }
  alignas(64) int32_t parts[4][256];
  _tile_stored(3, parts[3], 64);
  _tile_stored(2, parts[2], 64);
  _tile_stored(1, parts[1], 64);
  _tile_stored(0, parts[0], 64);
  for (int64_t row = 0; row < count; ++row) {
    const int64_t at = 16 * row;
    const __m512i high = _mm512_slli_epi32(_mm512_load_si512(parts[3] + at), 8);
    const __m512i middle =
        _mm512_add_epi32(_mm512_load_si512(parts[2] + at), _mm512_load_si512(parts[1] + at));
    const __m512i upper = _mm512_slli_epi32(_mm512_add_epi32(high, middle), 8);
    _mm512_store_si512(sums + row * kKnnPanel, _mm512_add_epi32(upper, _mm512_load_si512(parts[0] + at)));
  }
}

template <KnnCode kCode>
PANDA_INLINE void multiply(int64_t count, const char* queries, const char* panel, int64_t steps, Begin begin,
                           int32_t* sums) {
  if (kCode == KnnCode::kI8) {
    if (count > 16) {
      multiply_bytes<true>(queries, panel, steps, begin, sums);
    } else {
      multiply_bytes<false>(queries, panel, steps, begin, sums);
    }
    return;
  }
  for (int64_t first = 0; first < count; first += 16) {
    for (int64_t lane = 0; lane < kKnnPanel; lane += 16) {
      multiply_pairs(count - first < 16 ? count - first : 16, queries + first * kKnnTileRowBytes,
                     panel + lane * 4, steps, {begin.words + first * begin.stride / 4 + lane, begin.stride},
                     sums + first * kKnnPanel + lane);
    }
  }
}

/// The products of all blocks and a panel, begun with `initial`; `done` takes those of each block: its first
/// query, how many there are, and the sums. By parts of the depth of which the panel's stays in L1 while the
/// blocks pass.
template <KnnCode kCode, typename Args, typename Done>
PANDA_INLINE void multiply_blocks(const Args& a, const int32_t* initial, const Done& done) {
  constexpr int64_t kPart = 4 * 32 / kStepRows<kCode>;  // steps: 16 KiB of the panel
  const int64_t steps = (a.groups + kStepRows<kCode> - 1) / kStepRows<kCode>;
  for (int64_t step = 0; step < steps; step += kPart) {
    const bool last = step + kPart >= steps;
    for (int64_t first = 0; first < a.query_count; first += kKnnTiledQueries) {
      const int64_t left = a.query_count - first;
      const int64_t count = left < kKnnTiledQueries ? left : kKnnTiledQueries;
      int32_t* const sums = a.sums + first * kKnnPanel;
      multiply<kCode>(
          count,
          static_cast<const char*>(a.queries) + (first / kKnnTiledQueries * steps + step) * kStepBytes<kCode>,
          static_cast<const char*>(a.panel) + step * kStepRows<kCode> * kRowBytes,
          last ? steps - step : kPart, step == 0 ? Begin{initial, 0} : Begin{sums, kRowBytes}, sums);
      if (last) done(first, count, sums);
    }
  }
}

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

/// Adds the pairs of a block that are kept; returns how many.
PANDA_INLINE int64_t add_hits(const KnnFilterArgs& a, const int32_t* c, int64_t first, int64_t count,
                              const int32_t* sums, KnnHit* hits) {
  int64_t found = 0;
  for (int64_t t = 0; t < count; ++t) {
    if (t % 8 == 0 && t + 8 <= count && nothing_kept(sums + t * kKnnPanel, a.thresholds + first + t)) {
      t += 7;
      continue;
    }
    const int32_t threshold = a.thresholds[first + t];
    for (uint32_t lanes = kept_lanes(sums + t * kKnnPanel, threshold); lanes != 0; lanes &= lanes - 1) {
      const int j = __builtin_ctz(lanes);
      // The sum is product + bias - c, modulo 2^32.
      const uint32_t product = static_cast<uint32_t>(sums[t * kKnnPanel + j]) + static_cast<uint32_t>(c[j]) -
                               static_cast<uint32_t>(a.bias[first + t]);
      hits[found++] = {static_cast<int32_t>(first + t), j,
                       static_cast<double>(static_cast<int32_t>(product))};
    }
  }
  return found;
}

template <KnnCode kCode>
int64_t filter(const KnnFilterArgs& a) {
  count_call();
  alignas(64) int32_t c[kKnnPanel];
  alignas(64) int32_t initial[kKnnPanel];
  make_thresholds<kCode>(a, c);
  for (int j = 0; j < kKnnPanel; ++j) initial[j] = -c[j];
  const int64_t blocks = (a.query_count + kKnnTiledQueries - 1) / kKnnTiledQueries;
  const int64_t share = (a.groups * kRowBytes / blocks + 63) / 64 * 64;
  const auto* next = static_cast<const char*>(a.next_panel);
  int64_t hits = 0;
  multiply_blocks<kCode>(a, initial, [&](int64_t first, int64_t count, const int32_t* sums) {
    if (next != nullptr) {
      for (int64_t i = 0; i < share; i += 64) __builtin_prefetch(next + i, 0, 2);
      next += share;
    }
    hits += add_hits(a, c, first, count, sums, a.hits + hits);
  });
  return hits;
}

template <KnnCode kCode>
void products(const KnnProductsArgs& a) {
  count_call();
  alignas(64) static constexpr int32_t kZeros[kKnnPanel] = {};
  multiply_blocks<kCode>(a, kZeros, [&](int64_t first, int64_t count, const int32_t* sums) {
    for (int64_t t = 0; t < count; ++t) {
      const __m512i bias = _mm512_set1_epi32(a.bias[first + t]);
      int32_t* const to = a.words + (first + t) * a.stride;
      for (int j = 0; j < kKnnPanel; j += 16)
        _mm512_storeu_si512(to + j, _mm512_sub_epi32(_mm512_load_si512(sums + t * kKnnPanel + j), bias));
    }
  });
}

void begin(int64_t queries) {
  // Not on the stack, see kTileConfig: one for every number of rows.
  static constexpr auto kConfigs = [] {
    struct {
      TileConfig of_rows[17];
    } all;
    for (uint8_t rows = 0; rows < 16; ++rows) {
      for (int tile = 0; tile < 6; ++tile) all.of_rows[rows].rows[tile] = rows;
    }
    return all;
  }();
  _tile_loadconfig(&kConfigs.of_rows[queries < 16 ? queries : 16]);
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
