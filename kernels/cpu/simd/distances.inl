// S(q, x) of kernels/knn.h, many at once, each pair 16 partial sums in f64. Difference, product and sum are
// rounded one by one (these files are compiled with -ffp-contract=off), so the bits are the reference's.

constexpr int kVectors = 16 / kDoubleLanes;

template <ExactTerm kTerm>
PANDA_INLINE VD term_of(VD q, VD x) {
  if (kTerm == ExactTerm::kProduct) return q * x;
  const VD difference = q - x;
  return difference * difference;
}

/// Part j + part j + 8, then + 4, + 2, + 1.
PANDA_INLINE double sum_of_parts(const VD (&sum)[kVectors]) {
  VD parts[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) parts[v] = sum[v];
#pragma GCC unroll 4
  for (int half = kVectors / 2; half >= 1; half /= 2) {
#pragma GCC unroll 4
    for (int v = 0; v < half; ++v) parts[v] += parts[v + half];
  }
  double lanes[kDoubleLanes];
  __builtin_memcpy(lanes, parts, sizeof lanes);
#pragma GCC unroll 4
  for (int half = kDoubleLanes / 2; half >= 1; half /= 2) {
#pragma GCC unroll 8
    for (int j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  }
  return lanes[0];
}

/// kQueries queries against kRows gallery rows, both f64 and padded.
template <ExactTerm kTerm, int kQueries, int kRows>
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
          sum[m][n][v] += term_of<kTerm>(qv, load_double(x + n * a.d16 + i + v * kDoubleLanes));
        }
      }
    }
  }
  for (int m = 0; m < kQueries; ++m) {
    for (int n = 0; n < kRows; ++n) {
      a.distances[(query + m) * a.gallery_count + row + n] = sum_of_parts(sum[m][n]);
    }
  }
}

#if defined(__AVX512F__)
constexpr int kTileQueries = 4;
constexpr int kTileRows = 2;
constexpr int kListRows = 4;
#else
constexpr int kTileQueries = 1;
constexpr int kTileRows = 2;
constexpr int kListRows = 2;
#endif

template <ExactTerm kTerm, int kQueries>
PANDA_INLINE void distance_tile_rows(const DistanceTileArgs& a, int64_t query) {
  int64_t row = 0;
  for (; row + kTileRows <= a.gallery_count; row += kTileRows)
    distance_tile<kTerm, kQueries, kTileRows>(a, query, row);
  for (; row < a.gallery_count; ++row) distance_tile<kTerm, kQueries, 1>(a, query, row);
}

template <ExactTerm kTerm>
PANDA_INLINE void distances_of(const DistanceTileArgs& a) {
  int64_t query = 0;
  for (; query + kTileQueries <= a.query_count; query += kTileQueries)
    distance_tile_rows<kTerm, kTileQueries>(a, query);
  for (; query < a.query_count; ++query) distance_tile_rows<kTerm, 1>(a, query);
}

void distances(const DistanceTileArgs& a) {
  count_call();
  if (a.term == ExactTerm::kProduct) return distances_of<ExactTerm::kProduct>(a);
  distances_of<ExactTerm::kSquaredDifference>(a);
}

/// One query against kRows rows of f32, widened on the way.
template <ExactTerm kTerm, int kRows>
PANDA_INLINE void distance_list(const DistanceRowsArgs& a, int64_t row) {
  VD sum[kRows][kVectors];  // as an initialiser, zeros would be written to memory
#pragma GCC unroll 4
  for (int n = 0; n < kRows; ++n) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sum[n][v] = VD{};
  }
  const int64_t whole = a.d / 16 * 16;
  for (int64_t i = 0; i < whole; i += 16) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const VD q = load_double(a.query + i + v * kDoubleLanes);
#pragma GCC unroll 4
      for (int n = 0; n < kRows; ++n)
        sum[n][v] += term_of<kTerm>(q, widen(a.rows[row + n] + i + v * kDoubleLanes));
    }
  }
  for (int n = 0; n < kRows; ++n) {
    if (whole < a.d) {
      // Beyond d both are zero, and so is the term: adding it changes no bit of a sum that began at +0.
      float tail[16] = {};
      for (int64_t i = whole; i < a.d; ++i) tail[i - whole] = a.rows[row + n][i];
      for (int v = 0; v < kVectors; ++v) {
        sum[n][v] +=
            term_of<kTerm>(load_double(a.query + whole + v * kDoubleLanes), widen(tail + v * kDoubleLanes));
      }
    }
    a.distances[row + n] = sum_of_parts(sum[n]);
  }
}

template <ExactTerm kTerm>
PANDA_INLINE void distance_rows_of(const DistanceRowsArgs& a) {
  int64_t row = 0;
  for (; row + kListRows <= a.count; row += kListRows) distance_list<kTerm, kListRows>(a, row);
  for (; row < a.count; ++row) distance_list<kTerm, 1>(a, row);
}

void distance_rows(const DistanceRowsArgs& a) {
  count_call();
  if (a.term == ExactTerm::kProduct) return distance_rows_of<ExactTerm::kProduct>(a);
  distance_rows_of<ExactTerm::kSquaredDifference>(a);
}
