// What every public kernel call checks before it goes through the table: presence, device, dtype, layout,
// shape, aliasing.
#pragma once

#include <initializer_list>

#include "kernels/kernel_table.h"
#include "kernels/tensor/tensor.h"

namespace panda::kernels {

/// Checks one operand of `kernel`. Messages read "conv2d_forward: bias is f64 64, expected f32".
class OperandCheck {
 public:
  OperandCheck(const char* kernel, Device& device) : kernel_(kernel), device_(device) {}

  /// The operand is there, on this device (or in host memory that the device can reach), of one of `dtypes`,
  /// and of this rank.
  void present(const char* name, const ConstTensorView& view, int rank,
               std::initializer_list<DType> dtypes = {DType::kF32}) const;
  /// ... and of exactly this shape.
  void shape(const char* name, const ConstTensorView& view, const Shape& expected,
             std::initializer_list<DType> dtypes = {DType::kF32}) const;
  void dense(const char* name, const ConstTensorView& view) const;
  /// Present, N,C,H,W, and either dense f32 or in the device's activation layout and dtype.
  void image(const char* name, const ConstTensorView& view) const;
  /// ... and of exactly this shape.
  void image(const char* name, const ConstTensorView& view, const Shape& expected) const;
  /// The memory of `output` overlaps no part of `input`; the very same memory is allowed if `in_place`.
  void no_overlap(const char* output_name, const ConstTensorView& output, const char* input_name,
                  const ConstTensorView& input, bool in_place = false) const;

 private:
  const char* kernel_;
  Device& device_;
};

/// The table's entry, or Unsupported naming device and kernel.
template <typename Args>
void launch(const char* name, void (*entry)(Device&, const Args&), Device& device, const Args& args) {
  if (entry == nullptr) throw Unsupported(text(name, ": device ", device.name(), " has no such kernel"));
  entry(device, args);
}

}  // namespace panda::kernels
