#include "autograd/functions/conv2d.h"

#include "kernels/batch_norm.h"
#include "kernels/elementwise.h"

namespace panda::autograd {

namespace {

using kernels::Conv2dGeometry;
using kernels::Gradient;
using kernels::GradientMode;

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

/// Where one call's packed filters are: in the layer's cache or, if they are not kept, in the tape's
/// FilterMemory.
class Packed {
 public:
  /// `made_from`: the filter, and what is folded into it.
  Packed(Tape& tape, const std::vector<Variable>& made_from, bool needs_transposed, Conv2dCache* cache)
      : tape_(&tape),
        own_(cache == nullptr ? std::make_unique<Conv2dCache>() : nullptr),
        cache_(cache == nullptr ? own_.get() : cache),
        version_(version_of(tape, made_from)) {
    bool trained = false;
    for (const Variable& variable : made_from) trained = trained || variable.needs_gradient();
    const bool again = version_ != 0 && cache_->used_version == version_;
    kept_ = !trained || again || tape.device().records();
    wants_forward_ = !kept_ || !up_to_date(cache_->filter_version);
    wants_transposed_ = kept_ && needs_transposed && !up_to_date(cache_->transposed_version);
  }

  [[nodiscard]] bool kept() const { return kept_; }
  /// Whether `pack` is to be called before the forward pass.
  [[nodiscard]] bool wanted() const { return wants_forward_ || wants_transposed_; }
  /// The forms that the forward pass makes.
  void pack(const ConstTensorView& filter, const Conv2dGeometry& geometry) {
    if (tape_->dry_run()) return;
    cache_->used_version = version_;
    if (!kept_) {  // what was kept is out of date
      cache_->filter = {};
      cache_->transposed = {};
      cache_->filter_version = cache_->transposed_version = 0;
    }
    if (wants_forward_)
      kernels::conv2d_prepare_filter(tape_->device(),
                                     {filter, geometry, kept_ ? &cache_->filter : &tape_->filters().filter});
    if (wants_transposed_)
      kernels::conv2d_prepare_transposed_filter(tape_->device(), {filter, geometry, &cache_->transposed});
    if (kept_ && wants_forward_) cache_->filter_version = version_;
    if (wants_transposed_) cache_->transposed_version = version_;
  }
  [[nodiscard]] const kernels::Conv2dFilter* forward() const {
    return kept_ ? &cache_->filter : &tape_->filters().filter;
  }
  /// The form that is not kept, for the backward pass.
  void pack_transposed(const ConstTensorView& filter, const Conv2dGeometry& geometry) const {
    if (!tape_->dry_run())
      kernels::conv2d_prepare_transposed_filter(tape_->device(),
                                                {filter, geometry, &tape_->filters().transposed});
  }
  [[nodiscard]] const kernels::Conv2dTransposedFilter* transposed() const {
    return kept_ ? &cache_->transposed : &tape_->filters().transposed;
  }
  /// f32 or f64, of K elements.
  [[nodiscard]] const Tensor& folded_bias(DType dtype, int64_t k) const {
    if (!cache_->folded_bias.present())
      cache_->folded_bias = Tensor(tape_->device(), dtype, {k}, "parameters");
    return cache_->folded_bias;
  }

 private:
  [[nodiscard]] bool up_to_date(uint64_t made) const { return version_ != 0 && made == version_; }

  Tape* tape_;
  std::unique_ptr<Conv2dCache> own_;
  Conv2dCache* cache_;
  uint64_t version_;
  bool kept_ = false;
  bool wants_forward_ = false;
  bool wants_transposed_ = false;
};

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
  Conv2dFunction(const Conv2dGeometry& geometry, Packed packed, Variable x, Variable y_of_relu,
                 Variable filter)
      : geometry_(geometry),
        packed_(std::move(packed)),
        x_(std::move(x)),
        y_(std::move(y_of_relu)),
        filter_(std::move(filter)) {}
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
    if (!context.needs(0)) return;
    pack_transposed(context.tape());
    const Gradient dL_dx = context.gradient(0);
    if (dL_dx.wanted())
      context.tape().run(kernels::conv2d_backward_input, {context.dL_dy(), packed_.transposed(), dL_dx});
  }
  virtual void pack_transposed(Tape&) {
    if (!packed_.kept()) packed_.pack_transposed(filter_.view(), geometry_);
  }

  Conv2dGeometry geometry_;
  Packed packed_;
  Variable x_;
  Variable y_;
  Variable filter_;
};

/// folded = s filter, and the bias that goes with it.
void fold(Tape& tape, const Packed& packed, const Variable& filter, const Variable& gamma,
          const Variable& beta, const BatchNormStatistics& statistics, const Variable& folded) {
  if (tape.dry_run()) return;
  tape.run(kernels::fold_batch_norm_forward,
           {filter.view(), gamma.view(), beta.view(), statistics.mean, statistics.variance,
            statistics.epsilon, folded.view(), packed.folded_bias(filter.view().dtype(), filter.shape()[0])});
}

/// Inputs: x, filter, gamma, beta, residual.
class Conv2dBatchNormFunction final : public Conv2dFunction {
 public:
  Conv2dBatchNormFunction(const Conv2dGeometry& geometry, Packed packed, Variable x, Variable y_of_relu,
                          Variable filter, Variable gamma, Variable beta,
                          const BatchNormStatistics& statistics)
      : Conv2dFunction(geometry, std::move(packed), std::move(x), std::move(y_of_relu), std::move(filter)),
        gamma_(std::move(gamma)),
        beta_(std::move(beta)),
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

  void pack_transposed(Tape& tape) override {
    if (tape.device().records()) return;  // all are kept
    // Taken in every step, as in the forward pass.
    const Variable folded = tape.new_value(filter_.shape(), filter_.view().dtype(), Layout::kDense);
    if (packed_.kept()) return;
    fold(tape, packed_, filter_, gamma_, beta_, statistics_, folded);
    packed_.pack_transposed(folded.view(), geometry_);
  }

  Variable gamma_;
  Variable beta_;
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
  Packed packed(tape, {filter}, x.needs_gradient(), options.cache);
  if (packed.wanted()) packed.pack(filter.view(), options.geometry);
  const Variable y = tape.new_image(shape, x.view().dtype());
  tape.run(kernels::conv2d_forward, {x.view(), packed.forward(), view_or_absent(bias),
                                     view_or_absent(residual), y.view(), options.relu});
  tape.record(y, {x, filter, bias, residual},
              std::make_unique<Conv2dFunction>(options.geometry, std::move(packed),
                                               filter.needs_gradient() ? x : Variable(),
                                               options.relu ? y : Variable(), filter));
  return y;
}

Variable conv2d_batch_norm(const Variable& x, const Variable& filter, const Variable& gamma,
                           const Variable& beta, const BatchNormStatistics& statistics,
                           const Variable& residual, const Conv2dOptions& options) {
  Tape& tape = x.tape();
  const Shape shape = output_shape("conv2d_batch_norm", x.shape(), filter.shape(), options.geometry);
  const DType dtype = x.view().dtype();
  Packed packed(tape, {filter, gamma, beta}, x.needs_gradient(), options.cache);
  {
    // Taken in every step, so that a step with packed filters at hand has the plan of one without.
    const Variable folded = tape.new_value(filter.shape(), dtype, Layout::kDense);
    if (packed.wanted()) {
      fold(tape, packed, filter, gamma, beta, statistics, folded);
      packed.pack(folded.view(), options.geometry);
    }
  }
  const Variable y = tape.new_image(shape, dtype);
  if (!tape.dry_run()) {
    tape.run(kernels::conv2d_forward, {x.view(), packed.forward(), packed.folded_bias(dtype, shape[1]),
                                       view_or_absent(residual), y.view(), options.relu});
  }
  const bool trained = filter.needs_gradient() || gamma.needs_gradient();
  tape.record(y, {x, filter, gamma, beta, residual},
              std::make_unique<Conv2dBatchNormFunction>(
                  options.geometry, std::move(packed), trained ? x : Variable(),
                  options.relu ? y : Variable(), filter, gamma, beta, statistics));
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
