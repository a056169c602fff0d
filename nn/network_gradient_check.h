// The gradient of a whole network, of a device, against differences in f64 on the oracle: what the check of
// single functions (autograd/gradient_check.h) does not see, such as a residual that is added twice.
//
// L = mean cross-entropy of seeded images and labels. Of each parameter theta, with its gradient g and seeded
// normal directions v of its shape, <g, v> is compared with (L(theta + h v) - L(theta - h v)) / 2h: a
// direction weighs every element, for two passes. The error is |<g, v> - difference| / |g|_2, the largest of
// the directions; <g, v> itself is |g|_2 times a standard normal number. h |v|_2 = 1e-6 |theta|_2, so that
// few values cross a ReLU's corner on the way; those that do leave an error of 1e-6 or so.
#pragma once

#include <string>
#include <vector>

#include "kernels/tensor/progress.h"
#include "nn/trainable_resnet.h"

namespace panda::nn {

struct NetworkGradientOptions {
  ResnetConfig config;  ///< with classes
  BatchNormMode mode = BatchNormMode::kEvaluation;
  int64_t images = 2;
  int64_t extent = 32;  ///< of an image
  int64_t directions = 2;
  uint64_t seed = 0;
};

struct ParameterError {
  std::string name;
  int64_t elements = 0;
  double relative_error = 0;  ///< infinite where a NaN or no gradient at all came out
};

/// One for each parameter, in the network's order. `oracle` is the reference device; where `device` is the
/// same one, everything is in f64, else the gradient is in f32. Throws InvalidArgument for a network without
/// classes, and Interrupted.
[[nodiscard]] std::vector<ParameterError> check_network_gradient(Device& oracle, Device& device,
                                                                 const NetworkGradientOptions& options,
                                                                 Progress* progress = nullptr);

}  // namespace panda::nn
