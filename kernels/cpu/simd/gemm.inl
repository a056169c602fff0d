// gemm_panel: register tiles of rows of op(a) times one panel of op(b), the sums starting from c or from
// zero.
//
// AVX-512: 6 x 64 = 24 accumulators; per k 4 loads of b, 6 broadcasts of a and 24 multiply-adds, that is 10
// loads in the 12 cycles that two FMA units take. A tile of 14 x 32 needs 16 in 14: alone it is as fast, but
// beside a neighbour on the same core's load ports it is 5 to 20 % slower (docs/decisions/cpu-gemm.md).
// Narrower panels take more rows, so that there are at least 8 independent sums where the registers allow it.

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kGemmVectors = 4;
#else
constexpr int kGemmVectors = 2;  // 6 x 2 accumulators, 2 + 1 loaded, of 16
#endif

/// One tile: kRows x kVectors. The sums are one chain of multiply-adds in rising k, whatever the tile's shape
/// and wherever the chain is cut and its value stored in c: that is what makes the result independent of all
/// blocking.
template <int kVectors, int kRows>
__attribute__((noinline)) void gemm_tile(const GemmPanelArgs& args, const float* a, float* c) {
  const int64_t row = args.a_row_stride;
  const int64_t c_row = args.c_row_stride;
  V sum[kRows][kVectors] = {};
  if (args.add) {
#pragma GCC unroll 12
    for (int t = 0; t < kRows; ++t) {
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) sum[t][j] = load(c + t * c_row + j * kLanes);
    }
  }
  // The next tile's c: its rows lie far apart, and its sums would wait for them.
#pragma GCC unroll 12
  for (int t = 0; t < kRows; ++t) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors * kLanes; j += 16) __builtin_prefetch(c + (kRows + t) * c_row + j, 1);
  }
  const float* b = args.b;
  const int64_t b_step = args.b_k_stride;
  // Groups of three rows: an address is a pointer plus 0, 1 or 2 strides.
  const float* group[4] = {a, a + 3 * row, a + 6 * row, a + 9 * row};
#pragma GCC unroll 4
  for (int64_t k = 0; k < args.k; ++k) {
    V value[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) value[j] = load(b + j * kLanes);
#pragma GCC unroll 12
    for (int t = 0; t < kRows; ++t) {
      const V x = splat(group[t / 3][t % 3 * row]);
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) sum[t][j] += x * value[j];
    }
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) group[g] += args.a_k_stride;
    b += b_step;
  }
#pragma GCC unroll 12
  for (int t = 0; t < kRows; ++t) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) store(c + t * c_row + j * kLanes, sum[t][j]);
  }
}

/// The last `rows` < kRows + 1 rows.
template <int kVectors, int kRows>
void gemm_rest(const GemmPanelArgs& args, int64_t rows, const float* a, float* c) {
  if (rows == kRows) {
    gemm_tile<kVectors, kRows>(args, a, c);
  } else if constexpr (kRows > 1) {
    gemm_rest<kVectors, kRows - 1>(args, rows, a, c);
  }
}

template <int kVectors, int kRows>
void gemm_tiles(const GemmPanelArgs& args) {
  const int64_t tiles = (args.rows + kRows - 1) / kRows;
  const float* next = args.b_next;
  const float* const next_end = next != nullptr ? next + args.k * args.b_next_k_stride : nullptr;
  const int64_t share = (args.k + tiles - 1) / tiles;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    // Each tile asks for its share of the next panel, into L2.
    for (int64_t k = 0; k < share && next != next_end; ++k, next += args.b_next_k_stride) {
      for (int j = 0; j < kVectors * kLanes; j += 16) __builtin_prefetch(next + j, 0, 2);
    }
    const int64_t first = tile * kRows;
    const int64_t rows = args.rows - first < kRows ? args.rows - first : kRows;
    gemm_rest<kVectors, kRows>(args, rows, args.a + first * args.a_row_stride,
                               args.c + first * args.c_row_stride);
  }
}

void gemm_panel(const GemmPanelArgs& args) {
  count_call();
  switch ((args.columns + kLanes - 1) / kLanes) {
    case 1:
      return gemm_tiles<1, 12>(args);
#if defined(__AVX512F__) || defined(__aarch64__)
    case 2:
      return gemm_tiles<2, 12>(args);
    case 3:
      return gemm_tiles<3, 8>(args);
    default:
      return gemm_tiles<4, 6>(args);
#else
    default:
      return gemm_tiles<2, 6>(args);
#endif
  }
}

/// 0, 1, ..., kCount - 1. (std::make_integer_sequence is of a header that these files may not include.)
template <int... kLane>
struct LaneList {};
template <int kCount, int... kLane>
struct MakeLanes : MakeLanes<kCount - 1, kCount - 1, kLane...> {};
template <int... kLane>
struct MakeLanes<0, kLane...> {
  using List = LaneList<kLane...>;
};

/// Exchanges the off-diagonal blocks of kStep x kStep of a and b.
template <int kStep, int... kLane>
PANDA_INLINE void exchange(V& a, V& b, LaneList<kLane...>) {
  const V first = __builtin_shufflevector(a, b, ((kLane & kStep) == 0 ? kLane : kLanes + kLane - kStep)...);
  b = __builtin_shufflevector(a, b, ((kLane & kStep) == 0 ? kLane + kStep : kLanes + kLane)...);
  a = first;
}

template <int kStep>
PANDA_INLINE void exchange_all(V (&rows)[kLanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if ((i & kStep) == 0) exchange<kStep>(rows[i], rows[i + kStep], MakeLanes<kLanes>::List());
  }
}

PANDA_INLINE void transpose_registers(V (&rows)[kLanes]) {
  if constexpr (kLanes > 8) exchange_all<kLanes / 2>(rows);
  if constexpr (kLanes > 4) exchange_all<4>(rows);
  exchange_all<2>(rows);
  exchange_all<1>(rows);
}

/// A square of kLanes x kLanes, halved until its blocks are elements.
PANDA_INLINE void transpose_square(const float* x, int64_t x_stride, float* y, int64_t y_stride) {
  V rows[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) rows[i] = load(x + i * x_stride);
  transpose_registers(rows);
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) store(y + i * y_stride, rows[i]);
}

void transpose(const float* x, int64_t x_stride, int64_t rows, int64_t columns, float* y, int64_t y_stride) {
  count_call();
  const int64_t whole_rows = rows / kLanes * kLanes;
  const int64_t whole_columns = columns / kLanes * kLanes;
  for (int64_t r = 0; r < whole_rows; r += kLanes) {
    for (int64_t c = 0; c < whole_columns; c += kLanes) {
      transpose_square(x + r * x_stride + c, x_stride, y + c * y_stride + r, y_stride);
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c)
      y[c * y_stride + r] = x[r * x_stride + c];
  }
}

/// kLanes rows, one per lane: squares of `a` are transposed in registers. `rows` < kLanes at the end: lanes
/// without a row compute the last one's.
template <int kColumns>
PANDA_INLINE void gemm_narrow_rows(const GemmNarrowArgs& args, const float* a, int64_t rows, float* c) {
  V sum[kColumns] = {};
  float lanes[kLanes];
  if (args.add) {
    for (int j = 0; j < kColumns; ++j) {
      for (int i = 0; i < kLanes; ++i) {
        lanes[i] = i < rows ? c[i * args.c_row_stride + j * args.c_column_stride] : 0;
      }
      sum[j] = load(lanes);
    }
  }
  const float* row[kLanes];
  for (int i = 0; i < kLanes; ++i) row[i] = a + (i < rows ? i : rows - 1) * args.a_row_stride;
  const float* b = args.b;
  const auto add_k = [&](V x) {
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j) sum[j] += splat(b[j * args.b_column_stride]) * x;
    b += args.b_k_stride;
  };
  int64_t k = 0;
  for (; k + kLanes <= args.k; k += kLanes) {
    V square[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) square[i] = load(row[i] + k);
    transpose_registers(square);
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) add_k(square[i]);
  }
  for (; k < args.k; ++k) {
    for (int i = 0; i < kLanes; ++i) lanes[i] = row[i][k];
    add_k(load(lanes));
  }
  for (int j = 0; j < kColumns; ++j) {
    store(lanes, sum[j]);
    for (int64_t i = 0; i < rows; ++i) c[i * args.c_row_stride + j * args.c_column_stride] = lanes[i];
  }
}

template <int kColumns>
void gemm_narrow_columns(const GemmNarrowArgs& args) {
  for (int64_t row = 0; row < args.rows; row += kLanes) {
    const int64_t rows = args.rows - row < kLanes ? args.rows - row : kLanes;
    gemm_narrow_rows<kColumns>(args, args.a + row * args.a_row_stride, rows,
                               args.c + row * args.c_row_stride);
  }
}

void gemm_narrow(const GemmNarrowArgs& args) {
  count_call();
  switch (args.columns) {
    case 1:
      return gemm_narrow_columns<1>(args);
    case 2:
      return gemm_narrow_columns<2>(args);
    case 3:
      return gemm_narrow_columns<3>(args);
    default:
      return gemm_narrow_columns<4>(args);
  }
}
