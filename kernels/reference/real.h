// What the oracle's kernels share: f32 or f64 operands, images by index, gradients by mode.
#pragma once

#include "kernels/gradient.h"

namespace panda::kernels::reference {

/// body(float{}) or body(double{}): the element type of a call's operands.
template <typename Body>
void with_real(DType dtype, Body&& body) {
  if (dtype == DType::kF64) {
    body(double{});
  } else {
    body(float{});
  }
}

/// Elements of N,C,H,W by index, as f64.
template <typename T>
class ImageReader {
 public:
  explicit ImageReader(const ConstTensorView& view)
      : data_(view.data<T>()), shape_(view.shape()), layout_(view.layout()) {}
  [[nodiscard]] double operator()(int64_t n, int64_t c, int64_t h, int64_t w) const {
    return data_[image_offset(shape_, layout_, n, c, h, w)];
  }

 private:
  const T* data_;
  Shape shape_;
  Layout layout_;
};

/// Writes finished values into a gradient as its mode says; nothing if it is not wanted.
template <typename T>
class GradientWriter {
 public:
  explicit GradientWriter(const Gradient& gradient)
      : data_(gradient.wanted() ? gradient.view.data<T>() : nullptr),
        shape_(gradient.wanted() ? gradient.view.shape() : Shape()),
        layout_(gradient.wanted() ? gradient.view.layout() : Layout::kDense),
        accumulate_(gradient.accumulates()) {}

  [[nodiscard]] bool wanted() const { return data_ != nullptr; }
  void put(int64_t i, double value) const {
    if (data_ != nullptr) data_[i] = static_cast<T>(accumulate_ ? data_[i] + value : value);
  }
  void put(int64_t n, int64_t c, int64_t h, int64_t w, double value) const {
    if (data_ != nullptr) put(image_offset(shape_, layout_, n, c, h, w), value);
  }

 private:
  T* data_;
  Shape shape_;
  Layout layout_;
  bool accumulate_;
};

/// body(n, h, w) for every pixel of a batch.
template <typename Body>
void for_each_pixel(const Shape& shape, Body&& body) {
  for (int64_t n = 0; n < shape[0]; ++n) {
    for (int64_t h = 0; h < shape[2]; ++h) {
      for (int64_t w = 0; w < shape[3]; ++w) body(n, h, w);
    }
  }
}

}  // namespace panda::kernels::reference
