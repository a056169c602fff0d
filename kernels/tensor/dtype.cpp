#include "kernels/tensor/dtype.h"

#include <array>

#include "kernels/tensor/error.h"

namespace panda {
namespace {

struct DTypeFacts {
  DType dtype;
  const char* name;
  int64_t bytes;
  bool is_float;
};

constexpr std::array<DTypeFacts, 10> kFacts = {{{DType::kF64, "f64", 8, true},
                                                {DType::kF32, "f32", 4, true},
                                                {DType::kF16, "f16", 2, true},
                                                {DType::kBF16, "bf16", 2, true},
                                                {DType::kI64, "i64", 8, false},
                                                {DType::kI32, "i32", 4, false},
                                                {DType::kI16, "i16", 2, false},
                                                {DType::kI8, "i8", 1, false},
                                                {DType::kU8, "u8", 1, false},
                                                {DType::kBool, "bool", 1, false}}};

const DTypeFacts& facts(DType dtype) {
  const auto index = static_cast<size_t>(dtype);
  PANDA_INTERNAL_ASSERT(index < kFacts.size() && kFacts[index].dtype == dtype, "dtype ", index);
  return kFacts[index];
}

}  // namespace

int64_t dtype_bytes(DType dtype) {
  return facts(dtype).bytes;
}
const char* dtype_name(DType dtype) {
  return facts(dtype).name;
}
bool dtype_is_float(DType dtype) {
  return facts(dtype).is_float;
}

DType dtype_from_name(const std::string& name) {
  for (const DTypeFacts& entry : kFacts) {
    if (name == entry.name) return entry.dtype;
  }
  throw InvalidArgument(text("unknown dtype '", printable(name), "'"));
}

namespace {

constexpr const char* kPrecisionNames[] = {"f32", "tf32", "f16", "bf16"};

}  // namespace

const char* precision_name(Precision precision) {
  return kPrecisionNames[static_cast<size_t>(precision)];
}

Precision precision_from_name(const std::string& name) {
  for (size_t i = 0; i < std::size(kPrecisionNames); ++i) {
    if (name == kPrecisionNames[i]) return static_cast<Precision>(i);
  }
  throw InvalidArgument(text("unknown precision '", printable(name), "', expected f32, tf32, f16 or bf16"));
}

DType activation_dtype(Precision precision) {
  if (precision == Precision::kF16) return DType::kF16;
  if (precision == Precision::kBF16) return DType::kBF16;
  return DType::kF32;
}

float to_float(Float16 value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  const uint32_t exponent = (value.bits >> 10) & 0x1fu;
  const uint32_t mantissa = value.bits & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;  // subnormal: mantissa * 2^-24, exact
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

Float16 to_float16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu))};
  if (magnitude >= 0x477ff000u)
    return {static_cast<uint16_t>(sign | 0x7c00u)};  // >= 65520 rounds to infinity
  if (magnitude < 0x38800000u) {
    // Below 2^-14 the result is subnormal: adding 0.5 aligns its last bit with the float's, and rounds to
    // nearest even.
    const float aligned = std::bit_cast<float>(magnitude) + 0.5f;
    return {static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(aligned) - 0x3f000000u))};
  }
  const uint32_t round = 0xfffu + ((magnitude >> 13) & 1u);
  return {static_cast<uint16_t>(sign | ((magnitude + round - 0x38000000u) >> 13))};
}

BFloat16 to_bfloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

}  // namespace panda
