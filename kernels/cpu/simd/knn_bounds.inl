// From products to bounds, and a threshold among many numbers: the table of a small gallery
// (kernels/cpu/knn_table.cpp). Loops of a fixed count, which the compiler vectorises.

template <typename Word>
PANDA_INLINE void bounds_of(const KnnBoundsArgs& a, const Word* words) {
  const double query_magnitude = __builtin_fabs(a.query_high);
  for (int j = 0; j < kKnnPanel; ++j) {
    const double c = a.c[j];
    const double product = a.unit * static_cast<double>(words[j]);
    const double error = a.beta * a.e[j] + a.epsilon * a.n[j] + a.underflow;
    const double slack = a.slack * (query_magnitude + c + __builtin_fabs(product) + error);
    a.low[j] = a.query_low + c - product - error - slack;
    a.high[j] = (a.query_high + c * a.c_up - product + error + slack) * a.rounding;
  }
}

void bounds(const KnnBoundsArgs& a) {
  count_call();
  if (a.code == KnnCode::kF32) {
    float words[kKnnPanel];
    __builtin_memcpy(words, a.words, sizeof words);
    bounds_of(a, words);
  } else {
    bounds_of(a, a.words);
  }
}

PANDA_INLINE int64_t count_at_most(const double* values, int64_t count, double limit) {
  int64_t counts[16] = {};
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    for (int j = 0; j < 16; ++j) counts[j] += values[i + j] <= limit ? 1 : 0;
  }
  int64_t total = 0;
  for (; i < count; ++i) total += values[i] <= limit ? 1 : 0;
  for (int j = 0; j < 16; ++j) total += counts[j];
  return total;
}

/// Integers in the order of the numbers they stand for; its own inverse.
PANDA_INLINE int64_t ordered_bits(int64_t bits) {
  return bits < 0 ? bits ^ INT64_MAX : bits;
}

/// The smallest of every `groups`-th value, from each of the first `groups` on.
PANDA_INLINE void group_minima(const double* values, int64_t count, int64_t groups, double* minima) {
  for (int64_t j = 0; j < groups; ++j) minima[j] = values[j];
  int64_t i = groups;
  for (; i + groups <= count; i += groups) {
    for (int64_t j = 0; j < groups; ++j) minima[j] = values[i + j] < minima[j] ? values[i + j] : minima[j];
  }
  for (int64_t j = 0; i + j < count; ++j) minima[j] = values[i + j] < minima[j] ? values[i + j] : minima[j];
}

/// By bisection of the numbers' ordered bits: at most 64 passes over the values, usually less than ten. Where
/// few are wanted the passes are over the minima of groups: each is a value of its own, and few of the k
/// smallest share one.
double about_kth(const double* values, int64_t count, int64_t k) {
  count_call();
  constexpr int64_t kMostGroups = 512;
  double minima[kMostGroups];
  int64_t groups = 64;
  while (groups < 4 * k && groups <= kMostGroups) groups *= 2;
  if (groups <= kMostGroups && 2 * groups <= count) {
    group_minima(values, count, groups, minima);
    values = minima;
    count = groups;
  }
  double least[16];
  double greatest[16];
  for (int j = 0; j < 16; ++j) least[j] = greatest[j] = values[0];
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    for (int j = 0; j < 16; ++j) {
      const double value = values[i + j];
      least[j] = value < least[j] ? value : least[j];
      greatest[j] = value > greatest[j] ? value : greatest[j];
    }
  }
  for (; i < count; ++i) {
    least[0] = values[i] < least[0] ? values[i] : least[0];
    greatest[0] = values[i] > greatest[0] ? values[i] : greatest[0];
  }
  for (int j = 1; j < 16; ++j) {
    least[0] = least[j] < least[0] ? least[j] : least[0];
    greatest[0] = greatest[j] > greatest[0] ? greatest[j] : greatest[0];
  }
  // At least k values are at most `to`, and fewer than k below `from`.
  int64_t from = ordered_bits(__builtin_bit_cast(int64_t, least[0]));
  int64_t to = ordered_bits(__builtin_bit_cast(int64_t, greatest[0]));
  // A pass costs less than measuring a few rows in vain.
  const int64_t enough = k + k / 32 + 1;
  while (from < to) {
    const uint64_t span = static_cast<uint64_t>(to) - static_cast<uint64_t>(from);
    const auto middle = static_cast<int64_t>(static_cast<uint64_t>(from) + span / 2);
    const int64_t below = count_at_most(values, count, __builtin_bit_cast(double, ordered_bits(middle)));
    if (below < k) {
      from = middle + 1;
    } else {
      to = middle;
      if (below <= enough) break;
    }
  }
  return __builtin_bit_cast(double, ordered_bits(to));
}

/// Places of the values that are at most `limit`, rising; returns how many.
int64_t places_at_most(const double* values, int64_t count, double limit, int32_t* places) {
  count_call();
  int64_t found = 0;
  int64_t i = 0;
#if defined(__AVX512F__)
  const __m512d most = _mm512_set1_pd(limit);
  for (; i + 16 <= count; i += 16) {
    const uint32_t low = _mm512_cmp_pd_mask(_mm512_loadu_pd(values + i), most, _CMP_LE_OQ);
    const uint32_t high = _mm512_cmp_pd_mask(_mm512_loadu_pd(values + i + 8), most, _CMP_LE_OQ);
    for (uint32_t lanes = low | high << 8; lanes != 0; lanes &= lanes - 1)
      places[found++] = static_cast<int32_t>(i) + __builtin_ctz(lanes);
  }
#endif
  for (; i < count; ++i) {  // without a branch
    places[found] = static_cast<int32_t>(i);
    found += values[i] <= limit ? 1 : 0;
  }
  return found;
}

void ranks(const double* values, int64_t count, int32_t* ranks) {
  count_call();
  constexpr int kVectorsAtOnce = 4;
  constexpr int kAtOnce = kVectorsAtOnce * kDoubleLanes;
  for (int64_t first = 0; first < count; first += kAtOnce) {
    const int64_t now = first + kAtOnce < count ? kAtOnce : count - first;
    double own[kAtOnce] = {};
    for (int64_t i = 0; i < now; ++i) own[i] = values[first + i];
    VD x[kVectorsAtOnce];
    VL less[kVectorsAtOnce] = {};
    for (int t = 0; t < kVectorsAtOnce; ++t) x[t] = load_double(own + t * kDoubleLanes);
#pragma GCC unroll 1
    for (int64_t j = 0; j < count; ++j) {
      const VD y = values[j] - VD{};
#pragma GCC unroll 4
      for (int t = 0; t < kVectorsAtOnce; ++t) less[t] = y < x[t] ? less[t] + 1 : less[t];
    }
    int64_t counts[kAtOnce];
    __builtin_memcpy(counts, less, sizeof counts);
    for (int64_t i = 0; i < now; ++i) ranks[first + i] = static_cast<int32_t>(counts[i]);
  }
}
