// Losses of a batch, one value per row, and their gradients. The loss of the batch is the sum of the rows; a
// mean is a sum with scale = 1 / N. So that a step's gradient can be had per sample (the Fisher diagonal), no
// kernel here mixes rows.
#pragma once

#include "kernels/gradient.h"

namespace panda::kernels {

/// `labels` (i64 N, host) on `device`. Throws InvalidArgument naming the first row whose label is not in
/// [0, class_count).
[[nodiscard]] Tensor upload_labels(Device& device, const ConstTensorView& labels, int64_t class_count);

/// losses[n] = -scale sum_c t[n,c] log p[n,c], p = softmax(logits[n]), by log-sum-exp;
/// t[n,c] = (1 - smoothing) [c = labels[n]] + smoothing / C.
/// logits: f32 N,C, dense, C >= 1 · labels: i64 N in [0, C), as upload_labels has checked: the loss and the
/// gradient of a row with another label are NaN, so that no kernel waits for the host and a step can be
/// recorded · losses: f32 N.
struct SoftmaxCrossEntropyForwardArgs {
  ConstTensorView logits;
  ConstTensorView labels;
  double smoothing = 0;
  double scale = 1;
  TensorView losses;
};
void softmax_cross_entropy_forward(Device& device, const SoftmaxCrossEntropyForwardArgs& args);

/// dL_dlogits[n,c] = dL_dlosses[n] scale (p[n,c] - t[n,c]).
struct SoftmaxCrossEntropyBackwardArgs {
  ConstTensorView logits;
  ConstTensorView labels;
  ConstTensorView dL_dlosses;
  double smoothing = 0;
  double scale = 1;
  Gradient dL_dlogits;
};
void softmax_cross_entropy_backward(Device& device, const SoftmaxCrossEntropyBackwardArgs& args);

/// losses[n] = scale (max(z,0) - z t + log(1 + exp(-|z|))): binary cross-entropy of sigmoid(z[n]) against
/// t[n] in [0, 1] (paper Eq. 5 with its minus sign). No saturation: the official code's f32 sigmoid is
/// exactly 1 above 16.7 and its logarithm cut off at -100. logits, targets, losses: f32 N.
struct LogisticLossForwardArgs {
  ConstTensorView logits;
  ConstTensorView targets;
  double scale = 1;
  TensorView losses;
};
void logistic_loss_forward(Device& device, const LogisticLossForwardArgs& args);

/// dL_dlogits[n] = dL_dlosses[n] scale (sigmoid(z) - t).
struct LogisticLossBackwardArgs {
  ConstTensorView logits;
  ConstTensorView targets;
  ConstTensorView dL_dlosses;
  double scale = 1;
  Gradient dL_dlogits;
};
void logistic_loss_backward(Device& device, const LogisticLossBackwardArgs& args);

/// losses[n] = scale |x[n] - center|^2 (paper Eq. 1; the official code's scale is 1 / (N D)).
/// x: f32 N,D, dense · center: f32 D · losses: f32 N, each sum in f64.
struct CompactnessForwardArgs {
  ConstTensorView x;
  ConstTensorView center;
  double scale = 1;
  TensorView losses;
};
void compactness_forward(Device& device, const CompactnessForwardArgs& args);

/// dL_dx[n,j] = dL_dlosses[n] 2 scale (x[n,j] - center[j]).
struct CompactnessBackwardArgs {
  ConstTensorView x;
  ConstTensorView center;
  ConstTensorView dL_dlosses;
  double scale = 1;
  Gradient dL_dx;
};
void compactness_backward(Device& device, const CompactnessBackwardArgs& args);

}  // namespace panda::kernels
