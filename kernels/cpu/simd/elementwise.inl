// Pooling rows, functions of one and two tensors, exp, reductions and 16-bit floats: plain loops for the
// compiler to vectorise, except where the order of a sum is a promise.

template <bool kMax>
PANDA_INLINE void pool_row(const PoolRowArgs& a) {
  count_call();
  const int64_t h_first = a.h_begin < 0 ? 0 : a.h_begin;
  const int64_t h_last = a.h_begin + a.window_h < a.h ? a.h_begin + a.window_h : a.h;
  const V divisor = splat(static_cast<float>(a.window_h * a.window_w));
  for (int64_t q = 0; q < a.count; ++q) {
    const int64_t w_begin = q * a.stride_w - a.pad_w;
    const int64_t w_first = w_begin < 0 ? 0 : w_begin;
    const int64_t w_last = w_begin + a.window_w < a.w ? w_begin + a.window_w : a.w;
    V result[16 / kLanes];
    for (V& r : result) r = kMax ? splat(-__builtin_inff()) : V{};
    for (int64_t h = h_first; h < h_last; ++h) {
      for (int64_t w = w_first; w < w_last; ++w) {
        for (int j = 0; j < 16 / kLanes; ++j) {
          const V value = load(a.x + (h * a.w + w) * 16 + j * kLanes);
          if (kMax) {
            result[j] = ((value > result[j]) | (value != value)) ? value : result[j];
          } else {
            result[j] += value;
          }
        }
      }
    }
    for (int j = 0; j < 16 / kLanes; ++j)
      store(a.y + q * 16 + j * kLanes, kMax ? result[j] : result[j] / divisor);
  }
}

void max_pool_row(const PoolRowArgs& a) {
  pool_row<true>(a);
}
void avg_pool_row(const PoolRowArgs& a) {
  pool_row<false>(a);
}

/// exp(x) for kDoubleLanes values, relative error < 1e-10, so that rounding to f32 is within 0.5001 ulp:
/// exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln 2 / 2, and the Taylor polynomial of degree 10 (next
/// term 0.35^11 / 11! = 2.4e-13).
PANDA_INLINE VD exp_double(VD x) {
  constexpr double kRound =
      6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer, left in the low bits
  VD clamped = x < VD{} - 200.0 ? VD{} - 200.0 : x;  // below, exp is 0 in f32; above 200, infinite
  clamped = clamped > VD{} + 200.0 ? VD{} + 200.0 : clamped;
  const VD shifted = clamped * 1.4426950408889634 + kRound;
  const VD n = shifted - kRound;
  const VD r = clamped - n * 0.69314718055994530942;
  VD p = VD{} + 1.0 / 3628800;
  p = p * r + 1.0 / 362880;
  p = p * r + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  const VL exponent = (reinterpret_cast<VL>(shifted) << 52) + reinterpret_cast<VL>(VD{} + 1.0);
  return x != x ? x : p * reinterpret_cast<VD>(exponent);
}

PANDA_INLINE void store_rounded(float* p, VD v) {
  *reinterpret_cast<VHalfUnaligned*>(p) = __builtin_convertvector(v, VHalf);
}

/// Calls body(pointer to x, pointer to y) for each kDoubleLanes elements; the last ones through buffers.
template <typename Body>
PANDA_INLINE void for_each_double_vector(const float* x, float* y, int64_t count, Body body) {
  int64_t i = 0;
  for (; i + kDoubleLanes <= count; i += kDoubleLanes) body(x + i, y + i, i);
  if (i == count) return;
  float in[kDoubleLanes] = {};
  float out[kDoubleLanes];
  for (int64_t j = i; j < count; ++j) in[j - i] = x[j];
  body(in, out, i);
  for (int64_t j = i; j < count; ++j) y[j] = out[j - i];
}

PANDA_INLINE VD sigmoid_double(VD x) {
  const VD magnitude = x < VD{} ? x : -x;  // -|x|: exp never overflows
  const VD e = exp_double(magnitude);
  return (x < VD{} ? e : VD{} + 1.0) / (e + 1.0);
}

void unary(SimdUnary op, const float* x, float* y, int64_t count) {
  count_call();
  switch (op) {
    case SimdUnary::kRelu:
      for (int64_t i = 0; i < count; ++i) y[i] = x[i] < 0 ? 0.0f : x[i];
      return;
    case SimdUnary::kAbs:
      for (int64_t i = 0; i < count; ++i) y[i] = __builtin_fabsf(x[i]);
      return;
    case SimdUnary::kSquare:
      for (int64_t i = 0; i < count; ++i) y[i] = x[i] * x[i];
      return;
    case SimdUnary::kSqrt:
      for (int64_t i = 0; i < count; ++i) y[i] = __builtin_sqrtf(x[i]);
      return;
    case SimdUnary::kExp:
      for_each_double_vector(x, y, count, [](const float* from, float* to, int64_t) {
        store_rounded(to, exp_double(widen(from)));
      });
      return;
    case SimdUnary::kSigmoid:
      for_each_double_vector(x, y, count, [](const float* from, float* to, int64_t) {
        store_rounded(to, sigmoid_double(widen(from)));
      });
      return;
  }
}

void binary(SimdBinary op, const float* a, const float* b, float* y, int64_t count) {
  count_call();
  switch (op) {
    case SimdBinary::kAdd:
      for (int64_t i = 0; i < count; ++i) y[i] = a[i] + b[i];
      return;
    case SimdBinary::kSubtract:
      for (int64_t i = 0; i < count; ++i) y[i] = a[i] - b[i];
      return;
    case SimdBinary::kMultiply:
      for (int64_t i = 0; i < count; ++i) y[i] = a[i] * b[i];
      return;
    case SimdBinary::kDivide:
      for (int64_t i = 0; i < count; ++i) y[i] = a[i] / b[i];
      return;
  }
}

void affine_blocked(const float* x, const float* scale, const float* shift, float* y, int64_t pixels) {
  count_call();
  for (int j = 0; j < 16; j += kLanes) {
    const V s = load(scale + j);
    const V t = load(shift + j);
    for (int64_t i = 0; i < pixels; ++i) store(y + i * 16 + j, load(x + i * 16 + j) * s + t);
  }
}

void affine(const float* x, float scale, float shift, float* y, int64_t count) {
  count_call();
  for (int64_t i = 0; i < count; ++i) y[i] = x[i] * scale + shift;
}

double exp_and_sum(const float* x, float largest, float* y, int64_t count) {
  count_call();
  const VD shift = VD{} + static_cast<double>(largest);
  VD sums[16 / kDoubleLanes] = {};
  for_each_double_vector(x, y, count, [&](const float* from, float* to, int64_t i) {
    VD value = exp_double(widen(from) - shift);
    if (i + kDoubleLanes > count) {  // the buffered end: lanes beyond it add nothing
      for (int j = static_cast<int>(count - i); j < kDoubleLanes; ++j) value[j] = 0;
    }
    sums[i / kDoubleLanes % (16 / kDoubleLanes)] += value;
    store_rounded(to, value);
  });
  double total = 0;
  for (const VD& sum : sums) {
    for (int j = 0; j < kDoubleLanes; ++j) total += sum[j];
  }
  return total;
}

void divide(const float* x, double divisor, float* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<float>(x[i] / divisor);
}

/// results[j] op= x[j], NaN propagating.
template <SimdReduce kOp>
PANDA_INLINE void reduce_step(const float* x, int64_t columns, double* results) {
  for (int64_t j = 0; j < columns; ++j) {
    const double value = x[j];
    if (kOp == SimdReduce::kSum) results[j] += value;
    if (kOp == SimdReduce::kSumOfSquares) results[j] += value * value;
    if (kOp == SimdReduce::kMax)
      results[j] = !(value <= results[j]) && results[j] == results[j] ? value : results[j];
    if (kOp == SimdReduce::kMin)
      results[j] = !(value >= results[j]) && results[j] == results[j] ? value : results[j];
  }
}

template <SimdReduce kOp>
PANDA_INLINE double reduce_line_of(const float* x, int64_t count, double neutral) {
  double lanes[16];
  for (double& lane : lanes) lane = neutral;
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) reduce_step<kOp>(x + i, 16, lanes);
  for (int64_t j = 0; i + j < count; ++j) reduce_step<kOp>(x + i + j, 1, lanes + j);
  double total = lanes[0];
  for (int j = 1; j < 16; ++j) {
    const double lane = lanes[j];
    if (kOp == SimdReduce::kSum || kOp == SimdReduce::kSumOfSquares) total += lane;
    if (kOp == SimdReduce::kMax) total = !(lane <= total) && total == total ? lane : total;
    if (kOp == SimdReduce::kMin) total = !(lane >= total) && total == total ? lane : total;
  }
  return total;
}

double reduce_line(SimdReduce op, const float* x, int64_t count) {
  count_call();
  switch (op) {
    case SimdReduce::kSum:
      return reduce_line_of<SimdReduce::kSum>(x, count, 0);
    case SimdReduce::kSumOfSquares:
      return reduce_line_of<SimdReduce::kSumOfSquares>(x, count, 0);
    case SimdReduce::kMax:
      return reduce_line_of<SimdReduce::kMax>(x, count, -__builtin_inf());
    case SimdReduce::kMin:
      return reduce_line_of<SimdReduce::kMin>(x, count, __builtin_inf());
  }
  return 0;
}

template <SimdReduce kOp>
PANDA_INLINE void reduce_columns_of(const float* x, int64_t count, int64_t stride, int64_t columns,
                                    double* results) {
  for (int64_t i = 0; i < count; ++i) reduce_step<kOp>(x + i * stride, columns, results);
}

void reduce_columns(SimdReduce op, const float* x, int64_t count, int64_t stride, int64_t columns,
                    double* results) {
  count_call();
  switch (op) {
    case SimdReduce::kSum:
      return reduce_columns_of<SimdReduce::kSum>(x, count, stride, columns, results);
    case SimdReduce::kSumOfSquares:
      return reduce_columns_of<SimdReduce::kSumOfSquares>(x, count, stride, columns, results);
    case SimdReduce::kMax:
      return reduce_columns_of<SimdReduce::kMax>(x, count, stride, columns, results);
    case SimdReduce::kMin:
      return reduce_columns_of<SimdReduce::kMin>(x, count, stride, columns, results);
  }
}

PANDA_INLINE float float_of(uint32_t bits) {
  return __builtin_bit_cast(float, bits);
}
PANDA_INLINE uint32_t bits_of(float value) {
  return __builtin_bit_cast(uint32_t, value);
}

// The four conversions below are those of kernels/tensor/dtype.cpp without branches, bit for bit.
void f16_to_f32(const uint16_t* x, float* y, int64_t count) {
  count_call();
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t sign = static_cast<uint32_t>(x[i] & 0x8000u) << 16;
    const uint32_t magnitude = static_cast<uint32_t>(x[i] & 0x7fffu) << 13;
    const uint32_t finite = bits_of(float_of(magnitude) * 0x1p112f);  // exact, subnormals too
    const uint32_t bits = magnitude >= 0x0f800000u ? magnitude + 0x70000000u : finite;
    y[i] = float_of(bits | sign);
  }
}

void f32_to_f16(const float* x, uint16_t* y, int64_t count) {
  count_call();
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = bits_of(x[i]);
    const uint32_t sign = (bits >> 16) & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    const uint32_t subnormal = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u;
    uint32_t half = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
    half = magnitude < 0x38800000u ? subnormal : half;
    half = magnitude >= 0x477ff000u ? 0x7c00u : half;
    half = magnitude > 0x7f800000u ? 0x7e00u | ((magnitude >> 13) & 0x3ffu) : half;
    y[i] = static_cast<uint16_t>(half | sign);
  }
}

void bf16_to_f32(const uint16_t* x, float* y, int64_t count) {
  count_call();
  for (int64_t i = 0; i < count; ++i) y[i] = float_of(static_cast<uint32_t>(x[i]) << 16);
}

void f32_to_bf16(const float* x, uint16_t* y, int64_t count) {
  count_call();
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = bits_of(x[i]);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const uint32_t quiet = (bits >> 16) | 0x40u;
    y[i] = static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
  }
}
