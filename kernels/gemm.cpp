#include "kernels/gemm.h"

#include "kernels/checks.h"

namespace panda::kernels {

void gemm(Device& device, const GemmArgs& args) {
  const OperandCheck check("gemm", device);
  check.present("a", args.a, 2);
  check.present("b", args.b, 2);
  check.present("c", args.c, 2);
  const int64_t m = args.a.shape()[args.transpose_a ? 1 : 0];
  const int64_t k = args.a.shape()[args.transpose_a ? 0 : 1];
  const int64_t b_k = args.b.shape()[args.transpose_b ? 1 : 0];
  const int64_t n = args.b.shape()[args.transpose_b ? 0 : 1];
  PANDA_CHECK(k == b_k, "gemm: a gives K=", k, " but b gives K=", b_k, " (a is ", args.a.shape(), ", b is ",
              args.b.shape(), ")");
  check.shape("c", args.c, {m, n});
  check.no_overlap("c", args.c, "a", args.a);
  check.no_overlap("c", args.c, "b", args.b);
  if (args.c.numel() == 0) return;
  launch("gemm", device.kernels().gemm, device, args);
}

void linear_forward(Device& device, const LinearForwardArgs& args) {
  const OperandCheck check("linear_forward", device);
  check.present("x", args.x, 2);
  check.present("weight", args.weight, 2);
  PANDA_CHECK(args.x.shape()[1] == args.weight.shape()[1],
              "linear_forward: weight C=", args.weight.shape()[1], " but input C=", args.x.shape()[1],
              " (x is ", args.x.shape(), ")");
  check.shape("y", args.y, {args.x.shape()[0], args.weight.shape()[0]});
  if (args.bias.present()) check.shape("bias", args.bias, {args.weight.shape()[0]});
  check.no_overlap("y", args.y, "x", args.x);
  check.no_overlap("y", args.y, "weight", args.weight);
  check.no_overlap("y", args.y, "bias", args.bias);
  if (args.y.numel() == 0) return;
  launch("linear_forward", device.kernels().linear_forward, device, args);
}

}  // namespace panda::kernels
