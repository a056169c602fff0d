#include "kernels/optimizer.h"

#include "kernels/checks.h"

namespace panda::kernels {

namespace {

void check_like(const OperandCheck& check, const char* name, const ConstTensorView& view,
                const Shape& shape) {
  check.shape(name, view, shape);
  check.dense(name, view);
}

void check_scalar(const OperandCheck& check, const char* name, const ConstTensorView& view) {
  if (view.present()) check.shape(name, view, {1}, {DType::kF64});
}

}  // namespace

void ewc_gradient(Device& device, const EwcGradientArgs& args) {
  constexpr const char* kName = "ewc_gradient";
  const OperandCheck check(kName, device);
  check.present("gradient", args.gradient, args.gradient.shape().rank());
  check.dense("gradient", args.gradient);
  const Shape& shape = args.gradient.shape();
  if (args.anchor.present()) {
    check_like(check, "theta", args.theta, shape);
    check_like(check, "anchor", args.anchor, shape);
    check.no_overlap("gradient", args.gradient, "theta", args.theta);
    check.no_overlap("gradient", args.gradient, "anchor", args.anchor);
  }
  if (args.importance.present()) {
    PANDA_CHECK(args.anchor.present(), kName, ": importance without an anchor");
    check_like(check, "importance", args.importance, shape);
    check.no_overlap("gradient", args.gradient, "importance", args.importance);
  }
  PANDA_CHECK(args.strength >= 0, kName, ": strength ", args.strength, ", expected >= 0");
  check_scalar(check, "squared_norm", args.squared_norm);
  check_scalar(check, "penalty", args.penalty);
  if (shape.empty()) return;
  launch(kName, device.kernels().ewc_gradient, device, args);
}

void sgd_update(Device& device, const SgdUpdateArgs& args) {
  constexpr const char* kName = "sgd_update";
  const OperandCheck check(kName, device);
  check.present("theta", args.theta, args.theta.shape().rank());
  check.dense("theta", args.theta);
  check_like(check, "velocity", args.velocity, args.theta.shape());
  check_like(check, "gradient", args.gradient, args.theta.shape());
  check.no_overlap("theta", args.theta, "velocity", args.velocity);
  check.no_overlap("theta", args.theta, "gradient", args.gradient);
  check.no_overlap("velocity", args.velocity, "gradient", args.gradient);
  check_scalar(check, "squared_norm", args.squared_norm);
  PANDA_CHECK(!args.squared_norm.present() || args.max_norm > 0, kName, ": max_norm ", args.max_norm,
              ", expected > 0");
  if (args.theta.numel() == 0) return;
  launch(kName, device.kernels().sgd_update, device, args);
}

void adam_update(Device& device, const AdamUpdateArgs& args) {
  constexpr const char* kName = "adam_update";
  const OperandCheck check(kName, device);
  check.present("theta", args.theta, args.theta.shape().rank());
  check.dense("theta", args.theta);
  const Shape& shape = args.theta.shape();
  check_like(check, "first_moment", args.first_moment, shape);
  check_like(check, "second_moment", args.second_moment, shape);
  check_like(check, "gradient", args.gradient, shape);
  check.no_overlap("theta", args.theta, "first_moment", args.first_moment);
  check.no_overlap("theta", args.theta, "second_moment", args.second_moment);
  check.no_overlap("theta", args.theta, "gradient", args.gradient);
  check.no_overlap("first_moment", args.first_moment, "second_moment", args.second_moment);
  PANDA_CHECK(args.step >= 1, kName, ": step ", args.step, ", expected >= 1");
  PANDA_CHECK(args.beta1 >= 0 && args.beta1 < 1 && args.beta2 >= 0 && args.beta2 < 1, kName, ": betas ",
              args.beta1, " and ", args.beta2, ", expected 0 <= beta < 1");
  if (shape.empty()) return;
  launch(kName, device.kernels().adam_update, device, args);
}

}  // namespace panda::kernels
