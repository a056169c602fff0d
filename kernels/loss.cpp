#include "kernels/loss.h"

#include "kernels/checks.h"

namespace panda::kernels {

namespace {

void check_cross_entropy(const char* kernel, const OperandCheck& check, const ConstTensorView& logits,
                         const ConstTensorView& labels, double smoothing) {
  check.present("logits", logits, 2);
  check.dense("logits", logits);
  check.shape("labels", labels, {logits.shape()[0]}, {DType::kI64});
  PANDA_CHECK(smoothing >= 0 && smoothing < 1, kernel, ": smoothing ", smoothing,
              ", expected 0 <= smoothing < 1");
  PANDA_CHECK(logits.shape()[0] == 0 || logits.shape()[1] >= 1, kernel, ": logits are ", logits.shape(),
              ", expected at least one class");
}

}  // namespace

Tensor upload_labels(Device& device, const ConstTensorView& labels, int64_t class_count) {
  PANDA_CHECK(labels.present() && labels.dtype() == DType::kI64 && labels.shape().rank() == 1,
              "upload_labels: labels are ", labels.to_string(), ", expected i64 N");
  for (int64_t n = 0; n < labels.numel(); ++n) {
    const int64_t label = labels.data<int64_t>()[n];
    PANDA_CHECK(label >= 0 && label < class_count, "label ", label, " in row ", n, ", expected 0 to ",
                class_count - 1);
  }
  return clone_to(labels, device, "labels");
}

void softmax_cross_entropy_forward(Device& device, const SoftmaxCrossEntropyForwardArgs& args) {
  constexpr const char* kName = "softmax_cross_entropy_forward";
  const OperandCheck check(kName, device);
  check_cross_entropy(kName, check, args.logits, args.labels, args.smoothing);
  check.shape("losses", args.losses, args.labels.shape());
  check.no_overlap("losses", args.losses, "logits", args.logits);
  if (args.losses.numel() == 0) return;
  launch(kName, device.kernels().softmax_cross_entropy_forward, device, args);
}

void softmax_cross_entropy_backward(Device& device, const SoftmaxCrossEntropyBackwardArgs& args) {
  constexpr const char* kName = "softmax_cross_entropy_backward";
  if (!args.dL_dlogits.wanted()) return;
  const OperandCheck check(kName, device);
  check_cross_entropy(kName, check, args.logits, args.labels, args.smoothing);
  check.shape("dL_dlosses", args.dL_dlosses, args.labels.shape());
  check_gradient(check, "dL_dlogits", args.dL_dlogits, args.logits.shape(), false);
  check_gradient_apart(check, "dL_dlogits", args.dL_dlogits, "logits", args.logits);
  check_gradient_apart(check, "dL_dlogits", args.dL_dlogits, "dL_dlosses", args.dL_dlosses);
  if (args.logits.numel() == 0) return;
  launch(kName, device.kernels().softmax_cross_entropy_backward, device, args);
}

void logistic_loss_forward(Device& device, const LogisticLossForwardArgs& args) {
  constexpr const char* kName = "logistic_loss_forward";
  const OperandCheck check(kName, device);
  check.present("logits", args.logits, 1);
  check.shape("targets", args.targets, args.logits.shape());
  check.shape("losses", args.losses, args.logits.shape());
  check.no_overlap("losses", args.losses, "logits", args.logits);
  check.no_overlap("losses", args.losses, "targets", args.targets);
  if (args.losses.numel() == 0) return;
  launch(kName, device.kernels().logistic_loss_forward, device, args);
}

void logistic_loss_backward(Device& device, const LogisticLossBackwardArgs& args) {
  constexpr const char* kName = "logistic_loss_backward";
  if (!args.dL_dlogits.wanted()) return;
  const OperandCheck check(kName, device);
  check.present("logits", args.logits, 1);
  check.shape("targets", args.targets, args.logits.shape());
  check.shape("dL_dlosses", args.dL_dlosses, args.logits.shape());
  check_gradient(check, "dL_dlogits", args.dL_dlogits, args.logits.shape(), false);
  check_gradient_apart(check, "dL_dlogits", args.dL_dlogits, "logits", args.logits);
  check_gradient_apart(check, "dL_dlogits", args.dL_dlogits, "targets", args.targets);
  check_gradient_apart(check, "dL_dlogits", args.dL_dlogits, "dL_dlosses", args.dL_dlosses);
  if (args.logits.numel() == 0) return;
  launch(kName, device.kernels().logistic_loss_backward, device, args);
}

void compactness_forward(Device& device, const CompactnessForwardArgs& args) {
  constexpr const char* kName = "compactness_forward";
  const OperandCheck check(kName, device);
  check.present("x", args.x, 2);
  check.dense("x", args.x);
  check.shape("center", args.center, {args.x.shape()[1]});
  check.shape("losses", args.losses, {args.x.shape()[0]});
  check.no_overlap("losses", args.losses, "x", args.x);
  check.no_overlap("losses", args.losses, "center", args.center);
  if (args.losses.numel() == 0) return;
  launch(kName, device.kernels().compactness_forward, device, args);
}

void compactness_backward(Device& device, const CompactnessBackwardArgs& args) {
  constexpr const char* kName = "compactness_backward";
  if (!args.dL_dx.wanted()) return;
  const OperandCheck check(kName, device);
  check.present("x", args.x, 2);
  check.dense("x", args.x);
  check.shape("center", args.center, {args.x.shape()[1]});
  check.shape("dL_dlosses", args.dL_dlosses, {args.x.shape()[0]});
  check_gradient(check, "dL_dx", args.dL_dx, args.x.shape(), false);
  check_gradient_apart(check, "dL_dx", args.dL_dx, "x", args.x);
  check_gradient_apart(check, "dL_dx", args.dL_dx, "center", args.center);
  check_gradient_apart(check, "dL_dx", args.dL_dx, "dL_dlosses", args.dL_dlosses);
  if (args.x.numel() == 0) return;
  launch(kName, device.kernels().compactness_backward, device, args);
}

}  // namespace panda::kernels
