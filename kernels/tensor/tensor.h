// Tensors: `TensorView` says where elements are, `Tensor` owns them. Functions take views and return owners.
#pragma once

#include <memory>
#include <string>

#include "kernels/tensor/device.h"
#include "kernels/tensor/dtype.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/layout.h"
#include "kernels/tensor/shape.h"

namespace panda {

/// Bytes on a device, freed with the last owner.
class Storage {
 public:
  Storage(Device& device, int64_t bytes, const char* label)
      : device_(&device), bytes_(bytes), label_(label), data_(device.allocate(bytes, label)) {}
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  ~Storage() { device_->free(data_, bytes_, label_); }

  [[nodiscard]] void* data() const { return data_; }
  [[nodiscard]] int64_t bytes() const { return bytes_; }
  [[nodiscard]] Device& device() const { return *device_; }

 private:
  Device* device_;
  int64_t bytes_;
  const char* label_;
  void* data_;
};

/// Where a tensor's elements are. It owns nothing; elements are contiguous in `layout`. A default view is
/// "absent".
class ConstTensorView {
 public:
  ConstTensorView() = default;
  ConstTensorView(const void* data, DType dtype, const Shape& shape, Device& device,
                  Layout layout = Layout::kDense);

  [[nodiscard]] bool present() const { return device_ != nullptr; }
  [[nodiscard]] DType dtype() const { return dtype_; }
  [[nodiscard]] const Shape& shape() const { return shape_; }
  [[nodiscard]] Layout layout() const { return layout_; }
  [[nodiscard]] Device& device() const { return *device_; }
  [[nodiscard]] int64_t numel() const { return shape_.numel(); }
  /// Bytes in memory, padding of the layout included.
  [[nodiscard]] int64_t bytes() const { return stored_numel(shape_, layout_) * dtype_bytes(dtype_); }
  [[nodiscard]] const void* raw() const { return data_; }
  /// Elements of type T; throws InvalidArgument if T is not the dtype.
  template <typename T>
  [[nodiscard]] const T* data() const {
    check_dtype(DTypeOf<T>::value);
    return static_cast<const T*>(data_);
  }
  /// Rows [begin, end) of the first dimension.
  [[nodiscard]] ConstTensorView rows(int64_t begin, int64_t end) const;
  /// The same elements with other extents; dense only.
  [[nodiscard]] ConstTensorView reshaped(const Shape& shape) const;
  /// "f32 8x32x56x56"
  [[nodiscard]] std::string to_string() const;

 protected:
  void check_dtype(DType wanted) const;

  void* data_ = nullptr;
  Device* device_ = nullptr;
  Shape shape_;
  DType dtype_ = DType::kF32;
  Layout layout_ = Layout::kDense;
};

/// A view through which elements may be written.
class TensorView : public ConstTensorView {
 public:
  TensorView() = default;
  TensorView(void* data, DType dtype, const Shape& shape, Device& device, Layout layout = Layout::kDense)
      : ConstTensorView(data, dtype, shape, device, layout) {}

  [[nodiscard]] void* raw() const { return data_; }
  template <typename T>
  [[nodiscard]] T* data() const {
    check_dtype(DTypeOf<T>::value);
    return static_cast<T*>(data_);
  }
  [[nodiscard]] TensorView rows(int64_t begin, int64_t end) const;
  [[nodiscard]] TensorView reshaped(const Shape& shape) const;
};

/// Owner of a tensor on a device. Copies share the storage (as in every tensor library); `clone` copies
/// elements.
class Tensor {
 public:
  Tensor() = default;
  /// Uninitialised elements.
  Tensor(Device& device, DType dtype, const Shape& shape, const char* label, Layout layout = Layout::kDense);
  /// A dense tensor on the host with these elements.
  template <typename T>
  [[nodiscard]] static Tensor from(const Shape& shape, const T* elements, const char* label = "tensor");

  [[nodiscard]] bool present() const { return storage_ != nullptr; }
  [[nodiscard]] TensorView view() const;
  operator TensorView() const { return view(); }       // NOLINT: views in, owners out
  operator ConstTensorView() const { return view(); }  // NOLINT

  [[nodiscard]] DType dtype() const { return dtype_; }
  [[nodiscard]] const Shape& shape() const { return shape_; }
  [[nodiscard]] Layout layout() const { return layout_; }
  [[nodiscard]] int64_t numel() const { return shape_.numel(); }
  [[nodiscard]] int64_t bytes() const { return stored_numel(shape_, layout_) * dtype_bytes(dtype_); }
  template <typename T>
  [[nodiscard]] T* data() const {
    return view().data<T>();
  }
  /// The same storage with other extents; dense only.
  [[nodiscard]] Tensor reshaped(const Shape& shape) const;

 private:
  std::shared_ptr<Storage> storage_;
  Shape shape_;
  DType dtype_ = DType::kF32;
  Layout layout_ = Layout::kDense;
};

/// Copies bytes between views of equal dtype, shape and layout, on any two devices (through the host if
/// neither is it).
void copy(const ConstTensorView& source, const TensorView& destination);
/// A new tensor on `device` with the same elements, dtype and layout.
[[nodiscard]] Tensor clone_to(const ConstTensorView& source, Device& device, const char* label = "tensor");

template <typename T>
Tensor Tensor::from(const Shape& shape, const T* elements, const char* label) {
  Tensor tensor(host(), DTypeOf<T>::value, shape, label);
  host().copy_from_host(tensor.view().raw(), elements, tensor.bytes());
  return tensor;
}

}  // namespace panda
