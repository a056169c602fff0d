// tile_product: T pixels x 32 output channels in registers, over the whole reduction.
//
// AVX-512: 14 x 32 = 28 accumulators; per reduction element 2 filter loads, 14 broadcasts and 28
// multiply-adds, that is 16 loads in the 14 cycles that two FMA units take. AVX2: 6 x 16, twice per block
// of 32. The filter block (C*R*S*128 bytes) streams from L2 at 2048 / (16 * 14) = 9 bytes per cycle, x comes
// from L1: no blocking of the reduction is needed, so each output is one sum in registers, from the first
// product to relu.

template <int kTile>
PANDA_INLINE void finish_tile(const V (&sum)[kTile][2], const Epilogue& e, int64_t offset, int k) {
#pragma GCC unroll 2
  for (int j = 0; j < 2; ++j) {
    const int channel = k + j * kLanes;
    if (channel >= e.halves * 16) return;
    const V bias = e.bias != nullptr ? load(e.bias + channel) : V{};
    const int64_t start = offset + (channel / 16) * e.half_stride + channel % 16;
#pragma GCC unroll 14
    for (int t = 0; t < kTile; ++t) {
      V value = sum[t][j] + bias;
      if (e.residual != nullptr) value += load(e.residual + start + t * e.pixel_stride);
      if (e.relu) value = relu_of(value);
      store(e.y + start + t * e.pixel_stride, value);
    }
  }
}

/// Asks for the memory that finish_tile will read and write while the sums are computed: it is far apart (a
/// row of c, an image's block) and not read before.
template <int kTile>
PANDA_INLINE void prefetch_tile(const Epilogue& e, int64_t offset, int k) {
  if (k % 16 != 0) return;
  const int64_t start = offset + (k / 16) * e.half_stride;
  const bool both = kLanes == 16 && e.halves > 1;
#pragma GCC unroll 14
  for (int t = 0; t < kTile; ++t) {
    const int64_t at = start + t * e.pixel_stride;
    __builtin_prefetch(e.y + at, 1);
    if (both) __builtin_prefetch(e.y + at + e.half_stride, 1);
    if (e.residual != nullptr && e.residual != e.y) {
      __builtin_prefetch(e.residual + at, 0);
      if (both) __builtin_prefetch(e.residual + at + e.half_stride, 0);
    }
  }
}

template <int kTile, int kPixel, int kLength>
__attribute__((noinline)) void tile(const TileProductArgs& a, const float* x_tile, const float* w_row,
                                    int64_t y_offset) {
  for (int k = 0; k < kFilterBlock; k += 2 * kLanes) {
    if (k >= a.epilogue.halves * 16) return;
    V sum[kTile][2] = {};
    prefetch_tile<kTile>(a.epilogue, y_offset, k);
    const float* w = w_row + k;
    const int64_t length = kLength != 0 ? kLength : a.length;
    for (int64_t block = 0; block < a.blocks; ++block) {
      const float* x_block = x_tile + block * a.x_block_stride;
      for (int64_t tap = 0; tap < a.tap_count; ++tap) {
        const float* x = x_block + a.taps[tap];
        if (kLength == 16 &&
            a.tap_count == 1) {  // the next tile's pixels: blocks lie too far apart for the hardware to guess
#pragma GCC unroll 14
          for (int t = 0; t < kTile; ++t) __builtin_prefetch(x + (kTile + t) * kPixel);
        }
#pragma GCC unroll 4
        for (int64_t i = 0; i < length; ++i) {
          const V w0 = load(w);
          const V w1 = load(w + kLanes);
#pragma GCC unroll 14
          for (int t = 0; t < kTile; ++t) {
            const V value = splat(x[t * kPixel + i]);
            sum[t][0] += value * w0;
            sum[t][1] += value * w1;
          }
          w += kFilterBlock;
        }
      }
    }
    finish_tile<kTile>(sum, a.epilogue, y_offset, k);
  }
}

using TileFunction = void (*)(const TileProductArgs&, const float*, const float*, int64_t);

#if defined(__AVX512F__)
#define PANDA_TILES(P, L)                                                                              \
  {                                                                                                    \
    nullptr, tile<1, P, L>, tile<2, P, L>, tile<3, P, L>, tile<4, P, L>, tile<5, P, L>, tile<6, P, L>, \
        tile<7, P, L>, tile<8, P, L>, tile<9, P, L>, tile<10, P, L>, tile<11, P, L>, tile<12, P, L>,   \
        tile<13, P, L>, tile<14, P, L>                                                                 \
  }
#elif defined(__aarch64__)
#define PANDA_TILES(P, L)                                                                              \
  {                                                                                                    \
    nullptr, tile<1, P, L>, tile<2, P, L>, tile<3, P, L>, tile<4, P, L>, tile<5, P, L>, tile<6, P, L>, \
        tile<7, P, L>, tile<8, P, L>, tile<9, P, L>, tile<10, P, L>, tile<11, P, L>, tile<12, P, L>    \
  }
#else
#define PANDA_TILES(P, L) \
  { nullptr, tile<1, P, L>, tile<2, P, L>, tile<3, P, L>, tile<4, P, L>, tile<5, P, L>, tile<6, P, L> }
#endif
constexpr TileFunction kTiles[kMaxTile + 1] = PANDA_TILES(16, 16);
constexpr TileFunction kNarrowTiles[kMaxTile + 1] = PANDA_TILES(kNarrowPixel, 0);

PANDA_INLINE void tile_rows(const TileProductArgs& a, const TileFunction* tiles, int64_t pixel_floats) {
  count_call();
  // Tiles of nearly equal size: 49 pixels are 13 + 12 + 12 + 12, not 14 + 14 + 14 + 7.
  const int64_t tile_count = (a.pixels + kMaxTile - 1) / kMaxTile;
  const int64_t size = a.pixels / tile_count;
  const int64_t larger = a.pixels % tile_count;
  // Each tile asks for its share of the next filter block.
  const int64_t share = a.w_next != nullptr ? (a.w_next_floats / (a.rows * tile_count) + 15) / 16 * 16 : 0;
  for (int64_t row = 0; row < a.rows; ++row) {
    int64_t pixel = 0;
    for (int64_t i = 0; i < tile_count; ++i) {
      const int64_t count = size + (i < larger ? 1 : 0);
      for (int64_t j = 0; j < share; j += 16)
        __builtin_prefetch(a.w_next + (row * tile_count + i) * share + j, 0, 2);
      tiles[count](a, a.x + row * a.x_row_stride + pixel * pixel_floats, a.w + row * a.w_row_stride,
                   row * a.epilogue.row_stride + pixel * a.epilogue.pixel_stride);
      pixel += count;
    }
  }
}

void tile_product(const TileProductArgs& a) {
  tile_rows(a, kTiles, 16);
}
void tile_product_narrow(const TileProductArgs& a) {
  tile_rows(a, kNarrowTiles, kNarrowPixel);
}
