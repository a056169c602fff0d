#include "autograd/functions/loss.h"

#include "kernels/loss.h"

namespace panda::autograd {

namespace {

using kernels::Gradient;

class CrossEntropyFunction final : public Function {
 public:
  CrossEntropyFunction(Variable logits, const ConstTensorView& labels, double scale, double smoothing)
      : logits_(std::move(logits)), labels_(labels), scale_(scale), smoothing_(smoothing) {}
  [[nodiscard]] const char* name() const override { return "softmax_cross_entropy"; }
  void backward(BackwardContext& context) override {
    const Gradient dL_dlogits = context.gradient(0);
    context.tape().run(kernels::softmax_cross_entropy_backward,
                       {logits_.view(), labels_, context.dL_dy(), smoothing_, scale_, dL_dlogits});
  }

 private:
  Variable logits_;
  ConstTensorView labels_;
  double scale_;
  double smoothing_;
};

/// N,1 as N.
TensorView as_vector(const TensorView& view) {
  return view.shape().rank() == 2 ? view.reshaped({view.shape()[0]}) : view;
}

class LogisticFunction final : public Function {
 public:
  LogisticFunction(Variable logits, const ConstTensorView& targets, double scale)
      : logits_(std::move(logits)), targets_(targets), scale_(scale) {}
  [[nodiscard]] const char* name() const override { return "logistic_loss"; }
  void backward(BackwardContext& context) override {
    Gradient dL_dlogits = context.gradient(0);
    if (dL_dlogits.wanted()) dL_dlogits.view = as_vector(dL_dlogits.view);
    context.tape().run(kernels::logistic_loss_backward,
                       {as_vector(logits_.view()), targets_, context.dL_dy(), scale_, dL_dlogits});
  }

 private:
  Variable logits_;
  ConstTensorView targets_;
  double scale_;
};

class CompactnessFunction final : public Function {
 public:
  CompactnessFunction(Variable x, const ConstTensorView& center, double scale)
      : x_(std::move(x)), center_(center), scale_(scale) {}
  [[nodiscard]] const char* name() const override { return "compactness"; }
  void backward(BackwardContext& context) override {
    const Gradient dL_dx = context.gradient(0);
    context.tape().run(kernels::compactness_backward, {x_.view(), center_, context.dL_dy(), scale_, dL_dx});
  }

 private:
  Variable x_;
  ConstTensorView center_;
  double scale_;
};

Variable new_losses(const Variable& input) {
  return input.tape().new_value({input.shape()[0]}, input.view().dtype(), Layout::kDense);
}

}  // namespace

Variable softmax_cross_entropy(const Variable& logits, const ConstTensorView& labels, double scale,
                               double smoothing) {
  const Variable losses = new_losses(logits);
  logits.tape().run(kernels::softmax_cross_entropy_forward,
                    {logits.view(), labels, smoothing, scale, losses.view()});
  logits.tape().record(losses, {logits},
                       std::make_unique<CrossEntropyFunction>(logits, labels, scale, smoothing));
  return losses;
}

Variable logistic_loss(const Variable& logits, const ConstTensorView& targets, double scale) {
  PANDA_CHECK(logits.shape().rank() == 1 || (logits.shape().rank() == 2 && logits.shape()[1] == 1),
              "logistic_loss: logits are ", logits.shape(), ", expected N or N,1");
  const Variable losses = new_losses(logits);
  logits.tape().run(kernels::logistic_loss_forward,
                    {as_vector(logits.view()), targets, scale, losses.view()});
  logits.tape().record(losses, {logits}, std::make_unique<LogisticFunction>(logits, targets, scale));
  return losses;
}

Variable compactness(const Variable& x, const ConstTensorView& center, double scale) {
  const Variable losses = new_losses(x);
  x.tape().run(kernels::compactness_forward, {x.view(), center, scale, losses.view()});
  x.tape().record(losses, {x}, std::make_unique<CompactnessFunction>(x, center, scale));
  return losses;
}

double total(const ConstTensorView& losses) {
  const Tensor rows = clone_to(losses, host());
  double sum = 0;
  for (int64_t n = 0; n < rows.numel(); ++n)
    sum += rows.dtype() == DType::kF64 ? rows.data<double>()[n] : double{rows.data<float>()[n]};
  return sum;
}

}  // namespace panda::autograd
