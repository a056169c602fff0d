// add_rows: sums of rows that lie anywhere, with the sums of a strip of columns in registers. Rows come from
// memory, so those that are next are asked for in time.

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kAddedVectors = 16;
#else
constexpr int kAddedVectors = 8;
#endif

/// The columns of kVectors vectors.
template <int kVectors>
void add_strip(const AddRowsArgs& args, int64_t first) {
  constexpr int64_t kAhead = 8;
  constexpr int64_t kFloatsPerLine = 16;
  constexpr int64_t kColumns = kVectors * kDoubleLanes;
  double* const sums = args.sums + first;
  const float* const x = args.x + first;
  VD sum[kVectors];
#pragma GCC unroll 16
  for (int j = 0; j < kVectors; ++j) sum[j] = load_double(sums + j * kDoubleLanes);
  for (int64_t m = 0; m < args.count; ++m) {
    if (m + kAhead < args.count) {
      const float* const next = x + args.members[m + kAhead] * args.stride;
      for (int64_t j = 0; j < kColumns; j += kFloatsPerLine) __builtin_prefetch(next + j);
    }
    const int64_t row = args.members[m];
    const double weight = args.weights == nullptr ? 1.0 : static_cast<double>(args.weights[row]);
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) sum[j] += weight * widen(x + row * args.stride + j * kDoubleLanes);
  }
#pragma GCC unroll 16
  for (int j = 0; j < kVectors; ++j) *reinterpret_cast<VDUnaligned*>(sums + j * kDoubleLanes) = sum[j];
}

template <int kVectors>
int64_t add_strips(const AddRowsArgs& args, int64_t first) {
  for (; first + kVectors * kDoubleLanes <= args.columns; first += kVectors * kDoubleLanes)
    add_strip<kVectors>(args, first);
  return first;
}

void add_rows(const AddRowsArgs& args) {
  count_call();
  int64_t first = add_strips<kAddedVectors>(args, 0);
  first = add_strips<kAddedVectors / 4>(args, first);
  first = add_strips<1>(args, first);
  for (; first < args.columns; ++first) {
    double sum = args.sums[first];
    for (int64_t m = 0; m < args.count; ++m) {
      const int64_t row = args.members[m];
      const double weight = args.weights == nullptr ? 1.0 : static_cast<double>(args.weights[row]);
      sum += weight * static_cast<double>(args.x[row * args.stride + first]);
    }
    args.sums[first] = sum;
  }
}

/// Two sums, two numbers of the grid and what becomes of an element are in registers.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kExactVectors = 4;
#else
constexpr int kExactVectors = 2;
#endif

/// Rows that are added strip by strip before the next ones, and asked for meanwhile.
constexpr int64_t kExactRows = 16;

/// Members [begin, end), the columns of kVectors vectors.
template <int kVectors>
void add_strip_exact(const AddRowsExactArgs& args, int64_t first, int64_t begin, int64_t end) {
  const float* const x = args.x + first;
  const double sign = args.subtract ? -1 : 1;
  VD coarse_grid[kVectors];
  VD fine_grid[kVectors];
  VD coarse_sum[kVectors];
  VD fine_sum[kVectors];
#pragma GCC unroll 4
  for (int j = 0; j < kVectors; ++j) {
    coarse_grid[j] = load_double(args.grid + first + j * kDoubleLanes);
    fine_grid[j] = load_double(args.fine_grid + first + j * kDoubleLanes);
    coarse_sum[j] = load_double(args.sums + first + j * kDoubleLanes);
    fine_sum[j] = load_double(args.fine_sums + first + j * kDoubleLanes);
  }
  for (int64_t m = begin; m < end; ++m) {
    if (m + kExactRows < args.count) {
      const float* const next = x + args.members[m + kExactRows] * args.stride;
      for (int64_t j = 0; j < kVectors * kDoubleLanes; j += 16) __builtin_prefetch(next + j);
    }
    const int64_t row = args.members[m];
    // What is nearest to -v is minus what is nearest to v, ties to even included: the sign may come first.
    const double weight = args.weights == nullptr ? sign : sign * static_cast<double>(args.weights[row]);
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      const VD v = weight * widen(x + row * args.stride + j * kDoubleLanes);
      const VD coarse = (v + coarse_grid[j]) - coarse_grid[j];
      coarse_sum[j] += coarse;
      fine_sum[j] += ((v - coarse) + fine_grid[j]) - fine_grid[j];
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < kVectors; ++j) {
    *reinterpret_cast<VDUnaligned*>(args.sums + first + j * kDoubleLanes) = coarse_sum[j];
    *reinterpret_cast<VDUnaligned*>(args.fine_sums + first + j * kDoubleLanes) = fine_sum[j];
  }
}

void add_rows_exact(const AddRowsExactArgs& args) {
  count_call();
  const double sign = args.subtract ? -1 : 1;
  for (int64_t begin = 0; begin < args.count; begin += kExactRows) {
    const int64_t end = begin + kExactRows < args.count ? begin + kExactRows : args.count;
    int64_t first = 0;
    for (; first + kExactVectors * kDoubleLanes <= args.columns; first += kExactVectors * kDoubleLanes)
      add_strip_exact<kExactVectors>(args, first, begin, end);
    for (; first + kDoubleLanes <= args.columns; first += kDoubleLanes)
      add_strip_exact<1>(args, first, begin, end);
    for (; first < args.columns; ++first) {
      for (int64_t m = begin; m < end; ++m) {
        const int64_t row = args.members[m];
        const double weight = args.weights == nullptr ? sign : sign * static_cast<double>(args.weights[row]);
        const double v = weight * static_cast<double>(args.x[row * args.stride + first]);
        const double coarse = (v + args.grid[first]) - args.grid[first];
        args.sums[first] += coarse;
        args.fine_sums[first] += ((v - coarse) + args.fine_grid[first]) - args.fine_grid[first];
      }
    }
  }
}
