// linear: dot products of rows of x with rows of the weight, a tile of kXRows x kWeightRows of them at a
// time.
//
// The weight is read once per kXRows rows of x, straight from its row-major memory: for few rows the layer is
// bound by that read. 4 x 6 accumulators, 4 + 1 loaded vectors of 32 registers; without AVX-512, 2 x 4 of 16.
// An accumulator's order of summation is the same in every tile shape, so a row of y has the same bits alone
// and in a batch.

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kXRows = 4;
constexpr int kWeightRows = 6;
#else
constexpr int kXRows = 2;
constexpr int kWeightRows = 4;
#endif

PANDA_INLINE float sum_of_lanes(V v) {
  float lanes[kLanes];
  store(lanes, v);
  for (int half = kLanes / 2; half >= 1; half /= 2) {
    for (int j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  }
  return lanes[0];
}

/// The first `count` < kLanes values at p, then zeros.
PANDA_INLINE V load_first(const float* p, int64_t count) {
  float lanes[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = p[i];
  return load(lanes);
}

template <int kN, int kK>
void linear_tile(const LinearArgs& a, int64_t n, int64_t k) {
  V sum[kN][kK] = {};
  const float* x = a.x + n * a.c;
  const float* weight = a.weight + k * a.c;
  const int64_t whole = a.c / kLanes * kLanes;
  for (int64_t c = 0; c < whole; c += kLanes) {
    V value[kN];
#pragma GCC unroll 4
    for (int i = 0; i < kN; ++i) value[i] = load(x + i * a.c + c);
#pragma GCC unroll 6
    for (int j = 0; j < kK; ++j) {
      const V w = load(weight + j * a.c + c);
#pragma GCC unroll 4
      for (int i = 0; i < kN; ++i) sum[i][j] += value[i] * w;
    }
  }
  for (int j = 0; j < kK; ++j) {
    const float bias = a.bias != nullptr ? a.bias[k + j] : 0.0f;
    for (int i = 0; i < kN; ++i) {
      V total = sum[i][j];
      if (whole < a.c) {
        total +=
            load_first(x + i * a.c + whole, a.c - whole) * load_first(weight + j * a.c + whole, a.c - whole);
      }
      a.y[(n + i) * a.k + k + j] = sum_of_lanes(total) + bias;
    }
  }
}

template <int kN>
PANDA_INLINE void linear_rows(const LinearArgs& a, int64_t n) {
  int64_t k = a.k_begin;
  for (; k + kWeightRows <= a.k_end; k += kWeightRows) linear_tile<kN, kWeightRows>(a, n, k);
  for (; k < a.k_end; ++k) linear_tile<kN, 1>(a, n, k);
}

void linear(const LinearArgs& a) {
  count_call();
  int64_t n = 0;
  for (; n + kXRows <= a.n; n += kXRows) linear_rows<kXRows>(a, n);
  for (; n < a.n; ++n) linear_rows<1>(a, n);
}
