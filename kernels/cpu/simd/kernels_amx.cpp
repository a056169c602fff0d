// Inner loops on AMX tiles; flags in kernels/cpu/CMakeLists.txt.
#include "kernels/cpu/simd/amx_kernels.h"

#include <immintrin.h>  // extern inline functions that are always inlined: no symbols

namespace panda::kernels::cpu::amx {
namespace {

int64_t call_count = 0;

#include "kernels/cpu/simd/amx_tiles.inl"

/// Words [row][column] to [column][row], in place.
void transpose_tile(char* tile) {
  auto* const words = reinterpret_cast<int32_t*>(tile);
  for (int row = 1; row < 16; ++row) {
    for (int column = 0; column < row; ++column) {
      const int32_t word = words[16 * row + column];
      words[16 * row + column] = words[16 * column + row];
      words[16 * column + row] = word;
    }
  }
}

/// f32 to bf16 (to nearest, ties to even; what is denormal becomes 0), and back.
inline __attribute__((always_inline)) __m256i to_bf16(__m512 x) {
  return (__m256i)_mm512_cvtneps_pbh(x);
}
inline __attribute__((always_inline)) __m512 from_bf16(__m256i x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

constexpr int64_t kLow = 2 * kAmxTileBytes;

/// Bytes of a step of a group, its high half alone or with the low one.
inline __attribute__((always_inline)) int64_t step_bytes(bool coarse) {
  return coarse ? kLow : kAmxStepBytes;
}

template <bool kCoarse>
void split_row(const AmxSplitArgs& args, int64_t row) {
  const __m512 factor = _mm512_set1_ps(args.factor);
  char* to = args.group + row / kAmxTile * kAmxTileBytes + row % kAmxTile * 64;
  const float* x = args.x + (args.members == nullptr ? row : args.members[row]) * args.d;
  __m512 squares = _mm512_setzero_ps();
  __m512 rests = _mm512_setzero_ps();
  for (int64_t first = 0; first < args.d; first += kAmxDepth) {
    for (int half = 0; half < 2; ++half) {
      const int64_t at = first + 16 * half;
      const int64_t left = args.d - at;
      const auto mask = static_cast<__mmask16>(left >= 16 ? 0xffff : left > 0 ? (1 << left) - 1 : 0);
      const __m512 centered =
          _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x + at), _mm512_maskz_loadu_ps(mask, args.center + at));
      squares = _mm512_fmadd_ps(centered, centered, squares);
      const __m512 y = _mm512_mul_ps(centered, factor);
      const __m256i high = to_bf16(y);
      const __m512 rest = _mm512_sub_ps(y, from_bf16(high));
      rests = _mm512_fmadd_ps(rest, rest, rests);
      _mm256_store_si256(reinterpret_cast<__m256i*>(to + 32 * half), high);
      if (!kCoarse) _mm256_store_si256(reinterpret_cast<__m256i*>(to + kLow + 32 * half), to_bf16(rest));
    }
    to += step_bytes(kCoarse);
  }
  args.squares[row] = _mm512_reduce_add_ps(squares);
  args.rests[row] = _mm512_reduce_add_ps(rests);
}

void split_rows(const AmxSplitArgs& args) {
  __atomic_fetch_add(&call_count, 1, __ATOMIC_RELAXED);
  const int64_t steps = (args.d + kAmxDepth - 1) / kAmxDepth;
  for (int64_t row = 0; row < args.rows; ++row)
    args.coarse ? split_row<true>(args, row) : split_row<false>(args, row);
  for (int64_t row = args.rows; row < kAmxGroup; ++row) {
    args.squares[row] = args.rests[row] = 0;
    char* const to = args.group + row / kAmxTile * kAmxTileBytes + row % kAmxTile * 64;
    for (int64_t step = 0; step < steps; ++step) {
      char* const high = to + step * step_bytes(args.coarse);
      _mm512_store_si512(high, _mm512_setzero_si512());
      if (!args.coarse) _mm512_store_si512(high + kLow, _mm512_setzero_si512());
    }
  }
  if (!args.columns) return;
  const int64_t tiles = steps * step_bytes(args.coarse) / kAmxTileBytes;
  for (int64_t tile = 0; tile < tiles; ++tile) transpose_tile(args.group + tile * kAmxTileBytes);
}

// Tiles' numbers are part of an instruction: 0..3 are sums, 4 and 5 queries, 6 and 7 columns.
inline __attribute__((always_inline)) void load_queries(const char* tiles) {
  _tile_loadd(4, tiles, 64);
  _tile_loadd(5, tiles + kAmxTileBytes, 64);
}
inline __attribute__((always_inline)) void load_columns(const char* tiles) {
  _tile_loadd(6, tiles, 64);
  _tile_loadd(7, tiles + kAmxTileBytes, 64);
}
inline __attribute__((always_inline)) void add_products() {
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  _tile_dpbf16ps(2, 5, 6);
  _tile_dpbf16ps(3, 5, 7);
}

constexpr int64_t kPanelScores = kAmxGroup * kAmxGroup;

/// The scores of a group of queries and a panel that wait to be taken in.
struct Waiting {
  const float* scores;  ///< four tiles of 16 x 16, without the norms
  const float* norms;   ///< 32
  int32_t first_column;
  float* state;
  bool fresh;  ///< the first of the group: there is no state yet
};

/// Takes in the scores of rows [row, end).
inline __attribute__((always_inline)) void take_in(const Waiting& waiting, int64_t row, int64_t end) {
  if (row == end) return;
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i columns[2] = {_mm512_add_epi32(lane, _mm512_set1_epi32(waiting.first_column)),
                              _mm512_add_epi32(lane, _mm512_set1_epi32(waiting.first_column + 16))};
  const __m512 infinite = _mm512_set1_ps(__builtin_inff());
  const __m512 norms[2] = {_mm512_loadu_ps(waiting.norms), _mm512_loadu_ps(waiting.norms + 16)};
  for (; row < end; ++row) {
    float* const of_row = waiting.state + row * kAmxState;
    __m512 best = waiting.fresh ? infinite : _mm512_load_ps(of_row);
    __m512 second = waiting.fresh ? infinite : _mm512_load_ps(of_row + 16);
    __m512i index = waiting.fresh ? _mm512_setzero_si512() : _mm512_load_si512(of_row + 32);
    for (int half = 0; half < 2; ++half) {
      const __m512 value = _mm512_add_ps(
          _mm512_load_ps(waiting.scores + row / 16 * 512 + half * 256 + row % 16 * 16), norms[half]);
      const __mmask16 nearer = _mm512_cmp_ps_mask(value, best, _CMP_LT_OQ);
      second = _mm512_min_ps(second, _mm512_max_ps(value, best));
      best = _mm512_min_ps(value, best);
      index = _mm512_mask_mov_epi32(index, nearer, columns[half]);
    }
    _mm512_store_ps(of_row, best);
    _mm512_store_ps(of_row + 16, second);
    _mm512_store_si512(of_row + 32, index);
  }
}

/// Scores of a group of queries and a panel. Between the tiles' products, which run beside, rows of those
/// that wait are taken in: one after the other, the two would take twice as long.
template <bool kCoarse>
inline __attribute__((always_inline)) void score(const char* queries, const char* panel, int64_t steps,
                                                 float* scores, const Waiting& waiting) {
  const int64_t products = (kCoarse ? 1 : 3) * steps;
  const int64_t share = (kAmxGroup + products - 1) / products;
  int64_t row = waiting.scores == nullptr ? kAmxGroup : 0;
  const auto take_some = [&] {
    const int64_t end = row + share < kAmxGroup ? row + share : kAmxGroup;
    take_in(waiting, row, end);
    row = end;
  };
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t step = 0; step < steps; ++step) {
    load_queries(queries);
    load_columns(panel);
    add_products();
    take_some();
    if (!kCoarse) {
      load_columns(panel + kLow);
      add_products();
      take_some();
      load_queries(queries + kLow);
      load_columns(panel);
      add_products();
      take_some();
    }
    queries += step_bytes(kCoarse);
    panel += kAmxStepBytes;
  }
  _tile_stored(0, scores, 64);
  _tile_stored(1, scores + 256, 64);
  _tile_stored(2, scores + 512, 64);
  _tile_stored(3, scores + 768, 64);
}

template <bool kCoarse>
void nearest_of(const AmxNearestArgs& args) {
  alignas(64) float scores[2][kPanelScores];
  const int64_t group_bytes = args.steps * step_bytes(kCoarse);
  const int64_t panel_bytes = args.steps * kAmxStepBytes;
  Waiting waiting = {nullptr, nullptr, 0, nullptr, false};
  int64_t turn = 0;
  for (int64_t group = 0; group < args.query_groups; ++group) {
    for (int64_t panel = 0; panel < args.panel_count; ++panel) {
      float* const now = scores[turn++ % 2];
      score<kCoarse>(args.queries + group * group_bytes, args.panels + panel * panel_bytes, args.steps, now,
                     waiting);
      waiting = {now, args.norms + panel * kAmxGroup,
                 args.first_column + static_cast<int32_t>(panel * kAmxGroup),
                 args.state + group * kAmxGroup * kAmxState, args.fresh && panel == 0};
    }
  }
  if (waiting.scores != nullptr) take_in(waiting, 0, kAmxGroup);
}

void nearest(const AmxNearestArgs& args) {
  __atomic_fetch_add(&call_count, 1, __ATOMIC_RELAXED);
  _tile_loadconfig(&kTileConfig);
  args.coarse ? nearest_of<true>(args) : nearest_of<false>(args);
  _tile_release();
}

void join_lanes(const float* state, int64_t rows, AmxBest* results) {
  __atomic_fetch_add(&call_count, 1, __ATOMIC_RELAXED);
  for (int64_t row = 0; row < rows; ++row, state += kAmxState) {
    const __m512 best = _mm512_load_ps(state);
    const float smallest = _mm512_reduce_min_ps(best);
    const auto where = static_cast<uint32_t>(_mm512_cmp_ps_mask(best, _mm512_set1_ps(smallest), _CMP_EQ_OQ));
    // Of a row that is not a number no lane is equal.
    const int lane = where == 0 ? 0 : __builtin_ctz(where);
    // The winner's lane has its second; the other lanes' seconds are not below their best.
    const __m512 others =
        _mm512_mask_mov_ps(best, static_cast<__mmask16>(1u << lane), _mm512_load_ps(state + 16));
    int32_t column;
    __builtin_memcpy(&column, state + 32 + lane, sizeof column);
    results[row] = {smallest, _mm512_reduce_min_ps(others), column};
  }
}

int64_t calls() {
  return __atomic_load_n(&call_count, __ATOMIC_RELAXED);
}

}  // namespace

const AmxKernels kAmxKernels = {
    .calls = calls, .split_rows = split_rows, .nearest = nearest, .join_lanes = join_lanes};

}  // namespace panda::kernels::cpu::amx
