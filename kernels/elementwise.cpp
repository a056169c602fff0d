#include "kernels/elementwise.h"

#include "kernels/checks.h"

namespace panda::kernels {

namespace {

void check_same_form(const char* kernel, const char* name, const ConstTensorView& view,
                     const ConstTensorView& y) {
  PANDA_CHECK(view.shape() == y.shape(), kernel, ": ", name, " is ", view.to_string(), " but y is ",
              y.to_string());
  PANDA_CHECK(view.layout() == y.layout(), kernel, ": ", name, " is in layout ", layout_name(view.layout()),
              " but y in ", layout_name(y.layout()));
}

void check_slope(const char* kernel, UnaryOp op, double slope) {
  const bool used = op == UnaryOp::kLeakyRelu || op == UnaryOp::kElu;
  PANDA_CHECK(!used || slope > 0, kernel, ": slope ", slope, ", expected > 0");
}

}  // namespace

void unary_forward(Device& device, const UnaryForwardArgs& args) {
  const OperandCheck check("unary_forward", device);
  check.present("x", args.x, args.x.shape().rank());
  check.present("y", args.y, args.x.shape().rank());
  check_same_form("unary_forward", "x", args.x, args.y);
  check.no_overlap("y", args.y, "x", args.x, true);
  check_slope("unary_forward", args.op, args.slope);
  if (args.y.numel() == 0) return;
  launch("unary_forward", device.kernels().unary_forward, device, args);
}

void unary_backward(Device& device, const UnaryBackwardArgs& args) {
  constexpr const char* kName = "unary_backward";
  if (!args.dL_dx.wanted()) return;
  const OperandCheck check(kName, device);
  const TensorView& dL_dx = args.dL_dx.view;
  check.present("y", args.y, args.y.shape().rank());
  check.present("dL_dy", args.dL_dy, args.y.shape().rank());
  check.present("dL_dx", dL_dx, args.y.shape().rank());
  check_same_form(kName, "dL_dy", args.dL_dy, args.y);
  check_same_form(kName, "dL_dx", dL_dx, args.y);
  check.no_overlap("dL_dx", dL_dx, "y", args.y);
  check.no_overlap("dL_dx", dL_dx, "dL_dy", args.dL_dy, args.dL_dx.mode == GradientMode::kOverwrite);
  PANDA_CHECK(args.op == UnaryOp::kRelu || args.op == UnaryOp::kLeakyRelu || args.op == UnaryOp::kElu ||
                  args.op == UnaryOp::kSigmoid || args.op == UnaryOp::kExp,
              kName, ": the operation's gradient cannot be had from its output alone");
  check_slope(kName, args.op, args.slope);
  if (args.y.numel() == 0) return;
  launch(kName, device.kernels().unary_backward, device, args);
}

void binary_forward(Device& device, const BinaryForwardArgs& args) {
  const OperandCheck check("binary_forward", device);
  check.present("a", args.a, args.a.shape().rank());
  check.present("b", args.b, args.a.shape().rank());
  check.present("y", args.y, args.a.shape().rank());
  check_same_form("binary_forward", "a", args.a, args.y);
  check_same_form("binary_forward", "b", args.b, args.y);
  check.no_overlap("y", args.y, "a", args.a, true);
  check.no_overlap("y", args.y, "b", args.b, true);
  if (args.y.numel() == 0) return;
  launch("binary_forward", device.kernels().binary_forward, device, args);
}

void convert(Device& device, const ConvertArgs& args) {
  const OperandCheck check("convert", device);
  const std::initializer_list<DType> any = {DType::kF64, DType::kF32, DType::kF16, DType::kBF16,
                                            DType::kI64, DType::kI32, DType::kI16, DType::kI8,
                                            DType::kU8,  DType::kBool};
  check.present("x", args.x, args.x.shape().rank(), any);
  check.present("y", args.y, args.x.shape().rank(), any);
  PANDA_CHECK(args.x.shape() == args.y.shape(), "convert: x is ", args.x.to_string(), " but y is ",
              args.y.to_string());
  check.no_overlap("y", args.y, "x", args.x);
  const DType from = args.x.dtype();
  const bool readable =
      dtype_is_float(from) || from == DType::kU8 || from == DType::kI32 || from == DType::kI64;
  if (from != args.y.dtype() && !(readable && dtype_is_float(args.y.dtype()))) {
    throw Unsupported(text("convert: ", dtype_name(from), " to ", dtype_name(args.y.dtype())));
  }
  if (args.y.numel() == 0) return;
  launch("convert", device.kernels().convert, device, args);
}

}  // namespace panda::kernels
