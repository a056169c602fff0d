// What the tests of weights/ share: tensors of every dtype with telling bits, goldens, and the check of a
// broken file.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "kernels/tensor/error.h"
#include "kernels/tensor/file.h"
#include "kernels/tensor/named_tensors.h"
#include "kernels/tensor/random.h"
#include "weights/byte_source.h"

namespace panda::weights::test {

inline constexpr DType kAllDTypes[] = {DType::kF64, DType::kF32, DType::kF16, DType::kBF16, DType::kI64,
                                       DType::kI32, DType::kI16, DType::kI8,  DType::kU8,   DType::kBool};

inline std::string golden(const std::string& name) {
  return std::string(PANDA_SOURCE_DIR) + "/tests/golden/weights/" + name;
}

inline std::vector<uint8_t> golden_bytes(const std::string& name) {
  return read_file(golden(name));
}

/// Any bit pattern (NaN payloads, infinities, subnormals included); bools are 0 and 1.
inline Tensor random_bits(DType dtype, const Shape& shape, uint64_t seed) {
  Tensor tensor(host(), dtype, shape, "test");
  Random random(seed);
  auto* bytes = static_cast<uint8_t*>(tensor.view().raw());
  for (int64_t i = 0; i < tensor.bytes(); ++i) {
    const auto value = static_cast<uint8_t>(random.next_u32());
    bytes[i] = dtype == DType::kBool ? value & 1 : value;
  }
  return tensor;
}

inline std::vector<uint8_t> bytes_of(const ConstTensorView& tensor) {
  const auto* begin = static_cast<const uint8_t*>(tensor.raw());
  return begin == nullptr ? std::vector<uint8_t>() : std::vector<uint8_t>(begin, begin + tensor.bytes());
}

inline void expect_same(const ConstTensorView& got, const ConstTensorView& expected) {
  EXPECT_EQ(got.dtype(), expected.dtype());
  ASSERT_EQ(got.shape(), expected.shape());
  EXPECT_EQ(bytes_of(got), bytes_of(expected));
}

inline std::vector<uint8_t> to_bytes(const std::string& text) {
  return {text.begin(), text.end()};
}

/// Reads everything a container offers and checks that list, contains and load agree.
inline void load_everything(const NamedTensors& tensors) {
  for (const TensorInfo& info : tensors.list()) {
    ASSERT_TRUE(tensors.contains(info.name));
    const Tensor tensor = tensors.load(info.name);
    ASSERT_EQ(tensor.shape(), info.shape);
    ASSERT_EQ(tensor.dtype(), info.dtype);
  }
}

/// The error's message if `action` throws one of ours; "" if it does not throw. Anything else thrown fails
/// the test.
inline std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const InternalError& error) {
    ADD_FAILURE() << "our own mistake: " << error.what();
    return error.what();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_FALSE(message.empty());
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message;
  } catch (const std::exception& error) {
    ADD_FAILURE() << "not one of our errors: " << error.what();
    return error.what();
  }
  return "";
}

#define EXPECT_ERROR_CONTAINS(action, part)                                                                \
  do {                                                                                                     \
    const std::string message_ = ::panda::weights::test::error_of([&] { (void)(action); });                \
    EXPECT_NE(message_, "") << "no error from " #action;                                                   \
    EXPECT_NE(message_.find(part), std::string::npos) << "'" << message_ << "' has no '" << (part) << "'"; \
  } while (false)

}  // namespace panda::weights::test
