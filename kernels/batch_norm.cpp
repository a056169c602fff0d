#include "kernels/batch_norm.h"

#include "kernels/checks.h"

namespace panda::kernels {

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

}  // namespace panda::kernels
