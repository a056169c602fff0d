#include "autograd/functions/arithmetic.h"

#include "kernels/elementwise.h"

namespace panda::autograd {

namespace {

class AddFunction final : public Function {
 public:
  [[nodiscard]] const char* name() const override { return "add"; }
  void backward(BackwardContext& context) override {
    const kernels::Gradient dL_da = context.gradient(0);
    if (dL_da.mode == kernels::GradientMode::kOverwrite) {
      context.tape().run(kernels::convert, {context.dL_dy(), dL_da.view});
    } else if (dL_da.wanted()) {
      context.tape().run(kernels::binary_forward,
                         {kernels::BinaryOp::kAdd, dL_da.view, context.dL_dy(), dL_da.view});
    }
    context.pass_on(1);
  }
};

/// The elements of `from` into `to`, which may have another layout and other extents (one of the two is dense
/// N,C*H*W).
void rearrange(Tape& tape, const TensorView& from, const kernels::Gradient& to, const Shape& image) {
  const auto as_image = [&](const TensorView& view) {
    return view.shape().rank() == 2 ? view.reshaped(image) : view;
  };
  if (!to.wanted()) return;
  if (to.mode == kernels::GradientMode::kOverwrite) {
    tape.run(kernels::convert, {as_image(from), as_image(to.view)});
    return;
  }
  const Variable same = tape.new_value(to.view.shape(), to.view.dtype(), to.view.layout());
  tape.run(kernels::convert, {as_image(from), as_image(same.view())});
  tape.run(kernels::binary_forward, {kernels::BinaryOp::kAdd, to.view, same.view(), to.view});
}

class RearrangeFunction final : public Function {
 public:
  RearrangeFunction(const char* name, const Shape& image) : name_(name), image_(image) {}
  [[nodiscard]] const char* name() const override { return name_; }
  void backward(BackwardContext& context) override {
    const TensorView dL_dy = context.dL_dy();
    rearrange(context.tape(), dL_dy, context.gradient(0), image_);
  }

 private:
  const char* name_;
  Shape image_;
};

}  // namespace

Variable add(const Variable& a, const Variable& b) {
  Tape& tape = a.tape();
  const Variable y = tape.new_value(a.shape(), a.view().dtype(), a.view().layout());
  tape.run(kernels::binary_forward, {kernels::BinaryOp::kAdd, a.view(), b.view(), y.view()});
  tape.record(y, {a, b}, std::make_unique<AddFunction>());
  return y;
}

Variable flatten(const Variable& x) {
  Tape& tape = x.tape();
  const Shape& s = x.shape();
  PANDA_CHECK(s.rank() == 4, "flatten: x is ", s, ", expected N,C,H,W");
  const Shape image = s;
  const Variable y =
      tape.new_value({image[0], image[1] * image[2] * image[3]}, x.view().dtype(), Layout::kDense);
  rearrange(tape, x.view(), {y.view(), kernels::GradientMode::kOverwrite}, image);
  tape.record(y, {x}, std::make_unique<RearrangeFunction>("flatten", image));
  return y;
}

Variable unflatten(const Variable& x, int64_t c, int64_t h, int64_t w) {
  Tape& tape = x.tape();
  PANDA_CHECK(x.shape().rank() == 2 && x.shape()[1] == c * h * w, "unflatten: x is ", x.shape(),
              ", expected N,", c * h * w);
  const Shape image{x.shape()[0], c, h, w};
  const Variable y = tape.new_image(image, x.view().dtype());
  rearrange(tape, x.view(), {y.view(), kernels::GradientMode::kOverwrite}, image);
  tape.record(y, {x}, std::make_unique<RearrangeFunction>("unflatten", image));
  return y;
}

}  // namespace panda::autograd
