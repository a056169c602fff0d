#include "nn/parameters.h"

#include <bit>
#include <cmath>

namespace panda::nn {

namespace {

float as_float(double value) {
  return static_cast<float>(value);
}
float as_float(Float16 value) {
  return to_float(value);
}
float as_float(BFloat16 value) {
  return to_float(value);
}

template <typename T>
Tensor converted(const Tensor& stored) {
  Tensor result(host(), DType::kF32, stored.shape(), "parameter");
  const T* from = stored.data<T>();
  auto* to = result.data<float>();
  for (int64_t i = 0; i < stored.numel(); ++i) to[i] = as_float(from[i]);
  return result;
}

/// Index of the first element that is NaN or infinite, or -1.
int64_t first_not_finite(const float* values, int64_t count) {
  constexpr uint32_t kExponent = 0x7f800000;
  constexpr int64_t kRun = 4096;  // tested together without a branch per element
  for (int64_t begin = 0; begin < count; begin += kRun) {
    const int64_t end = std::min(begin + kRun, count);
    uint32_t bad = 0;
    for (int64_t i = begin; i < end; ++i)
      bad |= (std::bit_cast<uint32_t>(values[i]) & kExponent) == kExponent ? 1u : 0u;
    if (bad == 0) continue;
    for (int64_t i = begin; i < end; ++i) {
      if (!std::isfinite(values[i])) return i;
    }
  }
  return -1;
}

}  // namespace

Tensor load_f32(const NamedTensors& tensors, const std::string& name, const Shape& expected) {
  Tensor values = tensors.load(name);
  if (!(values.shape() == expected)) {
    throw FormatError(tensors.source(),
                      text(name, " is ", values.view().to_string(), ", expected ", expected));
  }
  switch (values.dtype()) {
    case DType::kF32:
      break;
    case DType::kF64:
      values = converted<double>(values);
      break;
    case DType::kF16:
      values = converted<Float16>(values);
      break;
    case DType::kBF16:
      values = converted<BFloat16>(values);
      break;
    default:
      throw FormatError(tensors.source(), text(name, " is ", values.view().to_string(), ", expected floats"));
  }
  const int64_t bad = first_not_finite(values.data<float>(), values.numel());
  if (bad >= 0) {
    throw FormatError(tensors.source(), text(name, " holds ", values.data<float>()[bad], " at element ", bad,
                                             " of ", values.numel(), ", expected finite values"));
  }
  return values;
}

}  // namespace panda::nn
