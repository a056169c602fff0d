// nearest_panel: which of one panel's columns are nearest to rows, by |c|^2 - 2 <a, c> in f32, with the sums
// still in registers. The loop over the depth is gemm_tile's (gemm.inl).

/// One tile: kRows x kVectors.
template <int kVectors, int kRows>
__attribute__((noinline)) void nearest_tile(const NearestPanelArgs& args, const float* a, float* state) {
  V sum[kRows][kVectors] = {};
  const float* b = args.panel;
  const int64_t row = args.row_stride;
  const float* group[4] = {a, a + 3 * row, a + 6 * row, a + 9 * row};
#pragma GCC unroll 4
  for (int64_t k = 0; k < args.d; ++k) {
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
    for (int g = 0; g < 4; ++g) ++group[g];
    b += kVectors * kLanes;
  }
  VI lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
#pragma GCC unroll 12
  for (int t = 0; t < kRows; ++t) {
    float* const of_row = state + t * 3 * kLanes;
    V best = load(of_row);
    V second = load(of_row + kLanes);
    VI index = reinterpret_cast<VI>(load(of_row + 2 * kLanes));
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      const V score = load(args.norms + j * kLanes) - (sum[t][j] + sum[t][j]);
      const V loser = score < best ? best : score;
      index = score < best ? lane + static_cast<int32_t>(args.first_column + j * kLanes) : index;
      best = score < best ? score : best;
      second = loser < second ? loser : second;
    }
    store(of_row, best);
    store(of_row + kLanes, second);
    store(of_row + 2 * kLanes, reinterpret_cast<V>(index));
  }
}

/// The last `rows` < kRows + 1 rows.
template <int kVectors, int kRows>
void nearest_rest(const NearestPanelArgs& args, int64_t rows, const float* a, float* state) {
  if (rows == kRows) {
    nearest_tile<kVectors, kRows>(args, a, state);
  } else if constexpr (kRows > 1) {
    nearest_rest<kVectors, kRows - 1>(args, rows, a, state);
  }
}

template <int kVectors, int kRows>
void nearest_tiles(const NearestPanelArgs& args) {
  for (int64_t first = 0; first < args.rows; first += kRows) {
    const int64_t rows = args.rows - first < kRows ? args.rows - first : kRows;
    nearest_rest<kVectors, kRows>(args, rows, args.a + first * args.row_stride,
                                  args.state + first * 3 * kLanes);
  }
}

void nearest_panel(const NearestPanelArgs& args) {
  count_call();
  switch ((args.columns + kLanes - 1) / kLanes) {
    case 1:
      return nearest_tiles<1, 12>(args);
#if defined(__AVX512F__) || defined(__aarch64__)
    case 2:
      return nearest_tiles<2, 12>(args);
    case 3:
      return nearest_tiles<3, 8>(args);
    default:
      return nearest_tiles<4, 6>(args);
#else
    default:
      return nearest_tiles<2, 6>(args);
#endif
  }
}
