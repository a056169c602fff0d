// Folding: what comes before or after a convolution and is linear goes into its filter and bias, once, before
// inference.
//
// All of it is computed in f64 and rounded once to f32. Tensors are dense f32 on the host.
#pragma once

#include <array>

#include "kernels/tensor/tensor.h"

namespace panda::nn {

/// A convolution's weights: filter K,C,R,S and bias K.
struct FilterAndBias {
  Tensor filter;
  Tensor bias;
};

/// A batch norm in evaluation mode: y = (x - mean) / sqrt(variance + epsilon) * gamma + beta, each K.
struct BatchNormParameters {
  ConstTensorView gamma;
  ConstTensorView beta;
  ConstTensorView mean;
  ConstTensorView variance;
  double epsilon = 1e-5;
};

/// The convolution (without bias) followed by the batch norm, as one convolution with bias:
/// filter[k] * a_k and beta_k - mean_k a_k, with a_k = gamma_k / sqrt(variance_k + epsilon).
/// Throws InvalidArgument for a variance + epsilon that is not positive, and for a result beyond f32, naming
/// the channel.
[[nodiscard]] FilterAndBias fold_batch_norm(const ConstTensorView& filter,
                                            const BatchNormParameters& batch_norm);

/// A filter K,C,R,S for images of `channels` channels, from one for C:
///   channels = C: unchanged;
///   channels = 1: the sum over the C input channels. A one-channel image then gives exactly (up to rounding)
///   what the same image
///     repeated C times gives. "Repeated" is after normalisation: it must be the same in all channels (see
///     the next function);
///   else: channel j takes the weights of channel j mod C, scaled by C / channels, so that an image whose
///   channels are alike has the
///     response it had, if `channels` is a multiple of C, and nearly so if not.
[[nodiscard]] Tensor fold_input_channels(const Tensor& filter, int64_t channels);

/// For gray images whose normalisation differs by channel, x_c = (g - mean_c) / stddev_c: a filter K,2,R,S
/// whose input is the gray picture g and a plane of ones: weights sum_c W_c / stddev_c and -sum_c W_c mean_c
/// / stddev_c. Why a plane of ones and not a bias: padding puts zeros around x_c, not around g, so near the
/// border the second term is a sum over the inner taps only. The plane's padding zeros do exactly that.
/// filter: K,3,R,S.
[[nodiscard]] Tensor fold_gray_normalization(const Tensor& filter, const std::array<double, 3>& mean,
                                             const std::array<double, 3>& stddev);

}  // namespace panda::nn
