#include "autograd/functions/batch_norm.h"

#include "kernels/batch_norm.h"

namespace panda::autograd {

namespace {

using kernels::Gradient;

class EvaluationFunction final : public Function {
 public:
  EvaluationFunction(Variable x, Variable gamma, const ConstTensorView& mean, const ConstTensorView& variance,
                     double epsilon)
      : x_(std::move(x)), gamma_(std::move(gamma)), mean_(mean), variance_(variance), epsilon_(epsilon) {}
  [[nodiscard]] const char* name() const override { return "batch_norm"; }
  void backward(BackwardContext& context) override {
    const Gradient dL_dx = context.gradient(0);
    const Gradient dL_dgamma = context.gradient(1);
    const Gradient dL_dbeta = context.gradient(2);
    context.tape().run(kernels::batch_norm_backward, {x_.view(), context.dL_dy(), gamma_.view(), mean_,
                                                      variance_, epsilon_, dL_dx, dL_dgamma, dL_dbeta});
  }

 private:
  Variable x_;
  Variable gamma_;
  ConstTensorView mean_;
  ConstTensorView variance_;
  double epsilon_;
};

class TrainingFunction final : public Function {
 public:
  TrainingFunction(Variable x, Variable gamma, Variable mean, Variable inverse)
      : x_(std::move(x)), gamma_(std::move(gamma)), mean_(std::move(mean)), inverse_(std::move(inverse)) {}
  [[nodiscard]] const char* name() const override { return "batch_norm_training"; }
  void backward(BackwardContext& context) override {
    const Gradient dL_dx = context.gradient(0);
    const Gradient dL_dgamma = context.gradient(1);
    const Gradient dL_dbeta = context.gradient(2);
    context.tape().run(kernels::batch_norm_training_backward,
                       {x_.view(), context.dL_dy(), gamma_.present() ? gamma_.view() : TensorView(),
                        mean_.view(), inverse_.view(), dL_dx, dL_dgamma, dL_dbeta});
  }

 private:
  Variable x_;
  Variable gamma_;
  Variable mean_;
  Variable inverse_;
};

}  // namespace

Variable batch_norm(const Variable& x, const Variable& gamma, const Variable& beta,
                    const ConstTensorView& mean, const ConstTensorView& variance, double epsilon) {
  Tape& tape = x.tape();
  const Variable y = tape.new_value(x.shape(), x.view().dtype(), x.view().layout());
  tape.run(kernels::batch_norm_forward,
           {x.view(), gamma.view(), beta.view(), mean, variance, epsilon, y.view()});
  tape.record(y, {x, gamma, beta}, std::make_unique<EvaluationFunction>(x, gamma, mean, variance, epsilon));
  return y;
}

Variable batch_norm_training(const Variable& x, const Variable& gamma, const Variable& beta,
                             const RunningStatistics& running, double epsilon) {
  Tape& tape = x.tape();
  PANDA_CHECK(x.shape().rank() == 4, "batch_norm_training: x is ", x.shape(), ", expected N,C,H,W");
  const Shape channels{x.shape()[1]};
  const DType dtype = x.view().dtype();
  const Variable y = tape.new_value(x.shape(), dtype, x.view().layout());
  const Variable mean = tape.new_value(channels, dtype, Layout::kDense);
  const Variable inverse = tape.new_value(channels, dtype, Layout::kDense);
  tape.run(
      kernels::batch_norm_training_forward,
      {x.view(), gamma.present() ? gamma.view() : TensorView(), beta.present() ? beta.view() : TensorView(),
       epsilon, y.view(), mean.view(), inverse.view(), running.mean, running.variance, running.momentum});
  tape.record(y, {x, gamma, beta}, std::make_unique<TrainingFunction>(x, gamma, mean, inverse));
  return y;
}

}  // namespace panda::autograd
