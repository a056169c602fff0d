#include "kernels/batch_norm.h"

#include "kernels/checks.h"

namespace panda::kernels {

namespace {

void check_epsilon(const char* kernel, double epsilon) {
  PANDA_CHECK(epsilon >= 0, kernel, ": epsilon ", epsilon, ", expected >= 0");
}

/// An image of x's shape and layout.
void check_like(const OperandCheck& check, const char* kernel, const char* name, const ConstTensorView& view,
                const ConstTensorView& x) {
  check.image(name, view, x.shape());
  PANDA_CHECK(view.layout() == x.layout(), kernel, ": ", name, " is in layout ", layout_name(view.layout()),
              " but x in ", layout_name(x.layout()));
}

void check_image_gradient(const OperandCheck& check, const char* kernel, const Gradient& dL_dx,
                          const ConstTensorView& x, const ConstTensorView& dL_dy) {
  if (!dL_dx.wanted()) return;
  check_like(check, kernel, "dL_dx", dL_dx.view, x);
  check.no_overlap("dL_dx", dL_dx.view, "x", x);
  check.no_overlap("dL_dx", dL_dx.view, "dL_dy", dL_dy, dL_dx.mode == GradientMode::kOverwrite);
}

}  // namespace

void batch_norm_forward(Device& device, const BatchNormForwardArgs& args) {
  const OperandCheck check("batch_norm_forward", device);
  check.image("x", args.x);
  check.image("y", args.y, args.x.shape());
  const Shape channels{args.x.shape()[1]};
  check.shape("gamma", args.gamma, channels);
  check.shape("beta", args.beta, channels);
  check.shape("mean", args.mean, channels);
  check.shape("variance", args.variance, channels);
  PANDA_CHECK(args.epsilon >= 0, "batch_norm_forward: epsilon ", args.epsilon, ", expected >= 0");
  check.no_overlap("y", args.y, "x", args.x, args.x.layout() == args.y.layout());
  if (args.y.numel() == 0) return;
  launch("batch_norm_forward", device.kernels().batch_norm_forward, device, args);
}

void batch_norm_backward(Device& device, const BatchNormBackwardArgs& args) {
  constexpr const char* kName = "batch_norm_backward";
  const OperandCheck check(kName, device);
  check.image("x", args.x);
  check_like(check, kName, "dL_dy", args.dL_dy, args.x);
  const Shape channels{args.x.shape()[1]};
  check.shape("gamma", args.gamma, channels);
  check.shape("mean", args.mean, channels);
  check.shape("variance", args.variance, channels);
  check_epsilon(kName, args.epsilon);
  check_image_gradient(check, kName, args.dL_dx, args.x, args.dL_dy);
  check_gradient(check, "dL_dgamma", args.dL_dgamma, channels, false);
  check_gradient(check, "dL_dbeta", args.dL_dbeta, channels, false);
  if (channels.empty()) return;
  launch(kName, device.kernels().batch_norm_backward, device, args);
}

void batch_norm_training_forward(Device& device, const BatchNormTrainingForwardArgs& args) {
  constexpr const char* kName = "batch_norm_training_forward";
  const OperandCheck check(kName, device);
  check.image("x", args.x);
  check_like(check, kName, "y", args.y, args.x);
  const Shape& x = args.x.shape();
  const Shape channels{x[1]};
  PANDA_CHECK(args.gamma.present() == args.beta.present(), kName,
              ": gamma and beta come together or not at all");
  if (args.gamma.present()) {
    check.shape("gamma", args.gamma, channels);
    check.shape("beta", args.beta, channels);
  }
  check.shape("mean", args.mean, channels);
  check.shape("inverse_deviation", args.inverse_deviation, channels);
  PANDA_CHECK(args.running_mean.present() == args.running_variance.present(), kName,
              ": running_mean and running_variance come together or not at all");
  if (args.running_mean.present()) {
    check.shape("running_mean", args.running_mean, channels);
    check.shape("running_variance", args.running_variance, channels);
  }
  check_epsilon(kName, args.epsilon);
  check.no_overlap("y", args.y, "x", args.x);
  if (channels.empty()) return;
  PANDA_CHECK(!x.empty(), kName, ": no values to take statistics of (x is ", x, ")");
  launch(kName, device.kernels().batch_norm_training_forward, device, args);
}

void batch_norm_training_backward(Device& device, const BatchNormTrainingBackwardArgs& args) {
  constexpr const char* kName = "batch_norm_training_backward";
  const OperandCheck check(kName, device);
  check.image("x", args.x);
  check_like(check, kName, "dL_dy", args.dL_dy, args.x);
  const Shape channels{args.x.shape()[1]};
  if (args.gamma.present()) check.shape("gamma", args.gamma, channels);
  check.shape("mean", args.mean, channels);
  check.shape("inverse_deviation", args.inverse_deviation, channels);
  check_image_gradient(check, kName, args.dL_dx, args.x, args.dL_dy);
  check_gradient(check, "dL_dgamma", args.dL_dgamma, channels, false);
  check_gradient(check, "dL_dbeta", args.dL_dbeta, channels, false);
  if (args.x.numel() == 0) return;
  launch(kName, device.kernels().batch_norm_training_backward, device, args);
}

void fold_batch_norm_forward(Device& device, const FoldBatchNormForwardArgs& args) {
  constexpr const char* kName = "fold_batch_norm_forward";
  const OperandCheck check(kName, device);
  check.present("filter", args.filter, 4);
  check.dense("filter", args.filter);
  const Shape channels{args.filter.shape()[0]};
  check.shape("gamma", args.gamma, channels);
  check.shape("beta", args.beta, channels);
  check.shape("mean", args.mean, channels);
  check.shape("variance", args.variance, channels);
  check_epsilon(kName, args.epsilon);
  check.shape("folded_filter", args.folded_filter, args.filter.shape());
  check.dense("folded_filter", args.folded_filter);
  check.shape("folded_bias", args.folded_bias, channels);
  check.no_overlap("folded_filter", args.folded_filter, "filter", args.filter);
  if (channels.empty()) return;
  launch(kName, device.kernels().fold_batch_norm_forward, device, args);
}

void fold_batch_norm_backward(Device& device, const FoldBatchNormBackwardArgs& args) {
  constexpr const char* kName = "fold_batch_norm_backward";
  const OperandCheck check(kName, device);
  check.present("filter", args.filter, 4);
  check.dense("filter", args.filter);
  const Shape channels{args.filter.shape()[0]};
  check.shape("gamma", args.gamma, channels);
  check.shape("mean", args.mean, channels);
  check.shape("variance", args.variance, channels);
  check_epsilon(kName, args.epsilon);
  check.shape("dL_dfolded_filter", args.dL_dfolded_filter, args.filter.shape());
  check.dense("dL_dfolded_filter", args.dL_dfolded_filter);
  check.shape("dL_dfolded_bias", args.dL_dfolded_bias, channels);
  check_gradient(check, "dL_dfilter", args.dL_dfilter, args.filter.shape(), false);
  check_gradient(check, "dL_dgamma", args.dL_dgamma, channels, false);
  check_gradient(check, "dL_dbeta", args.dL_dbeta, channels, false);
  check_gradient_apart(check, "dL_dfilter", args.dL_dfilter, "filter", args.filter);
  if (args.dL_dfilter.wanted()) {
    check.no_overlap("dL_dfilter", args.dL_dfilter.view, "dL_dfolded_filter", args.dL_dfolded_filter,
                     args.dL_dfilter.mode == GradientMode::kOverwrite);
  }
  if (channels.empty()) return;
  launch(kName, device.kernels().fold_batch_norm_backward, device, args);
}

void fold_batch_norm_squares(Device& device, const FoldBatchNormSquaresArgs& args) {
  constexpr const char* kName = "fold_batch_norm_squares";
  const OperandCheck check(kName, device);
  check.present("squares", args.squares, 4);
  check.dense("squares", args.squares);
  const Shape channels{args.squares.shape()[0]};
  check.shape("gamma", args.gamma, channels);
  check.shape("mean", args.mean, channels);
  check.shape("variance", args.variance, channels);
  check_epsilon(kName, args.epsilon);
  check.present("dots", args.dots, 2);
  check.shape("dots", args.dots, {args.dots.shape()[0], channels[0]});
  check.shape("per_sample", args.per_sample, args.dots.shape());
  check_gradient(check, "filter_squares", args.filter_squares, args.squares.shape(), false);
  check_gradient(check, "gamma_squares", args.gamma_squares, channels, false);
  check_gradient(check, "beta_squares", args.beta_squares, channels, false);
  check_gradient_apart(check, "filter_squares", args.filter_squares, "squares", args.squares);
  if (channels.empty()) return;
  launch(kName, device.kernels().fold_batch_norm_squares, device, args);
}

}  // namespace panda::kernels
