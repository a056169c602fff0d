// Element types of tensors, and the 16-bit floats' storage types.
#pragma once

#include <bit>
#include <cstdint>
#include <string>

namespace panda {

enum class DType : uint8_t { kF64, kF32, kF16, kBF16, kI64, kI32, kI16, kI8, kU8, kBool };

[[nodiscard]] int64_t dtype_bytes(DType dtype);
/// "f32", "bf16", "u8", ... as --dtype and the messages spell them.
[[nodiscard]] const char* dtype_name(DType dtype);
/// Inverse of dtype_name; throws InvalidArgument.
[[nodiscard]] DType dtype_from_name(const std::string& name);
[[nodiscard]] bool dtype_is_float(DType dtype);

/// In what numbers a device computes a network (--precision). kF32: full precision throughout. kTf32: f32 in
/// memory, products of operands rounded to 10 mantissa bits. kF16, kBF16: filters and activations in 16 bits.
/// Sums are f32 in all.
enum class Precision : uint8_t { kF32, kTf32, kF16, kBF16 };

[[nodiscard]] const char* precision_name(Precision precision);
/// Inverse of precision_name; throws InvalidArgument.
[[nodiscard]] Precision precision_from_name(const std::string& name);
/// What activations are stored as.
[[nodiscard]] DType activation_dtype(Precision precision);

/// IEEE binary16 and bfloat16 as stored: arithmetic happens in float. Conversion to 16 bits rounds to
/// nearest, ties to even, keeps infinities, overflows to infinity and keeps a NaN a NaN (its payload's top
/// bits, made quiet).
struct Float16 {
  uint16_t bits = 0;
};
struct BFloat16 {
  uint16_t bits = 0;
};

[[nodiscard]] float to_float(Float16 value);
[[nodiscard]] Float16 to_float16(float value);

[[nodiscard]] inline float to_float(BFloat16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}
[[nodiscard]] BFloat16 to_bfloat16(float value);

/// The DType of a C++ element type.
template <typename T>
struct DTypeOf;
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::kF64;
};
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::kF32;
};
template <>
struct DTypeOf<Float16> {
  static constexpr DType value = DType::kF16;
};
template <>
struct DTypeOf<BFloat16> {
  static constexpr DType value = DType::kBF16;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::kI64;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::kI32;
};
template <>
struct DTypeOf<int16_t> {
  static constexpr DType value = DType::kI16;
};
template <>
struct DTypeOf<int8_t> {
  static constexpr DType value = DType::kI8;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::kU8;
};
template <>
struct DTypeOf<bool> {
  static constexpr DType value = DType::kBool;
};

}  // namespace panda
