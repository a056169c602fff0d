// How a backward kernel treats a gradient that it can give: leave it alone, write it, or add to it. Always
// explicit: a gradient left over from an earlier step is never added to by accident.
#pragma once

#include "kernels/tensor/tensor.h"

namespace panda::kernels {

enum class GradientMode : uint8_t {
  kIgnore,      ///< not computed; the view may be absent and is not touched
  kOverwrite,   ///< g = dL/dv
  kAccumulate,  ///< g = g + dL/dv, one addition per element after dL/dv is complete
};

/// One gradient asked of a backward kernel, of the shape of the value it belongs to.
struct Gradient {
  TensorView view;
  GradientMode mode = GradientMode::kIgnore;

  [[nodiscard]] bool wanted() const { return mode != GradientMode::kIgnore; }
  [[nodiscard]] bool accumulates() const { return mode == GradientMode::kAccumulate; }
};

class OperandCheck;
/// A wanted gradient has this shape; one of rank 4 that `is_image` lies in a layout of the device, any other
/// is dense.
void check_gradient(const OperandCheck& check, const char* name, const Gradient& gradient,
                    const Shape& expected, bool is_image);
/// A wanted gradient overlaps no part of `input`.
void check_gradient_apart(const OperandCheck& check, const char* name, const Gradient& gradient,
                          const char* input_name, const ConstTensorView& input);

}  // namespace panda::kernels
