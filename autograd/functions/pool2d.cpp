#include "autograd/functions/pool2d.h"

#include "kernels/conv2d.h"

namespace panda::autograd {

namespace {

class PoolFunction final : public Function {
 public:
  /// `x` is absent for the average.
  PoolFunction(const kernels::Pool2dGeometry& geometry, Variable x) : geometry_(geometry), x_(std::move(x)) {}
  [[nodiscard]] const char* name() const override { return x_.present() ? "max_pool2d" : "avg_pool2d"; }
  void backward(BackwardContext& context) override {
    const kernels::Gradient dL_dx = context.gradient(0);
    if (x_.present()) {
      context.tape().run(kernels::max_pool2d_backward, {x_.view(), context.dL_dy(), geometry_, dL_dx});
    } else {
      context.tape().run(kernels::avg_pool2d_backward, {{}, context.dL_dy(), geometry_, dL_dx});
    }
  }

 private:
  kernels::Pool2dGeometry geometry_;
  Variable x_;
};

class GlobalAverageFunction final : public Function {
 public:
  [[nodiscard]] const char* name() const override { return "global_avg_pool2d"; }
  void backward(BackwardContext& context) override {
    const kernels::Gradient dL_dx = context.gradient(0);
    context.tape().run(kernels::global_avg_pool2d_backward, {context.dL_dy(), dL_dx});
  }
};

class UpsampleFunction final : public Function {
 public:
  UpsampleFunction(int64_t scale_h, int64_t scale_w) : scale_h_(scale_h), scale_w_(scale_w) {}
  [[nodiscard]] const char* name() const override { return "upsample_nearest2d"; }
  void backward(BackwardContext& context) override {
    const kernels::Gradient dL_dx = context.gradient(0);
    context.tape().run(kernels::upsample_nearest2d_backward, {context.dL_dy(), scale_h_, scale_w_, dL_dx});
  }

 private:
  int64_t scale_h_;
  int64_t scale_w_;
};

/// The output, made by `pool`, in x's layout.
Variable pooled(const Variable& x, const kernels::Pool2dGeometry& g,
                void (*pool)(Device&, const kernels::Pool2dForwardArgs&)) {
  const Shape& s = x.shape();
  PANDA_CHECK(s.rank() == 4, "pooling: x is ", s, ", expected N,C,H,W");
  const Shape shape{s[0], s[1], kernels::Conv2dGeometry::output_extent(s[2], g.window_h, g.stride_h, g.pad_h),
                    kernels::Conv2dGeometry::output_extent(s[3], g.window_w, g.stride_w, g.pad_w)};
  Tape& tape = x.tape();
  Variable y = tape.new_value(shape, x.view().dtype(), x.view().layout());
  tape.run(pool, {x.view(), g, y.view()});
  return y;
}

}  // namespace

Variable max_pool2d(const Variable& x, const kernels::Pool2dGeometry& geometry) {
  const Variable y = pooled(x, geometry, kernels::max_pool2d_forward);
  x.tape().record(y, {x}, std::make_unique<PoolFunction>(geometry, x));
  return y;
}

Variable avg_pool2d(const Variable& x, const kernels::Pool2dGeometry& geometry) {
  const Variable y = pooled(x, geometry, kernels::avg_pool2d_forward);
  x.tape().record(y, {x}, std::make_unique<PoolFunction>(geometry, Variable()));
  return y;
}

Variable global_avg_pool2d(const Variable& x) {
  const Shape& s = x.shape();
  PANDA_CHECK(s.rank() == 4, "global_avg_pool2d: x is ", s, ", expected N,C,H,W");
  Tape& tape = x.tape();
  const Shape shape{s[0], s[1]};
  const Variable y = tape.new_value(shape, x.view().dtype(), Layout::kDense);
  tape.run(kernels::global_avg_pool2d_forward, {x.view(), y.view()});
  tape.record(y, {x}, std::make_unique<GlobalAverageFunction>());
  return y;
}

Variable upsample_nearest2d(const Variable& x, int64_t scale_h, int64_t scale_w) {
  const Shape& s = x.shape();
  PANDA_CHECK(s.rank() == 4 && scale_h >= 1 && scale_w >= 1, "upsample_nearest2d: x is ", s, ", scale ",
              scale_h, "x", scale_w, ", expected N,C,H,W and at least 1");
  Tape& tape = x.tape();
  const Shape shape{s[0], s[1], s[2] * scale_h, s[3] * scale_w};
  const Variable y = tape.new_value(shape, x.view().dtype(), x.view().layout());
  tape.run(kernels::upsample_nearest2d_forward, {x.view(), scale_h, scale_w, y.view()});
  tape.record(y, {x}, std::make_unique<UpsampleFunction>(scale_h, scale_w));
  return y;
}

}  // namespace panda::autograd
