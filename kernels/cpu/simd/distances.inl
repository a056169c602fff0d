// D(q, x) of kernels/knn.h, many at once: 2 queries x 2 gallery rows, each pair 16 partial sums in f64.
// Difference, product and sum are rounded one by one (these files are compiled with -ffp-contract=off), so
// the bits are the reference's.

constexpr int kVectors = 16 / kDoubleLanes;

template <int kQueries, int kRows>
PANDA_INLINE void distance_tile(const DistanceTileArgs& a, int64_t query, int64_t row) {
  VD sum[kQueries][kRows][kVectors] = {};
  const double* q = a.queries + query * a.d16;
  const double* x = a.gallery + row * a.d16;
  for (int64_t i = 0; i < a.d16; i += 16) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
#pragma GCC unroll 4
      for (int m = 0; m < kQueries; ++m) {
        const VD qv = load_double(q + m * a.d16 + i + v * kDoubleLanes);
#pragma GCC unroll 4
        for (int n = 0; n < kRows; ++n) {
          const VD difference = qv - load_double(x + n * a.d16 + i + v * kDoubleLanes);
          sum[m][n][v] += difference * difference;
        }
      }
    }
  }
  for (int m = 0; m < kQueries; ++m) {
    for (int n = 0; n < kRows; ++n) {
      double lanes[16];
      for (int v = 0; v < kVectors; ++v) {
        for (int j = 0; j < kDoubleLanes; ++j) lanes[v * kDoubleLanes + j] = sum[m][n][v][j];
      }
      for (int half = 8; half >= 1; half /= 2) {
        for (int j = 0; j < half; ++j) lanes[j] += lanes[j + half];
      }
      a.distances[(query + m) * a.gallery_count + row + n] = lanes[0];
    }
  }
}

#if defined(__AVX512F__)
constexpr int kTileQueries = 4;
constexpr int kTileRows = 2;
#else
constexpr int kTileQueries = 1;
constexpr int kTileRows = 2;
#endif

template <int kQueries>
PANDA_INLINE void distance_rows(const DistanceTileArgs& a, int64_t query) {
  int64_t row = 0;
  for (; row + kTileRows <= a.gallery_count; row += kTileRows)
    distance_tile<kQueries, kTileRows>(a, query, row);
  for (; row < a.gallery_count; ++row) distance_tile<kQueries, 1>(a, query, row);
}

void distances(const DistanceTileArgs& a) {
  count_call();
  int64_t query = 0;
  for (; query + kTileQueries <= a.query_count; query += kTileQueries) distance_rows<kTileQueries>(a, query);
  for (; query < a.query_count; ++query) distance_rows<1>(a, query);
}
