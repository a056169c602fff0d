// For the cpu device's tests: devices of every instruction set, seeded data, and comparison with the
// reference device.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cpu/cpu_device.h"
#include "kernels/elementwise.h"
#include "kernels/reference/reference_device.h"
#include "kernels/tensor/random.h"

namespace panda::kernels::cpu {

inline std::vector<std::unique_ptr<CpuDevice>> all_devices(const std::vector<int>& thread_counts = {2}) {
  std::vector<std::unique_ptr<CpuDevice>> devices;
  for (const Isa isa : supported_isas()) {
    for (const int threads : thread_counts) devices.push_back(std::make_unique<CpuDevice>(threads, isa));
  }
  return devices;
}

inline Device& reference_device() {
  static reference::ReferenceDevice device;
  return device;
}

/// Deterministic values in [-1, 1), or small integers in [-4, 4], whose sums f32 holds exactly.
enum class Values { kReal, kSmallIntegers };
inline std::vector<float> values(int64_t count, uint64_t seed, Values kind = Values::kReal) {
  std::vector<float> result(static_cast<size_t>(count));
  uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
  for (float& value : result) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    const auto bits = static_cast<double>(state >> 40);
    value = kind == Values::kReal ? static_cast<float>(bits * 0x1p-23 - 1)
                                  : static_cast<float>(static_cast<int>(bits) % 9 - 4);
  }
  return result;
}

/// A tensor on `device` in `layout` with the given dense elements; padding zero. `misalign` puts it one float
/// past alignment.
inline Tensor on_device(Device& device, const Shape& shape, const std::vector<float>& dense,
                        Layout layout = Layout::kDense) {
  Tensor tensor(device, DType::kF32, shape, "test", layout);
  if (tensor.bytes() == 0) return tensor;
  std::memset(tensor.data<float>(), 0, static_cast<size_t>(tensor.bytes()));
  if (layout == Layout::kDense) {
    std::memcpy(tensor.data<float>(), dense.data(), dense.size() * sizeof(float));
    return tensor;
  }
  size_t i = 0;
  for (int64_t n = 0; n < shape[0]; ++n)
    for (int64_t c = 0; c < shape[1]; ++c)
      for (int64_t h = 0; h < shape[2]; ++h)
        for (int64_t w = 0; w < shape[3]; ++w)
          tensor.data<float>()[image_offset(shape, layout, n, c, h, w)] = dense[i++];
  return tensor;
}

/// A tensor full of NaN, so that an element nobody wrote is seen.
inline Tensor unwritten(Device& device, const Shape& shape, Layout layout = Layout::kDense) {
  Tensor tensor(device, DType::kF32, shape, "test", layout);
  const int64_t count = stored_numel(shape, layout);
  for (int64_t i = 0; i < count; ++i) tensor.data<float>()[i] = std::numeric_limits<float>::quiet_NaN();
  return tensor;
}

/// The elements in dense order; fails the test if a padding element of the layout is not zero.
inline std::vector<float> dense_of(const Tensor& tensor) {
  const Shape& shape = tensor.shape();
  const auto* data = tensor.data<float>();
  if (tensor.layout() == Layout::kDense) return {data, data + shape.numel()};
  std::vector<float> dense;
  for (int64_t n = 0; n < shape[0]; ++n)
    for (int64_t c = 0; c < stored_channels(shape, tensor.layout()); ++c)
      for (int64_t h = 0; h < shape[2]; ++h)
        for (int64_t w = 0; w < shape[3]; ++w) {
          const float value = data[image_offset(shape, tensor.layout(), n, c, h, w)];
          if (c < shape[1]) {
            dense.push_back(value);
          } else {
            EXPECT_EQ(value, 0.0f) << "padding channel " << c;
          }
        }
  return dense;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

/// |got - want| <= tolerance[i] for every element; NaN only where NaN is wanted.
inline void expect_within(const std::vector<float>& got, const std::vector<float>& want,
                          const std::vector<float>& tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(want[i]) && std::isnan(got[i])) continue;
    if (got[i] == want[i]) continue;
    const double error = std::abs(double{got[i]} - double{want[i]});
    ASSERT_TRUE(error <= double{tolerance[i]})
        << what << ": element " << i << " is " << got[i] << ", expected " << want[i] << ", error " << error
        << " > " << tolerance[i];
  }
}

}  // namespace panda::kernels::cpu
