// What decides whether a pair is kept, made once for a panel and a block of queries.

PANDA_INLINE double clamped(double value, double low, double high) {
  value = value < low ? low : value;
  return value > high ? high : value;
}

/// c * inverse, rounded down, and the thresholds, rounded up; both kept within ranges in which clamping keeps
/// pairs and no sum overflows (docs/derivations/knn_certificate.md, "Thresholds").
template <KnnCode kCode>
PANDA_INLINE void make_thresholds(const KnnFilterArgs& a, int32_t* c) {
  if (kCode == KnnCode::kF32) {
    for (int j = 0; j < kKnnPanel; ++j) {
      const double value = clamped(a.c[j] * a.inverse, 0, 1e37);
      c[j] = __builtin_bit_cast(int32_t, static_cast<float>(value * (1 - 0x1p-22)));
    }
    float* thresholds = reinterpret_cast<float*>(a.thresholds);
    for (int64_t i = 0; i < a.query_count; ++i) {
      double value = (a.base[i] + (a.radius * a.beta[i] + a.reach * a.epsilon[i])) * a.inverse;
      value = clamped(value, -1e37, 1e38);
      value = value + __builtin_fabs(value) * 0x1p-22 + 0x1p-90;
      thresholds[i] = static_cast<float>(value);
    }
  } else {
    for (int j = 0; j < kKnnPanel; ++j) {
      const double value = clamped(a.c[j] * a.inverse - 1, 0, 0x1p29 - 1);
      c[j] = static_cast<int32_t>(value);
    }
    for (int64_t i = 0; i < a.query_count; ++i) {
      double value = (a.base[i] + (a.radius * a.beta[i] + a.reach * a.epsilon[i])) * a.inverse;
      value = clamped(value, -0x1p30, 0x1p30 - 8) + 3;
      const auto whole = static_cast<int32_t>(value);
      a.thresholds[i] =
          kCode == KnnCode::kI8 || kCode == KnnCode::kI8Pair
              ? static_cast<int32_t>(static_cast<uint32_t>(whole) - static_cast<uint32_t>(a.bias[i]))
              : whole;
    }
  }
}
