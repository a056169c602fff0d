#include "autograd/functions/linear.h"

#include "kernels/conv2d_backward.h"
#include "kernels/elementwise.h"
#include "kernels/gemm.h"

namespace panda::autograd {

namespace {

using kernels::Gradient;

class LinearFunction final : public Function {
 public:
  LinearFunction(Variable x, Variable weight) : x_(std::move(x)), weight_(std::move(weight)) {}
  [[nodiscard]] const char* name() const override { return "linear"; }

  void backward(BackwardContext& context) override {
    Tape& tape = context.tape();
    const TensorView dL_dy = context.dL_dy();
    if (const Gradient dL_dx = context.gradient(0); dL_dx.wanted())
      tape.run(kernels::gemm, {dL_dy, weight_.view(), dL_dx.view, false, false, dL_dx.accumulates()});
    if (const Gradient dL_dweight = context.gradient(1); dL_dweight.wanted())
      tape.run(kernels::gemm, {dL_dy, x_.view(), dL_dweight.view, true, false, dL_dweight.accumulates()});
    if (const Gradient squares = context.squares(1); squares.wanted()) {
      const Variable x2 = square(tape, x_.view());
      const Variable y2 = square(tape, dL_dy);
      tape.run(kernels::gemm, {y2.view(), x2.view(), squares.view, true, false, true});
    }
    const Gradient dL_dbias = context.gradient(2);
    tape.run(kernels::bias_backward, {dL_dy, dL_dbias, context.squares(2), {}});
  }

 private:
  static Variable square(Tape& tape, const TensorView& view) {
    Variable squared = tape.new_value(view.shape(), view.dtype(), view.layout());
    tape.run(kernels::unary_forward, {kernels::UnaryOp::kSquare, view, squared.view()});
    return squared;
  }
  Variable x_;
  Variable weight_;
};

}  // namespace

Variable linear(const Variable& x, const Variable& weight, const Variable& bias) {
  Tape& tape = x.tape();
  PANDA_CHECK(x.shape().rank() == 2 && weight.shape().rank() == 2 && x.shape()[1] == weight.shape()[1],
              "linear: x is ", x.shape(), " and weight ", weight.shape(), ", expected N,C and K,C");
  const Shape shape{x.shape()[0], weight.shape()[0]};
  const Variable y = tape.new_value(shape, x.view().dtype(), Layout::kDense);
  tape.run(kernels::linear_forward,
           {x.view(), weight.view(), bias.present() ? bias.view() : TensorView(), y.view()});
  tape.record(y, {x, weight, bias}, std::make_unique<LinearFunction>(x, weight));
  return y;
}

}  // namespace panda::autograd
