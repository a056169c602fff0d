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
