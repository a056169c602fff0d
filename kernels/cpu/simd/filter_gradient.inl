// filter_gradient: outer products of input and output-gradient pixels, one tap after another.
//
// A register tile holds kTileC input channels x 2 vectors of output channels; each pixel costs 2 loads,
// kTileC broadcasts and 2 kTileC multiply-adds, straight from the blocked layout: nothing is packed or
// transposed, and padding costs nothing because a tap only visits the pixels where it lies inside the image.
// With AVX-512 that is 10 loads for the 8 cycles that two FMA units take, and 16 independent sums, more than
// their latency of 4 x 2 needs. Rows are taken in strips that stay in L1 while all taps pass over them.

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kTileC = 8;
#else
constexpr int kTileC = 4;  // 8 + 2 + 1 of 16 registers
#endif
/// Input and both gradient rows of a strip: fits L1 (32 KB on Zen 4, 48 KB on Zen 5 and Sapphire Rapids)
/// beside the tile.
constexpr int64_t kStripFloats = 28 * 1024 / 4;

struct TapRange {
  int64_t begin;
  int64_t end;
};

/// Outputs i in [first, last) whose input i * stride + offset lies in [0, extent).
PANDA_INLINE TapRange tap_range(int64_t first, int64_t last, int64_t stride, int64_t offset, int64_t extent) {
  const int64_t low = offset >= 0 ? 0 : (-offset + stride - 1) / stride;
  const int64_t high = offset >= extent ? 0 : (extent - offset + stride - 1) / stride;
  return {low > first ? low : first, high < last ? high : last};
}

PANDA_INLINE void tap_tile(const FilterGradientArgs& a, TapRange p, TapRange q, int64_t h_offset,
                           int64_t w_offset, int c, int k, bool add, float* g) {
  V sum[kTileC][2];
#pragma GCC unroll 8
  for (int i = 0; i < kTileC; ++i) {
    sum[i][0] = add ? load(g + i * kFilterBlock) : V{};
    sum[i][1] = add ? load(g + i * kFilterBlock + kLanes) : V{};
  }
  const int64_t x_step = a.stride_w * 16;
  const float* dy0 = k / 16 == 0 ? a.dL_dy0 : a.dL_dy1;
  const float* dy1 = (k + kLanes) / 16 == 0 ? a.dL_dy0 : a.dL_dy1;
  for (int64_t row = p.begin; row < p.end; ++row) {
    const float* x = a.x + ((row * a.stride_h + h_offset) * a.w + q.begin * a.stride_w + w_offset) * 16 + c;
    const float* d0 = dy0 + (row * a.q + q.begin) * 16 + k % 16;
    const float* d1 = dy1 + (row * a.q + q.begin) * 16 + (k + kLanes) % 16;
    for (int64_t i = q.begin; i < q.end; ++i) {
      const V gradient0 = load(d0);
      const V gradient1 = load(d1);
#pragma GCC unroll 8
      for (int j = 0; j < kTileC; ++j) {
        const V value = splat(x[j]);
        sum[j][0] += value * gradient0;
        sum[j][1] += value * gradient1;
      }
      x += x_step;
      d0 += 16;
      d1 += 16;
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kTileC; ++i) {
    store(g + i * kFilterBlock, sum[i][0]);
    store(g + i * kFilterBlock + kLanes, sum[i][1]);
  }
}

void filter_gradient(const FilterGradientArgs& a) {
  count_call();
  const int64_t row_floats = (a.w * a.stride_h + 2 * a.q) * 16;
  int64_t strips = (a.p * row_floats + kStripFloats - 1) / kStripFloats;
  if (strips > a.p) strips = a.p;
  if (a.r * a.s == 1) strips = 1;  // nothing passes over them again
  if (strips < 1) strips = 1;
  for (int64_t strip = 0; strip < strips; ++strip) {
    const int64_t first = a.p * strip / strips;
    const int64_t last = a.p * (strip + 1) / strips;
    for (int64_t r = 0; r < a.r; ++r) {
      const TapRange p = tap_range(first, last, a.stride_h, r - a.pad_h, a.h);
      for (int64_t s = 0; s < a.s; ++s) {
        const TapRange q = tap_range(0, a.q, a.stride_w, s - a.pad_w, a.w);
        float* g = a.g + (r * a.s + s) * 16 * kFilterBlock;
        for (int c = 0; c < a.channels; c += kTileC) {
          for (int k = 0; k < kFilterBlock; k += 2 * kLanes)
            tap_tile(a, p, q, r - a.pad_h, s - a.pad_w, c, k, a.add || strip > 0, g + c * kFilterBlock + k);
        }
      }
    }
  }
}

void combine_filter_gradient(const CombineFilterGradientArgs& a) {
  count_call();
  for (int64_t i = 0; i < a.rows * kFilterBlock; i += kLanes) {
    const V g = load(a.g + i);
    if (a.sum != nullptr) store(a.sum + i, load(a.sum + i) + g);
    if (a.squares != nullptr) store(a.squares + i, load(a.squares + i) + g * g);
  }
  if (a.dots == nullptr) return;
  for (int k = 0; k < kFilterBlock; k += kLanes) {
    V dot = {};
    for (int64_t row = 0; row < a.rows; ++row)
      dot += load(a.g + row * kFilterBlock + k) * load(a.filter + row * kFilterBlock + k);
    store(a.dots + k, load(a.dots + k) + dot);
  }
}
