// What training needs beside convolution: sums over a channel, gradients of element-wise functions, pooling
// and batch norm, parameter updates. Sums and updates are in f64.

PANDA_INLINE VD splat_double(double value) {
  return value - VD{};
}

void channel_products(const float* a, const double* shift_a, const float* b, const double* shift_b,
                      int64_t pixels, double* sums) {
  count_call();
  for (int c = 0; c < 16; c += kDoubleLanes) {
    const VD shift0 = load_double(shift_a + c);
    const VD shift1 = load_double(shift_b + c);
    VD sum = load_double(sums + c);
    for (int64_t i = 0; i < pixels; ++i)
      sum += (widen(a + i * 16 + c) - shift0) * (widen(b + i * 16 + c) - shift1);
    *reinterpret_cast<VDUnaligned*>(sums + c) = sum;
  }
}

void batch_norm_gradient(const BatchNormGradientArgs& a) {
  count_call();
  for (int c = 0; c < 16; c += kLanes) {
    const V of_gradient = load(a.of_gradient + c);
    const V of_deviation = load(a.of_deviation + c);
    const V constant = load(a.constant + c);
    const V mean = load(a.mean + c);
    for (int64_t i = 0; i < a.pixels; ++i) {
      const int64_t at = i * 16 + c;
      V value = load(a.dL_dy + at) * of_gradient + constant;
      if (a.x != nullptr) value += (load(a.x + at) - mean) * of_deviation;
      store(a.dL_dx + at, a.accumulate ? load(a.dL_dx + at) + value : value);
    }
  }
}

/// dL_dx (+)= dL_dy * derivative.
template <typename Derivative>
PANDA_INLINE void gradient_loop(const float* y, const float* dL_dy, float* dL_dx, bool accumulate,
                                int64_t count, Derivative derivative) {
  if (accumulate) {
    for (int64_t i = 0; i < count; ++i) dL_dx[i] += derivative(y[i], dL_dy[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) dL_dx[i] = derivative(y[i], dL_dy[i]);
  }
}

void unary_gradient(SimdGradient op, const float* y, const float* dL_dy, float* dL_dx, float slope,
                    bool accumulate, int64_t count) {
  count_call();
  switch (op) {
    case SimdGradient::kRelu:
      return gradient_loop(y, dL_dy, dL_dx, accumulate, count,
                           [](float v, float g) { return v > 0 ? g : 0.0f; });
    case SimdGradient::kLeakyRelu:
      return gradient_loop(y, dL_dy, dL_dx, accumulate, count,
                           [=](float v, float g) { return v >= 0 ? g : slope * g; });
    case SimdGradient::kElu:
      return gradient_loop(y, dL_dy, dL_dx, accumulate, count,
                           [=](float v, float g) { return v >= 0 ? g : (v + slope) * g; });
    case SimdGradient::kSigmoid:
      return gradient_loop(y, dL_dy, dL_dx, accumulate, count,
                           [](float v, float g) { return v * (1 - v) * g; });
    case SimdGradient::kExp:
      return gradient_loop(y, dL_dy, dL_dx, accumulate, count, [](float v, float g) { return v * g; });
  }
}

/// One row of outputs gives its gradient to the rows of the window.
template <bool kMax>
PANDA_INLINE void pool_gradient_row(const PoolGradientRowArgs& a) {
  count_call();
  const int64_t h_first = a.h_begin < 0 ? 0 : a.h_begin;
  const int64_t h_last = a.h_begin + a.window_h < a.h ? a.h_begin + a.window_h : a.h;
  const V share = splat(static_cast<float>(a.window_h * a.window_w));
  for (int64_t q = 0; q < a.count; ++q) {
    const int64_t w_begin = q * a.stride_w - a.pad_w;
    const int64_t w_first = w_begin < 0 ? 0 : w_begin;
    const int64_t w_last = w_begin + a.window_w < a.w ? w_begin + a.window_w : a.w;
    for (int c = 0; c < 16; c += kLanes) {
      const V gradient = load(a.dL_dy + q * 16 + c);
      V largest = splat(-__builtin_inff());
      VI best = VI{} - 1;
      if (kMax) {
        int32_t index = 0;
        for (int64_t h = h_first; h < h_last; ++h) {
          for (int64_t w = w_first; w < w_last; ++w, ++index) {
            const V value = load(a.x + (h * a.w + w) * 16 + c);
            const VI better = (value > largest) | (value != value) | (best < 0);
            largest = better ? value : largest;
            best = better ? VI{} + index : best;
          }
        }
      }
      int32_t index = 0;
      for (int64_t h = h_first; h < h_last; ++h) {
        for (int64_t w = w_first; w < w_last; ++w, ++index) {
          float* to = a.dL_dx + (h * a.w + w) * 16 + c;
          if (kMax) {
            store(to, load(to) + (best == VI{} + index ? gradient : V{}));
          } else {
            store(to, load(to) + gradient / share);
          }
        }
      }
    }
  }
}

void max_pool_gradient_row(const PoolGradientRowArgs& a) {
  pool_gradient_row<true>(a);
}
void avg_pool_gradient_row(const PoolGradientRowArgs& a) {
  pool_gradient_row<false>(a);
}

void scale(const float* x, double factor, float* y, bool accumulate, int64_t count) {
  count_call();
  if (accumulate) {
    for (int64_t i = 0; i < count; ++i) y[i] = static_cast<float>(y[i] + x[i] * factor);
  } else {
    for (int64_t i = 0; i < count; ++i) y[i] = static_cast<float>(x[i] * factor);
  }
}

/// Sum of 16 lanes in rising order.
PANDA_INLINE double total_of(const double* lanes) {
  double total = 0;
  for (int j = 0; j < 16; ++j) total += lanes[j];
  return total;
}

double dot(const float* a, const float* b, int64_t count) {
  count_call();
  double lanes[16] = {};
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    for (int j = 0; j < 16; ++j) lanes[j] += static_cast<double>(a[i + j]) * b[i + j];
  }
  for (int j = 0; i + j < count; ++j) lanes[j] += static_cast<double>(a[i + j]) * b[i + j];
  return total_of(lanes);
}

/// `count` <= 16 elements from i, lane by lane. Constant 16 in the main loop, so that it vectorises.
template <bool kAnchor, bool kImportance>
PANDA_INLINE void ewc_lanes(const EwcBlockArgs& a, int64_t i, int count, double* norm, double* away_squares) {
  for (int j = 0; j < count; ++j) {
    double g = a.gradient[i + j];
    if (kAnchor) {
      const double away = static_cast<double>(a.theta[i + j]) - a.anchor[i + j];
      const double weighted = kImportance ? a.importance[i + j] * away : away;
      const float moved = static_cast<float>(g + a.strength * weighted);
      a.gradient[i + j] = moved;
      away_squares[j] += weighted * away;
      g = moved;
    }
    norm[j] += g * g;
  }
}

template <bool kAnchor, bool kImportance>
PANDA_INLINE void ewc_of(const EwcBlockArgs& a) {
  double norm[16] = {};
  double away_squares[16] = {};
  int64_t i = 0;
  for (; i + 16 <= a.count; i += 16) ewc_lanes<kAnchor, kImportance>(a, i, 16, norm, away_squares);
  ewc_lanes<kAnchor, kImportance>(a, i, static_cast<int>(a.count - i), norm, away_squares);
  *a.squared_norm = total_of(norm);
  *a.penalty = a.strength / 2 * total_of(away_squares);
}

void ewc_block(const EwcBlockArgs& a) {
  count_call();
  if (a.anchor == nullptr) return ewc_of<false, false>(a);
  if (a.importance == nullptr) return ewc_of<true, false>(a);
  ewc_of<true, true>(a);
}

void sgd_block(const SgdBlockArgs& a) {
  count_call();
  const double momentum = a.first_step ? 0.0 : a.momentum;
  for (int64_t i = 0; i < a.count; ++i) {
    const double g = a.factor * a.gradient[i] + a.decay * a.theta[i];
    const float velocity = static_cast<float>(a.first_step ? g : momentum * a.velocity[i] + g);
    a.velocity[i] = velocity;
    a.theta[i] = static_cast<float>(a.theta[i] - a.rate * velocity);
  }
}

void adam_block(const AdamBlockArgs& a) {
  count_call();
  for (int64_t i = 0; i < a.count; ++i) {
    const double g = a.gradient[i] + a.decay * a.theta[i];
    const float m = static_cast<float>(a.beta1 * a.first_moment[i] + (1 - a.beta1) * g);
    const float v = static_cast<float>(a.beta2 * a.second_moment[i] + (1 - a.beta2) * g * g);
    a.first_moment[i] = m;
    a.second_moment[i] = v;
    const double step = m / a.first_correction / (__builtin_sqrt(v / a.second_correction) + a.epsilon);
    a.theta[i] = static_cast<float>(a.theta[i] - a.rate * step);
  }
}
