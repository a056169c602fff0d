#include "autograd/functions/conv2d.h"

#include "kernels/batch_norm.h"
#include "kernels/elementwise.h"

namespace panda::autograd {

namespace {

using kernels::Conv2dGeometry;
using kernels::Gradient;
using kernels::GradientMode;

/// Filters packed for one call, or a layer's cache.
struct Packed {
  std::unique_ptr<Conv2dCache> own;
  Conv2dCache* cache;

  explicit Packed(Conv2dCache* shared)
      : own(shared == nullptr ? std::make_unique<Conv2dCache>() : nullptr),
        cache(shared == nullptr ? own.get() : shared) {}
};

/// A number that changes whenever one of the parameters does; 0 if one is no parameter, so that nothing may
/// be kept.
uint64_t version_of(const Tape& tape, const std::vector<Variable>& variables) {
  uint64_t version = 0;
  for (const Variable& variable : variables) {
    const Parameter* parameter = tape.parameter_of(variable);
    if (parameter == nullptr) return 0;
    version += parameter->version;  // versions only rise
  }
  return version;
}

bool up_to_date(uint64_t made, uint64_t wanted) {
  return wanted != 0 && made == wanted;
}

void prepare(Tape& tape, const ConstTensorView& filter, const Conv2dGeometry& geometry, Packed& packed,
             bool forward, bool transposed) {
  if (tape.dry_run()) return;
  if (forward) kernels::conv2d_prepare_filter(tape.device(), {filter, geometry, &packed.cache->filter});
  if (transposed)
    kernels::conv2d_prepare_transposed_filter(tape.device(), {filter, geometry, &packed.cache->transposed});
}

Shape output_shape(const char* function, const Shape& x, const Shape& filter, const Conv2dGeometry& g) {
  PANDA_CHECK(x.rank() == 4 && filter.rank() == 4 && x[1] == filter[1], function, ": x is ", x,
              " and filter ", filter, ", expected N,C,H,W and K,C,R,S");
  return {x[0], filter[0], Conv2dGeometry::output_extent(x[2], filter[2], g.stride_h, g.pad_h),
          Conv2dGeometry::output_extent(x[3], filter[3], g.stride_w, g.pad_w)};
}

TensorView view_or_absent(const Variable& variable) {
  return variable.present() ? variable.view() : TensorView();
}

/// Inputs: x, filter, bias, residual.
class Conv2dFunction : public Function {
 public:
  Conv2dFunction(const Conv2dGeometry& geometry, std::shared_ptr<Packed> packed, Variable x,
                 Variable y_of_relu)
      : geometry_(geometry), packed_(std::move(packed)), x_(std::move(x)), y_(std::move(y_of_relu)) {}
  [[nodiscard]] const char* name() const override { return "conv2d"; }

  void backward(BackwardContext& context) override {
    Tape& tape = context.tape();
    undo_relu(context);
    const TensorView g = context.dL_dy();
    const Gradient dL_dfilter = context.gradient(1);
    const Gradient squares = context.squares(1);
    if (dL_dfilter.wanted() || squares.wanted())
      tape.run(kernels::conv2d_backward_filter, {x_.view(), g, geometry_, dL_dfilter, squares, {}, {}});
    const Gradient dL_dbias = context.gradient(2);
    tape.run(kernels::bias_backward, {g, dL_dbias, context.squares(2), {}});
    undo_input(context);
    context.pass_on(3);
  }

 protected:
  void undo_relu(BackwardContext& context) {
    if (!y_.present()) return;
    const TensorView g = context.dL_dy();
    context.tape().run(kernels::unary_backward,
                       {kernels::UnaryOp::kRelu, y_.view(), g, {g, GradientMode::kOverwrite}});
    y_ = Variable();
  }
  void undo_input(BackwardContext& context) {
    const Gradient dL_dx = context.gradient(0);
    if (dL_dx.wanted())
      context.tape().run(kernels::conv2d_backward_input,
                         {context.dL_dy(), &packed_->cache->transposed, dL_dx});
  }

  Conv2dGeometry geometry_;
  std::shared_ptr<Packed> packed_;
  Variable x_;
  Variable y_;
};

/// Inputs: x, filter, gamma, beta, residual.
class Conv2dBatchNormFunction final : public Conv2dFunction {
 public:
  Conv2dBatchNormFunction(const Conv2dGeometry& geometry, std::shared_ptr<Packed> packed, Variable x,
                          Variable y_of_relu, Variable filter, Variable gamma,
                          const BatchNormStatistics& statistics)
      : Conv2dFunction(geometry, std::move(packed), std::move(x), std::move(y_of_relu)),
        filter_(std::move(filter)),
        gamma_(std::move(gamma)),
        statistics_(statistics) {}
  [[nodiscard]] const char* name() const override { return "conv2d_batch_norm"; }

  void backward(BackwardContext& context) override {
    undo_relu(context);
    if (context.needs(1) || context.needs(2) || context.needs(3)) undo_parameters(context);
    undo_input(context);
    context.pass_on(4);
  }

 private:
  void undo_parameters(BackwardContext& context) {
    Tape& tape = context.tape();
    const TensorView g = context.dL_dy();
    const Shape& shape = filter_.shape();
    const DType dtype = filter_.view().dtype();
    const Gradient dL_dfilter = context.gradient(1);
    const Gradient dL_dgamma = context.gradient(2);
    const Gradient dL_dbeta = context.gradient(3);
    const Gradient filter_squares = context.squares(1);
    const Gradient gamma_squares = context.squares(2);
    const Gradient beta_squares = context.squares(3);
    const bool squares = filter_squares.wanted() || gamma_squares.wanted() || beta_squares.wanted();
    const bool sums = dL_dfilter.wanted() || dL_dgamma.wanted();
    // G may be made in dL_dfilter's own memory, where it is scaled in place.
    const bool in_place = dL_dfilter.mode == GradientMode::kOverwrite;
    const Variable folded = sums && !in_place ? tape.new_value(shape, dtype, Layout::kDense) : Variable();
    const TensorView gradient = in_place ? dL_dfilter.view : view_or_absent(folded);
    const Variable bias = tape.new_value({shape[0]}, dtype, Layout::kDense);
    const Shape per_sample_shape{g.shape()[0], shape[0]};
    const Variable per_sample =
        squares ? tape.new_value(per_sample_shape, dtype, Layout::kDense) : Variable();
    const Variable dots = squares ? tape.new_value(per_sample_shape, dtype, Layout::kDense) : Variable();
    const Variable folded_squares = squares ? tape.new_value(shape, dtype, Layout::kDense) : Variable();
    const auto overwrite = [](bool wanted, const TensorView& view) {
      return wanted ? Gradient{view, GradientMode::kOverwrite} : Gradient{};
    };
    tape.run(kernels::bias_backward, {g, overwrite(true, bias.view()), {}, view_or_absent(per_sample)});
    if (sums || squares) {
      tape.run(kernels::conv2d_backward_filter,
               {x_.view(), g, geometry_, overwrite(sums, gradient),
                overwrite(squares, view_or_absent(folded_squares)), squares ? filter_.view() : TensorView(),
                view_or_absent(dots)});
    }
    if (sums) {
      tape.run(kernels::fold_batch_norm_backward,
               {filter_.view(), gamma_.view(), statistics_.mean, statistics_.variance, statistics_.epsilon,
                gradient, bias.view(), dL_dfilter, dL_dgamma, dL_dbeta});
    } else {
      tape.run(kernels::bias_backward, {g, dL_dbeta, {}, {}});
    }
    if (squares) {
      tape.run(
          kernels::fold_batch_norm_squares,
          {gamma_.view(), statistics_.mean, statistics_.variance, statistics_.epsilon, folded_squares.view(),
           dots.view(), per_sample.view(), filter_squares, gamma_squares, beta_squares});
    }
  }

  Variable filter_;
  Variable gamma_;
  BatchNormStatistics statistics_;
};

/// Inputs: x, filter.
class TransposedFunction final : public Function {
 public:
  TransposedFunction(const Conv2dGeometry& geometry, Variable x, Variable filter)
      : geometry_(geometry), x_(std::move(x)), filter_(std::move(filter)) {}
  [[nodiscard]] const char* name() const override { return "conv2d_transposed"; }
  void backward(BackwardContext& context) override {
    Tape& tape = context.tape();
    const TensorView dL_dy = context.dL_dy();
    if (const Gradient dL_dx = context.gradient(0); dL_dx.wanted()) {
      kernels::Conv2dFilter prepared;
      if (!tape.dry_run())
        kernels::conv2d_prepare_filter(tape.device(), {filter_.view(), geometry_, &prepared});
      tape.run(kernels::conv2d_forward,
               {dL_dy, &prepared, {}, dL_dx.accumulates() ? dL_dx.view : TensorView(), dL_dx.view, false});
    }
    const Gradient dL_dfilter = context.gradient(1);
    const Gradient squares = context.squares(1);
    if (dL_dfilter.wanted() || squares.wanted())
      tape.run(kernels::conv2d_backward_filter, {dL_dy, x_.view(), geometry_, dL_dfilter, squares, {}, {}});
  }

 private:
  Conv2dGeometry geometry_;
  Variable x_;
  Variable filter_;
};

}  // namespace

Variable conv2d(const Variable& x, const Variable& filter, const Variable& bias, const Variable& residual,
                const Conv2dOptions& options) {
  Tape& tape = x.tape();
  const Shape shape = output_shape("conv2d", x.shape(), filter.shape(), options.geometry);
  const auto packed = std::make_shared<Packed>(options.cache);
  Conv2dCache& cache = *packed->cache;
  const uint64_t version = version_of(tape, {filter});
  const bool forward = !up_to_date(cache.filter_version, version);
  const bool transposed = x.needs_gradient() && !up_to_date(cache.transposed_version, version);
  prepare(tape, filter.view(), options.geometry, *packed, forward, transposed);
  if (!tape.dry_run()) {
    cache.filter_version = version;
    if (x.needs_gradient()) cache.transposed_version = version;
  }
  const Variable y = tape.new_image(shape, x.view().dtype());
  tape.run(kernels::conv2d_forward,
           {x.view(), &cache.filter, view_or_absent(bias), view_or_absent(residual), y.view(), options.relu});
  tape.record(
      y, {x, filter, bias, residual},
      std::make_unique<Conv2dFunction>(options.geometry, packed, filter.needs_gradient() ? x : Variable(),
                                       options.relu ? y : Variable()));
  return y;
}

Variable conv2d_batch_norm(const Variable& x, const Variable& filter, const Variable& gamma,
                           const Variable& beta, const BatchNormStatistics& statistics,
                           const Variable& residual, const Conv2dOptions& options) {
  Tape& tape = x.tape();
  const Shape shape = output_shape("conv2d_batch_norm", x.shape(), filter.shape(), options.geometry);
  const DType dtype = x.view().dtype();
  const auto packed = std::make_shared<Packed>(options.cache);
  Conv2dCache& cache = *packed->cache;
  const uint64_t version = version_of(tape, {filter, gamma, beta});
  const bool forward = !up_to_date(cache.filter_version, version);
  const bool transposed = x.needs_gradient() && !up_to_date(cache.transposed_version, version);
  {
    // Taken in every step, so that a step with packed filters at hand has the plan of one without.
    const Variable folded = tape.new_value(filter.shape(), dtype, Layout::kDense);
    if ((forward || transposed) && !tape.dry_run()) {
      if (!cache.folded_bias.present())
        cache.folded_bias = Tensor(tape.device(), dtype, {shape[1]}, "parameters");
      tape.run(kernels::fold_batch_norm_forward,
               {filter.view(), gamma.view(), beta.view(), statistics.mean, statistics.variance,
                statistics.epsilon, folded.view(), cache.folded_bias});
      prepare(tape, folded.view(), options.geometry, *packed, forward, transposed);
      cache.filter_version = version;
      if (x.needs_gradient()) cache.transposed_version = version;
    }
  }
  const Variable y = tape.new_image(shape, dtype);
  if (!tape.dry_run()) {
    tape.run(kernels::conv2d_forward,
             {x.view(), &cache.filter, cache.folded_bias, view_or_absent(residual), y.view(), options.relu});
  }
  const bool trained = filter.needs_gradient() || gamma.needs_gradient();
  tape.record(
      y, {x, filter, gamma, beta, residual},
      std::make_unique<Conv2dBatchNormFunction>(options.geometry, packed, trained ? x : Variable(),
                                                options.relu ? y : Variable(), filter, gamma, statistics));
  return y;
}

Variable conv2d_transposed(const Variable& x, const Variable& filter, const Conv2dGeometry& geometry,
                           int64_t height, int64_t width) {
  Tape& tape = x.tape();
  const Shape& f = filter.shape();
  PANDA_CHECK(x.shape().rank() == 4 && f.rank() == 4 && x.shape()[1] == f[0], "conv2d_transposed: x is ",
              x.shape(), " and filter ", f, ", expected N,K,P,Q and K,C,R,S");
  const Shape shape{x.shape()[0], f[1], height, width};
  const Variable y = tape.new_image(shape, x.view().dtype());
  kernels::Conv2dTransposedFilter prepared;
  if (!tape.dry_run())
    kernels::conv2d_prepare_transposed_filter(tape.device(), {filter.view(), geometry, &prepared});
  tape.run(kernels::conv2d_backward_input, {x.view(), &prepared, {y.view(), GradientMode::kOverwrite}});
  tape.record(y, {x, filter}, std::make_unique<TransposedFunction>(geometry, x, filter));
  return y;
}

}  // namespace panda::autograd
