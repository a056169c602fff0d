// Gradients against central differences in f64: the test of every function here, the command `panda
// gradcheck`, and a call for whoever writes a new function.
//
//   GradientCheckResult result = check_gradient(oracle, {x, filter}, [](Tape&, const std::vector<Variable>&
//   in) {
//     return my_function(in[0], in[1]);
//   });
//   result.worst() <= 1e-7
//
// L is the sum of the output's elements, each times a weight from the seed; dL/dx_i is compared with
// (L(x + h e_i) - L(x - h e_i)) / 2h, whose own error is of the order h^2 + 1e-16 / h: 1e-10 with h = 1e-5,
// so a right gradient in f64 comes out below 1e-7 and one in f32 near its rounding, 1e-6 to 1e-5.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "autograd/tape.h"

namespace panda::autograd {

struct GradientCheckOptions {
  double step = 1e-5;          ///< h, for inputs of size 1
  int64_t max_elements = 200;  ///< of each input, evenly spread; all if it has fewer
  uint64_t seed = 1;           ///< of the weights of the outputs' elements in L
};

struct GradientCheckResult {
  /// |gradient - difference|_2 / |difference|_2 of each input's checked elements; infinite where a NaN or
  /// only zeros came out.
  std::vector<double> relative_errors;
  [[nodiscard]] double worst() const;
};

/// `function` makes an output from variables with the given values (f64, host). `device` must take f64 (the
/// reference device). The gradients are checked in a second sense, too: computed twice into gradients that
/// are not zero, they must have been added exactly twice, and an input that needs none must be left alone
/// (InternalError otherwise).
[[nodiscard]] GradientCheckResult check_gradient(
    Device& device, const std::vector<Tensor>& inputs,
    const std::function<Variable(Tape&, const std::vector<Variable>&)>& function,
    const GradientCheckOptions& options = {});

/// An input to differentiate by: f64, host.
struct GradientInput {
  Tensor values;
  bool is_image = false;  ///< N,C,H,W that a device takes in its activation layout
};

/// A function at some inputs, for any device.
struct GradientCase {
  std::string function;  ///< "conv2d"
  std::string form;      ///< "3x3, stride 2"
  std::vector<GradientInput> inputs;
  std::vector<Tensor> constants;  ///< what takes no gradient: f64 or i64, host
  /// Gets inputs and constants in that order, on the tape's device.
  std::function<Variable(Tape&, const std::vector<Variable>&, const std::vector<ConstTensorView>&)> body;
};

/// `device`'s gradients of the case in f32 against differences on `oracle` (the reference device) in f64, at
/// inputs and constants rounded to f32. Where both are the same device, everything is in f64, and modes are
/// checked as above.
[[nodiscard]] GradientCheckResult check_gradient(Device& oracle, Device& device, const GradientCase& one,
                                                 const GradientCheckOptions& options = {});

}  // namespace panda::autograd
