// A tensor with guard bands, for outputs under test: elements and bands are filled with NaN bits before, the
// bands are compared bitwise after. With `misaligned`, the elements begin one element past any vector
// alignment.
#pragma once

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/tensor/tensor.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#elif defined(PANDA_RACE_CHECK)
#include "kernels/simt/race.h"
#endif

namespace panda::test {

enum class Alignment { kAligned, kMisaligned };

class GuardedTensor {
 public:
  GuardedTensor(Device& device, DType dtype, const Shape& shape, Layout layout = Layout::kDense,
                Alignment alignment = Alignment::kAligned)
      : dtype_(dtype),
        shape_(shape),
        layout_(layout),
        begin_(kBand + (alignment == Alignment::kMisaligned ? dtype_bytes(dtype) : 0)),
        bytes_(stored_numel(shape, layout) * dtype_bytes(dtype)),
        buffer_(device, DType::kU8, {begin_ + bytes_ + kBand}, "guarded tensor") {
    device.fill(buffer_.view().raw(), kFill, buffer_.bytes());
    guard_bands(true);
  }

  [[nodiscard]] TensorView view() const {
    return {buffer_.data<uint8_t>() + begin_, dtype_, shape_, buffer_.view().device(), layout_};
  }

  /// "" if nothing outside the tensor was written, else where.
  [[nodiscard]] std::string damage() const {
    const std::vector<uint8_t> bytes = all_bytes();
    for (int64_t i = 0; i < static_cast<int64_t>(bytes.size()); ++i) {
      const bool inside = i >= begin_ && i < begin_ + bytes_;
      if (!inside && bytes[static_cast<size_t>(i)] != kFill) {
        return i < begin_ ? text("byte ", begin_ - i, " before the tensor was written")
                          : text("byte ", i - begin_ - bytes_, " after the tensor was written");
      }
    }
    return "";
  }

 private:
  /// On the emulator, the sanitizers and the race checker report an access to a band itself, reads included.
  void guard_bands([[maybe_unused]] bool guarded) const {
    if (buffer_.view().device().name() != "simt") return;
    [[maybe_unused]] auto* const first = buffer_.data<uint8_t>();
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(first, static_cast<size_t>(buffer_.bytes()));
    if (!guarded) return;
    __asan_poison_memory_region(first, static_cast<size_t>(begin_));
    __asan_poison_memory_region(first + begin_ + bytes_, static_cast<size_t>(kBand));
#elif defined(PANDA_RACE_CHECK)
    if (!guarded) return;
    kernels::simt::emulator::race::forbid(first, static_cast<size_t>(begin_));
    kernels::simt::emulator::race::forbid(first + begin_ + bytes_, static_cast<size_t>(kBand));
#endif
  }

  static constexpr int64_t kBand = 256;   // keeps 64-byte alignment; wider than any vector store
  static constexpr uint8_t kFill = 0xff;  // NaN in every float, -1 in every integer

  [[nodiscard]] std::vector<uint8_t> all_bytes() const {
    std::vector<uint8_t> bytes(static_cast<size_t>(buffer_.bytes()));
    guard_bands(false);
    buffer_.view().device().copy_to_host(bytes.data(), buffer_.view().raw(), buffer_.bytes());
    guard_bands(true);
    return bytes;
  }

  DType dtype_;
  Shape shape_;
  Layout layout_;
  int64_t begin_;
  int64_t bytes_;
  Tensor buffer_;
};

/// The logical elements of a tensor in row-major order, whatever its layout, dtype and device, as f64 (bits
/// above 2^53 of an i64 are lost).
[[nodiscard]] inline std::vector<double> elements(const ConstTensorView& tensor) {
  const Tensor on_host = clone_to(tensor, host());
  const ConstTensorView view = on_host.view();
  const auto element = [&](int64_t i) -> double {
    switch (view.dtype()) {
      case DType::kF64:
        return view.data<double>()[i];
      case DType::kF32:
        return view.data<float>()[i];
      case DType::kF16:
        return to_float(view.data<Float16>()[i]);
      case DType::kBF16:
        return to_float(view.data<BFloat16>()[i]);
      case DType::kI64:
        return static_cast<double>(view.data<int64_t>()[i]);
      case DType::kI32:
        return view.data<int32_t>()[i];
      case DType::kI16:
        return view.data<int16_t>()[i];
      case DType::kI8:
        return view.data<int8_t>()[i];
      case DType::kU8:
        return view.data<uint8_t>()[i];
      case DType::kBool:
        return view.data<bool>()[i] ? 1 : 0;
    }
    return NAN;
  };
  std::vector<double> values;
  values.reserve(static_cast<size_t>(view.numel()));
  if (view.layout() == Layout::kDense) {
    for (int64_t i = 0; i < view.numel(); ++i) values.push_back(element(i));
    return values;
  }
  const Shape& s = view.shape();
  for (int64_t n = 0; n < s[0]; ++n)
    for (int64_t c = 0; c < s[1]; ++c)
      for (int64_t h = 0; h < s[2]; ++h)
        for (int64_t w = 0; w < s[3]; ++w)
          values.push_back(element(image_offset(s, view.layout(), n, c, h, w)));
  return values;
}

/// The padding elements of a blocked tensor are all zero bits.
[[nodiscard]] inline bool padding_is_zero(const ConstTensorView& tensor) {
  if (tensor.layout() != Layout::kChannelBlocked16) return true;
  const Tensor on_host = clone_to(tensor, host());
  const Shape& s = tensor.shape();
  const auto* bytes = static_cast<const uint8_t*>(on_host.view().raw());
  const int64_t size = dtype_bytes(tensor.dtype());
  // Offsets of padding channels: those of a tensor with all stored channels.
  const Shape whole{s[0], stored_channels(s, tensor.layout()), s[2], s[3]};
  for (int64_t n = 0; n < s[0]; ++n)
    for (int64_t c = s[1]; c < whole[1]; ++c)
      for (int64_t h = 0; h < s[2]; ++h)
        for (int64_t w = 0; w < s[3]; ++w) {
          const uint8_t* element = bytes + image_offset(whole, tensor.layout(), n, c, h, w) * size;
          for (int64_t i = 0; i < size; ++i)
            if (element[i] != 0) return false;
        }
  return true;
}

}  // namespace panda::test
