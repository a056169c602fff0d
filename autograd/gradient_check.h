// Gradients against central differences in f64, on the oracle: the test of every function here, and a call
// for whoever writes a new one.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "autograd/tape.h"

namespace panda::autograd {

struct GradientCheckOptions {
  double step = 1e-5;          ///< h of (L(x + h) - L(x - h)) / 2h, for inputs of size 1
  int64_t max_elements = 200;  ///< of each input, evenly spread; all if it has fewer
  uint64_t seed = 1;           ///< of the weights of the outputs' elements in L
};

struct GradientCheckResult {
  /// |tape - difference|_2 / |difference|_2 of each input's checked elements; infinite where a NaN or only
  /// zeros came out.
  std::vector<double> relative_errors;
  [[nodiscard]] double worst() const;
};

/// `function` makes an output from variables with the given values (f64, host); L is the sum of its elements,
/// each times a weight from the seed. `device` must take f64 (the reference device). The gradients are
/// checked in a second sense, too: computed twice into gradients that are not zero, they must have been added
/// exactly twice, and an input that needs none must be left alone (InternalError otherwise).
[[nodiscard]] GradientCheckResult check_gradient(
    Device& device, const std::vector<Tensor>& inputs,
    const std::function<Variable(Tape&, const std::vector<Variable>&)>& function,
    const GradientCheckOptions& options = {});

}  // namespace panda::autograd
