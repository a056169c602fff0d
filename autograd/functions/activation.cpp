#include "autograd/functions/activation.h"

namespace panda::autograd {

namespace {

class ActivationFunction final : public Function {
 public:
  ActivationFunction(kernels::UnaryOp op, double slope, Variable y)
      : op_(op), slope_(slope), y_(std::move(y)) {}
  [[nodiscard]] const char* name() const override { return "activation"; }
  void backward(BackwardContext& context) override {
    const kernels::Gradient dL_dx = context.gradient(0);
    context.tape().run(kernels::unary_backward, {op_, y_.view(), context.dL_dy(), dL_dx, slope_});
  }

 private:
  kernels::UnaryOp op_;
  double slope_;
  Variable y_;
};

}  // namespace

Variable activation(const Variable& x, kernels::UnaryOp op, double slope) {
  Tape& tape = x.tape();
  const Variable y = tape.new_value(x.shape(), x.view().dtype(), x.view().layout());
  tape.run(kernels::unary_forward, {op, x.view(), y.view(), slope});
  tape.record(y, {x}, std::make_unique<ActivationFunction>(op, slope, y));
  return y;
}

}  // namespace panda::autograd
