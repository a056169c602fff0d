// Winograd F(4x4,3x3) with the points 0, +-a, +-b, infinity, a = sqrt(2)/2, b = sqrt(2): the transforms of
// data and of products. Derivation and error: docs/decisions/cpu-convolution.md. The filter's transform is in
// conv2d_winograd.cpp.
//
//   B^T = [ 1  0 -5/2  0   1  0 ]      A^T = [ 1   1    1     1    1   0 ]
//         [ 0 -b  -2   a   1  0 ]            [ 0   a   -a     b   -b   0 ]
//         [ 0  b  -2  -a   1  0 ]            [ 0  1/2  1/2    2    2   0 ]
//         [ 0 -a -1/2  b   1  0 ]            [ 0  a/2 -a/2   2b  -2b   1 ]
//         [ 0  a -1/2 -b   1  0 ]
//         [ 0  1   0 -5/2  0  1 ]

constexpr float kA = 0.70710678118654752440f;
constexpr float kB = 1.41421356237309504880f;

PANDA_INLINE void input_transform_1d(const V d0, const V d1, const V d2, const V d3, const V d4, const V d5,
                                     V* t) {
  const V even1 = d4 - 2.0f * d2;
  const V odd1 = kA * d3 - kB * d1;
  const V even2 = d4 - 0.5f * d2;
  const V odd2 = kB * d3 - kA * d1;
  t[0] = d0 + d4 - 2.5f * d2;
  t[1] = even1 + odd1;
  t[2] = even1 - odd1;
  t[3] = even2 + odd2;
  t[4] = even2 - odd2;
  t[5] = d1 + d5 - 2.5f * d3;
}

/// B^T d B of a 6x6 patch whose rows lie row_stride floats apart, 16 channels per pixel; kLanes of them at a
/// time.
PANDA_INLINE void input_transform(const float* d, int64_t row_stride, float* v, int64_t v_stride) {
  for (int c = 0; c < 16; c += kLanes) {
    V column[6][6];  // [pixel column][transformed row]
#pragma GCC unroll 6
    for (int j = 0; j < 6; ++j) {
      const float* p = d + j * 16 + c;
      input_transform_1d(load(p), load(p + row_stride), load(p + 2 * row_stride), load(p + 3 * row_stride),
                         load(p + 4 * row_stride), load(p + 5 * row_stride), column[j]);
    }
#pragma GCC unroll 6
    for (int i = 0; i < 6; ++i) {
      V t[6];
      input_transform_1d(column[0][i], column[1][i], column[2][i], column[3][i], column[4][i], column[5][i],
                         t);
#pragma GCC unroll 6
      for (int j = 0; j < 6; ++j) store(v + (i * 6 + j) * v_stride + c, t[j]);
    }
  }
}

/// The patch of kExtent^2 pixels at (h, w), which may leave the image, with zeros outside.
template <int kExtent>
PANDA_INLINE void copy_patch(const float* image, const WinogradInputArgs& a, int64_t h, int64_t w,
                             float* patch) {
  for (int64_t i = 0; i < kExtent; ++i) {
    for (int64_t j = 0; j < kExtent; ++j) {
      const bool inside = h + i >= 0 && h + i < a.h && w + j >= 0 && w + j < a.w;
      const float* pixel = image + ((h + i) * a.w + w + j) * 16;
      for (int c = 0; c < 16; c += kLanes)
        store(patch + (i * kExtent + j) * 16 + c, inside ? load(pixel + c) : V{});
    }
  }
}

/// transform(patch, row_stride, v, v_stride) of every tile's kExtent^2 pixels at (4 th - pad, 4 tw - pad).
template <int kExtent, typename Transform>
PANDA_INLINE void transform_tiles(const WinogradInputArgs& a, Transform transform) {
  float patch[kExtent * kExtent * 16];
  for (int64_t t = 0; t < a.count; ++t) {
    const int64_t tile_index = a.first + t;
    const int64_t n = tile_index / (a.tiles_h * a.tiles_w);
    const int64_t h = tile_index / a.tiles_w % a.tiles_h * 4 - a.pad_h;
    const int64_t w = tile_index % a.tiles_w * 4 - a.pad_w;
    const bool inside = h >= 0 && h + kExtent <= a.h && w >= 0 && w + kExtent <= a.w;
    for (int64_t block = 0; block < a.blocks; ++block) {
      const float* image = a.x + (n * a.blocks + block) * a.h * a.w * 16;
      float* v = a.v + block * a.v_block_stride + t * 16;
      if (inside) {
        transform(image + (h * a.w + w) * 16, a.w * 16, v, a.v_stride);
      } else {
        copy_patch<kExtent>(image, a, h, w, patch);
        transform(patch, kExtent * 16, v, a.v_stride);
      }
    }
  }
}

void winograd_input(const WinogradInputArgs& a) {
  count_call();
  transform_tiles<6>(a, [](const float* d, int64_t row_stride, float* v, int64_t v_stride) {
    input_transform(d, row_stride, v, v_stride);
  });
}

/// A times a column of 4.
PANDA_INLINE void output_gradient_transform_1d(const V d0, const V d1, const V d2, const V d3, V* t) {
  const V even1 = d0 + 0.5f * d2;
  const V odd1 = kA * d1 + 0.5f * kA * d3;
  const V even2 = d0 + 2.0f * d2;
  const V odd2 = kB * d1 + 2.0f * kB * d3;
  t[0] = d0;
  t[1] = even1 + odd1;
  t[2] = even1 - odd1;
  t[3] = even2 + odd2;
  t[4] = even2 - odd2;
  t[5] = d3;
}

void winograd_output_gradient(const WinogradInputArgs& a) {
  count_call();
  transform_tiles<4>(a, [](const float* d, int64_t row_stride, float* v, int64_t v_stride) {
    for (int c = 0; c < 16; c += kLanes) {
      V column[4][6];  // [pixel column][transformed row]
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const float* p = d + j * 16 + c;
        output_gradient_transform_1d(load(p), load(p + row_stride), load(p + 2 * row_stride),
                                     load(p + 3 * row_stride), column[j]);
      }
#pragma GCC unroll 6
      for (int i = 0; i < 6; ++i) {
        V t[6];
        output_gradient_transform_1d(column[0][i], column[1][i], column[2][i], column[3][i], t);
#pragma GCC unroll 6
        for (int j = 0; j < 6; ++j) store(v + (i * 6 + j) * v_stride + c, t[j]);
      }
    }
  });
}

PANDA_INLINE void output_transform_1d(const V m0, const V m1, const V m2, const V m3, const V m4, const V m5,
                                      V* y) {
  const V sum1 = m1 + m2;
  const V difference1 = m1 - m2;
  const V sum2 = m3 + m4;
  const V difference2 = m3 - m4;
  y[0] = m0 + sum1 + sum2;
  y[1] = kA * difference1 + kB * difference2;
  y[2] = 0.5f * sum1 + 2.0f * sum2;
  y[3] = 0.5f * kA * difference1 + 2.0f * kB * difference2 + m5;
}

/// A^T m A of one tile and kLanes channels: y[4][4].
PANDA_INLINE void output_transform(const float* m, int64_t m_stride, V (&y)[4][4]) {
  V column[6][4];
#pragma GCC unroll 6
  for (int j = 0; j < 6; ++j) {
    const float* p = m + j * m_stride;
    output_transform_1d(load(p), load(p + 6 * m_stride), load(p + 12 * m_stride), load(p + 18 * m_stride),
                        load(p + 24 * m_stride), load(p + 30 * m_stride), column[j]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    output_transform_1d(column[0][i], column[1][i], column[2][i], column[3][i], column[4][i], column[5][i],
                        y[i]);
  }
}

void winograd_output(const WinogradOutputArgs& a) {
  count_call();
  for (int64_t t = 0; t < a.count; ++t) {
    const int64_t tile_index = a.first + t;
    const int64_t n = tile_index / (a.tiles_h * a.tiles_w);
    const int64_t p = tile_index / a.tiles_w % a.tiles_h * 4;
    const int64_t q = tile_index % a.tiles_w * 4;
    const int64_t rows = a.p - p < 4 ? a.p - p : 4;
    const int64_t columns = a.q - q < 4 ? a.q - q : 4;
    for (int c = 0; c < a.halves * 16; c += kLanes) {
      V y[4][4];
      output_transform(a.m + t * kFilterBlock + c, a.count * kFilterBlock, y);
      const V bias = a.bias != nullptr ? load(a.bias + c) : V{};
      const int64_t start = (((n * a.k_blocks + a.k_block + c / 16) * a.p + p) * a.q + q) * 16 + c % 16;
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        if (i >= rows) break;
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
          if (j >= columns) break;
          const int64_t offset = start + (i * a.q + j) * 16;
          V value = y[i][j] + bias;
          if (a.residual != nullptr) value += load(a.residual + offset);
          if (a.relu) value = relu_of(value);
          store(a.y + offset, value);
        }
      }
    }
  }
}

/// u[point][32] = G g G^T of 32 filters at once, in f64: g[tap][32], transform = G, 6x3, points `stride`
/// floats apart.
void winograd_filter(const float* g, const double* transform, float* u, int64_t stride) {
  count_call();
  for (int k = 0; k < kFilterBlock; k += kDoubleLanes) {
    VD tap[9];
#pragma GCC unroll 9
    for (int t = 0; t < 9; ++t) tap[t] = widen(g + t * kFilterBlock + k);
    for (int i = 0; i < 6; ++i) {
      const double* a = transform + i * 3;
      VD row[3];
#pragma GCC unroll 3
      for (int j = 0; j < 3; ++j) row[j] = tap[j] * a[0] + tap[3 + j] * a[1] + tap[6 + j] * a[2];
#pragma GCC unroll 6
      for (int j = 0; j < 6; ++j) {
        const double* b = transform + j * 3;
        const VD value = row[0] * b[0] + row[1] * b[1] + row[2] * b[2];
        *reinterpret_cast<VHalfUnaligned*>(u + (i * 6 + j) * stride + k) =
            __builtin_convertvector(value, VHalf);
      }
    }
  }
}

void winograd_filter_gradient(const float* u, int64_t stride, const double* transform, float* g,
                              int64_t g_stride) {
  count_call();
  for (int k = 0; k < kFilterBlock; k += kDoubleLanes) {
    VD sums[9] = {};
    for (int i = 0; i < 6; ++i) {
      VD row[3] = {};  // row i of u, times G
      for (int j = 0; j < 6; ++j) {
        const VD value = widen(u + (i * 6 + j) * stride + k);
        const double* b = transform + j * 3;
#pragma GCC unroll 3
        for (int s = 0; s < 3; ++s) row[s] += value * b[s];
      }
      const double* a = transform + i * 3;
#pragma GCC unroll 9
      for (int t = 0; t < 9; ++t) sums[t] += row[t % 3] * a[t / 3];
    }
#pragma GCC unroll 9
    for (int t = 0; t < 9; ++t)
      *reinterpret_cast<VHalfUnaligned*>(g + t * g_stride + k) = __builtin_convertvector(sums[t], VHalf);
  }
}
