#include "kernels/gradient.h"

#include "kernels/checks.h"

namespace panda::kernels {

void check_gradient(const OperandCheck& check, const char* name, const Gradient& gradient,
                    const Shape& expected, bool is_image) {
  if (!gradient.wanted()) return;
  check.shape(name, gradient.view, expected);
  if (is_image) {
    check.image(name, gradient.view);
  } else {
    check.dense(name, gradient.view);
  }
}

void check_gradient_apart(const OperandCheck& check, const char* name, const Gradient& gradient,
                          const char* input_name, const ConstTensorView& input) {
  if (gradient.wanted()) check.no_overlap(name, gradient.view, input_name, input);
}

}  // namespace panda::kernels
