#include "kernels/tensor/tensor.h"

#include <vector>

#include "kernels/tensor/checked_math.h"

namespace panda {

const char* layout_name(Layout layout) {
  switch (layout) {
    case Layout::kDense:
      return "dense";
    case Layout::kChannelsLast:
      return "channels-last";
    case Layout::kChannelBlocked16:
      return "channel-blocked-16";
  }
  return "unknown";
}

int64_t stored_numel(const Shape& shape, Layout layout) {
  if (layout != Layout::kChannelBlocked16 || shape.empty()) return shape.numel();
  return checked_mul(shape.numel() / shape[1], round_up(shape[1], kChannelBlock));
}

ConstTensorView::ConstTensorView(const void* data, DType dtype, const Shape& shape, Device& device,
                                 Layout layout)
    : data_(const_cast<void*>(data)), device_(&device), shape_(shape), dtype_(dtype), layout_(layout) {
  PANDA_CHECK(layout == Layout::kDense || shape.rank() == 4, "layout ", layout_name(layout),
              " needs N,C,H,W, got ", shape);
  PANDA_CHECK(data != nullptr || shape.empty(), "null data for a tensor of shape ", shape);
}

void ConstTensorView::check_dtype(DType wanted) const {
  PANDA_CHECK(dtype_ == wanted, "expected dtype ", dtype_name(wanted), ", got ", to_string());
}

ConstTensorView ConstTensorView::rows(int64_t begin, int64_t end) const {
  PANDA_CHECK(shape_.rank() >= 1 && 0 <= begin && begin <= end && end <= shape_[0], "rows ", begin, "..", end,
              " of ", to_string());
  std::vector<int64_t> extents = shape_.to_vector();
  const int64_t row_bytes = extents[0] == 0 ? 0 : bytes() / extents[0];
  extents[0] = end - begin;
  ConstTensorView part = *this;
  part.shape_ = Shape(extents);
  if (data_ != nullptr) part.data_ = static_cast<char*>(data_) + begin * row_bytes;
  return part;
}

ConstTensorView ConstTensorView::reshaped(const Shape& shape) const {
  PANDA_CHECK(layout_ == Layout::kDense && shape.numel() == numel(), "cannot reshape ", to_string(),
              " in layout ", layout_name(layout_), " to ", shape);
  ConstTensorView result = *this;
  result.shape_ = shape;
  return result;
}

std::string ConstTensorView::to_string() const {
  if (!present()) return "absent";
  return text(dtype_name(dtype_), " ", shape_);
}

TensorView TensorView::rows(int64_t begin, int64_t end) const {
  const ConstTensorView part = ConstTensorView::rows(begin, end);
  return {const_cast<void*>(part.raw()), dtype_, part.shape(), *device_, layout_};
}

TensorView TensorView::reshaped(const Shape& shape) const {
  (void)ConstTensorView::reshaped(shape);  // checks
  return {data_, dtype_, shape, *device_, layout_};
}

Tensor::Tensor(Device& device, DType dtype, const Shape& shape, const char* label, Layout layout)
    : storage_(std::make_shared<Storage>(device, checked_mul(stored_numel(shape, layout), dtype_bytes(dtype)),
                                         label)),
      shape_(shape),
      dtype_(dtype),
      layout_(layout) {}

TensorView Tensor::view() const {
  if (!present()) return {};
  return {storage_->data(), dtype_, shape_, storage_->device(), layout_};
}

Tensor Tensor::reshaped(const Shape& shape) const {
  (void)view().reshaped(shape);  // checks
  Tensor result = *this;
  result.shape_ = shape;
  return result;
}

void copy(const ConstTensorView& source, const TensorView& destination) {
  PANDA_CHECK(source.dtype() == destination.dtype() && source.shape() == destination.shape() &&
                  source.layout() == destination.layout(),
              "copy: source ", source.to_string(), " in ", layout_name(source.layout()), ", destination ",
              destination.to_string(), " in ", layout_name(destination.layout()));
  const int64_t bytes = source.bytes();
  if (bytes == 0) return;
  if (&source.device() == &destination.device()) {
    destination.device().copy_on_device(destination.raw(), source.raw(), bytes);
  } else if (source.device().host_accessible()) {
    destination.device().copy_from_host(destination.raw(), source.raw(), bytes);
  } else if (destination.device().host_accessible()) {
    source.device().copy_to_host(destination.raw(), source.raw(), bytes);
  } else {
    std::vector<char> staging(static_cast<size_t>(bytes));
    source.device().copy_to_host(staging.data(), source.raw(), bytes);
    destination.device().copy_from_host(destination.raw(), staging.data(), bytes);
  }
}

Tensor clone_to(const ConstTensorView& source, Device& device, const char* label) {
  Tensor result(device, source.dtype(), source.shape(), label, source.layout());
  copy(source, result);
  return result;
}

}  // namespace panda
