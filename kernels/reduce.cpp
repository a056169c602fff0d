#include "kernels/reduce.h"

#include <vector>

#include "kernels/checks.h"

namespace panda::kernels {

void reduce_forward(Device& device, const ReduceForwardArgs& args) {
  const OperandCheck check("reduce_forward", device);
  check.present("x", args.x, args.x.shape().rank());
  check.dense("x", args.x);
  PANDA_CHECK(args.axis >= 0 && args.axis < args.x.shape().rank(), "reduce_forward: axis ", args.axis,
              " of x ", args.x.to_string());
  std::vector<int64_t> extents = args.x.shape().to_vector();
  const int64_t reduced = extents[static_cast<size_t>(args.axis)];
  extents.erase(extents.begin() + args.axis);
  check.shape("y", args.y, Shape(extents));
  check.dense("y", args.y);
  check.no_overlap("y", args.y, "x", args.x);
  if (args.y.numel() == 0) return;
  const bool has_neutral = args.op == ReduceOp::kSum || args.op == ReduceOp::kSumOfSquares;
  PANDA_CHECK(reduced > 0 || has_neutral, "reduce_forward: nothing to reduce along axis ", args.axis,
              " of x ", args.x.to_string());
  launch("reduce_forward", device.kernels().reduce_forward, device, args);
}

namespace {

void check_rows(const char* kernel, Device& device, const ConstTensorView& x, const TensorView& y) {
  const OperandCheck check(kernel, device);
  check.present("x", x, 2);
  check.shape("y", y, x.shape());
  check.no_overlap("y", y, "x", x, true);
}

}  // namespace

void softmax_forward(Device& device, const SoftmaxForwardArgs& args) {
  check_rows("softmax_forward", device, args.x, args.y);
  if (args.y.numel() == 0) return;
  launch("softmax_forward", device.kernels().softmax_forward, device, args);
}

void normalize_rows_forward(Device& device, const NormalizeRowsForwardArgs& args) {
  check_rows("normalize_rows_forward", device, args.x, args.y);
  if (args.y.numel() == 0) return;
  launch("normalize_rows_forward", device.kernels().normalize_rows_forward, device, args);
}

}  // namespace panda::kernels
