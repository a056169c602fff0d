// Vectors to codes: centring, rounding, and what the rounding cost.

PANDA_INLINE double sum_of_16(const double* lanes) {
  double total = 0;
  for (int j = 0; j < 16; ++j) total += lanes[j];
  return total;
}

uint32_t largest_magnitude(const float* x, int64_t d) {
  count_call();
  uint32_t largest[16] = {};
  int64_t i = 0;
  for (; i + 16 <= d; i += 16) {
    uint32_t bits[16];
    __builtin_memcpy(bits, x + i, sizeof bits);
    for (int j = 0; j < 16; ++j) {
      const uint32_t magnitude = bits[j] & 0x7fffffffu;
      largest[j] = magnitude > largest[j] ? magnitude : largest[j];
    }
  }
  for (int j = 0; i + j < d; ++j) {
    const uint32_t magnitude = __builtin_bit_cast(uint32_t, x[i + j]) & 0x7fffffffu;
    largest[j] = magnitude > largest[j] ? magnitude : largest[j];
  }
  uint32_t result = 0;
  for (int j = 0; j < 16; ++j) result = largest[j] > result ? largest[j] : result;
  return result;
}

/// No term meets more than d / 16 + 24 additions: part of the error bound, on any instruction set.
PANDA_INLINE float squared_distance(const float* q, const float* x, int64_t d) {
  constexpr int kSums = 4;
  V sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums * kLanes <= d; i += kSums * kLanes) {
#pragma GCC unroll 4
    for (int j = 0; j < kSums; ++j) {
      const V difference = load(q + i + j * kLanes) - load(x + i + j * kLanes);
      sums[j] += difference * difference;
    }
  }
  for (; i + kLanes <= d; i += kLanes) {
    const V difference = load(q + i) - load(x + i);
    sums[0] += difference * difference;
  }
  float tail = 0;
  for (; i < d; ++i) {
    const float difference = q[i] - x[i];
    tail += difference * difference;
  }
  float lanes[kLanes];
  store(lanes, (sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (int half = kLanes / 2; half >= 1; half /= 2) {
    for (int j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  }
  return lanes[0] + tail;
}

void squared_distances(const float* query, const float* const* rows, int64_t count, int64_t d,
                       float* results) {
  count_call();
  for (int64_t i = 0; i < count; ++i) results[i] = squared_distance(query, rows[i], d);
}

double center_row(const float* x, const double* center, double factor, int64_t d, double* y,
                  double* sum_of_squares) {
  count_call();
  double squares[16] = {};
  double largest[16] = {};
  int64_t i = 0;
  for (; i + 16 <= d; i += 16) {
    for (int j = 0; j < 16; ++j) {
      const double value = static_cast<double>(x[i + j]) * factor - center[i + j];
      const double magnitude = __builtin_fabs(value);
      y[i + j] = value;
      squares[j] += value * value;
      largest[j] = magnitude > largest[j] ? magnitude : largest[j];
    }
  }
  for (int j = 0; i + j < d; ++j) {
    const double value = static_cast<double>(x[i + j]) * factor - center[i + j];
    const double magnitude = __builtin_fabs(value);
    y[i + j] = value;
    squares[j] += value * value;
    largest[j] = magnitude > largest[j] ? magnitude : largest[j];
  }
  *sum_of_squares = sum_of_16(squares);
  double result = 0;
  for (int j = 0; j < 16; ++j) result = largest[j] > result ? largest[j] : result;
  return result;
}

/// To the nearest integer in [-limit - 1, limit]: adding and subtracting 1.5 * 2^52 rounds.
PANDA_INLINE double rounded(double value, double limit) {
  constexpr double kRound = 6755399441055744.0;
  value = value < -limit - 1 ? -limit - 1 : value;
  value = value > limit ? limit : value;
  return (value + kRound) - kRound;
}

void encode_row(KnnCode code, const double* y, double inverse_scale, int64_t d, void* codes) {
  switch (code) {
    case KnnCode::kF32:
      for (int64_t i = 0; i < d; ++i)
        static_cast<float*>(codes)[i] = static_cast<float>(y[i] * inverse_scale);
      return;
    case KnnCode::kI8Pair:  // as one number
    case KnnCode::kI16:
      for (int64_t i = 0; i < d; ++i)
        static_cast<int16_t*>(codes)[i] =
            static_cast<int16_t>(static_cast<int32_t>(rounded(y[i] * inverse_scale, 32767)));
      return;
    case KnnCode::kI8:
      for (int64_t i = 0; i < d; ++i)
        static_cast<int8_t*>(codes)[i] =
            static_cast<int8_t>(static_cast<int32_t>(rounded(y[i] * inverse_scale, 127)));
      return;
  }
}

template <typename Code>
PANDA_INLINE double code_error_of(const double* y, double scale, const Code* codes, int64_t d,
                                  double* codes_squared) {
  double errors[16] = {};
  double squares[16] = {};
  int64_t i = 0;
  for (; i + 16 <= d; i += 16) {
    for (int j = 0; j < 16; ++j) {
      const double value = static_cast<double>(codes[i + j]);
      const double error = y[i + j] - scale * value;
      errors[j] += error * error;
      squares[j] += value * value;
    }
  }
  for (int j = 0; i + j < d; ++j) {
    const double value = static_cast<double>(codes[i + j]);
    const double error = y[i + j] - scale * value;
    errors[j] += error * error;
    squares[j] += value * value;
  }
  *codes_squared = sum_of_16(squares);
  return sum_of_16(errors);
}

double code_error(KnnCode code, const double* y, double scale, const void* codes, int64_t d,
                  double* codes_squared) {
  switch (code) {
    case KnnCode::kF32:
      return code_error_of(y, scale, static_cast<const float*>(codes), d, codes_squared);
    case KnnCode::kI8Pair:
    case KnnCode::kI16:
      return code_error_of(y, scale, static_cast<const int16_t*>(codes), d, codes_squared);
    case KnnCode::kI8:
      return code_error_of(y, scale, static_cast<const int8_t*>(codes), d, codes_squared);
  }
  return 0;
}

template <typename Code>
PANDA_INLINE uint32_t code_sum_of(const Code* codes, int64_t d) {
  uint32_t sum = 0;
  for (int64_t i = 0; i < d; ++i) sum += static_cast<uint32_t>(static_cast<int32_t>(codes[i]));
  return sum;
}

uint32_t code_sum(KnnCode code, const void* codes, int64_t d) {
  switch (code) {
    case KnnCode::kF32:
      return 0;
    case KnnCode::kI8Pair:
    case KnnCode::kI16:
      return code_sum_of(static_cast<const int16_t*>(codes), d);
    case KnnCode::kI8:
      return code_sum_of(static_cast<const int8_t*>(codes), d);
  }
  return 0;
}
