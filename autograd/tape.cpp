#include "autograd/tape.h"

#include <cmath>
#include <utility>

#include "kernels/elementwise.h"

namespace panda::autograd {

using kernels::Gradient;
using kernels::GradientMode;

Variable::Variable(Tape* tape, ValueId id) : tape_(tape), id_(id) {
  tape_->retain(id_);
}
Variable::Variable(const Variable& other) : tape_(other.tape_), id_(other.id_) {
  if (tape_ != nullptr) tape_->retain(id_);
}
Variable::Variable(Variable&& other) noexcept
    : tape_(std::exchange(other.tape_, nullptr)), id_(std::exchange(other.id_, -1)) {}
Variable& Variable::operator=(Variable other) noexcept {
  std::swap(tape_, other.tape_);
  std::swap(id_, other.id_);
  return *this;
}
Variable::~Variable() {
  if (tape_ != nullptr) tape_->release(id_);
}
Shape Variable::shape() const {
  return tape_->value(id_).shape;
}
bool Variable::needs_gradient() const {
  return tape_ != nullptr && tape_->value(id_).needs;
}
TensorView Variable::view() const {
  const Tape::Value& value = tape_->value(id_);
  if (value.external.present()) {
    // Only ever read: no function writes a leaf.
    return {const_cast<void*>(value.external.raw()), value.dtype, value.shape, value.external.device(),
            value.layout};
  }
  return tape_->view_of(value, value.buffer);
}

Tape::Tape(Workspace& workspace, const TapeOptions& options)
    : workspace_(workspace),
      options_(options),
      pool_(workspace, options.dry_run ? BufferPool::Mode::kPlan : BufferPool::Mode::kRun) {}

Tape::~Tape() {
  closing_ = true;  // what is left goes with the pool, unplanned
  nodes_.clear();
}

Variable Tape::add_leaf(const ConstTensorView& view) {
  PANDA_CHECK(view.present(), "tape: the tensor is absent");
  Value value;
  value.shape = view.shape();
  value.dtype = view.dtype();
  value.layout = view.layout();
  value.external = view;
  values_.push_back(std::move(value));
  return {this, static_cast<ValueId>(values_.size() - 1)};
}

Variable Tape::constant(const ConstTensorView& view) {
  return add_leaf(view);
}

Variable Tape::input(const ConstTensorView& view, const Gradient& gradient) {
  Variable variable = add_leaf(view);
  Value& leaf = value(variable.id());
  leaf.needs = gradient.wanted();
  leaf.destination = gradient;
  return variable;
}

Variable Tape::parameter(Parameter& parameter, GradientMode mode) {
  for (const Value& known : values_)
    PANDA_CHECK(known.parameter != &parameter, "tape: parameter ", parameter.name, " is registered already");
  Variable variable = add_leaf(parameter.value);
  Value& leaf = value(variable.id());
  leaf.parameter = &parameter;
  if (!parameter.trainable) return variable;
  leaf.needs = mode != GradientMode::kIgnore || parameter.squares.present();
  if (mode != GradientMode::kIgnore) leaf.destination = {parameter.gradient, mode};
  if (parameter.squares.present()) leaf.squares = {parameter.squares, GradientMode::kAccumulate};
  return variable;
}

Parameter* Tape::parameter_of(const Variable& variable) const {
  return variable.present() ? values_[static_cast<size_t>(variable.id())].parameter : nullptr;
}

void Tape::retain(ValueId id) {
  ++value(id).handles;
}

void Tape::release(ValueId id) noexcept {
  Value& released = value(id);
  if (--released.handles > 0 || released.buffer < 0 || closing_) return;
  pool_.give_back(std::exchange(released.buffer, -1));
}

TensorView Tape::view_of(const Value& of, int buffer) const {
  PANDA_INTERNAL_ASSERT(buffer >= 0, "the value's memory was given back");
  return {pool_.pointer(buffer), of.dtype, of.shape, device(), of.layout};
}

Variable Tape::new_value(const Shape& shape, DType dtype, Layout layout) {
  Value made;
  made.shape = shape;
  made.dtype = dtype;
  made.layout = layout;
  made.buffer = pool_.take(stored_numel(shape, layout) * dtype_bytes(dtype));
  values_.push_back(std::move(made));
  return {this, static_cast<ValueId>(values_.size() - 1)};
}

void Tape::record(const Variable& output, const std::vector<Variable>& inputs,
                  std::unique_ptr<Function> function) {
  PANDA_CHECK(!done_, "tape: ", function->name(), " after the backward pass");
  if (options_.check_finite && !options_.dry_run) check_is_finite(output.view(), "output", function->name());
  Node node;
  node.output = output.id();
  bool needs = false;
  for (const Variable& input : inputs) {
    PANDA_CHECK(!input.present() || &input.tape() == this, "tape: ", function->name(),
                " has an input of another tape");
    node.inputs.push_back(input.present() ? input.id() : -1);
    needs = needs || input.needs_gradient();
  }
  if (!needs) return;
  value(output.id()).needs = true;
  node.function = std::move(function);
  nodes_.push_back(std::move(node));
}

void Tape::seed_gradient(const Root& root) {
  PANDA_CHECK(root.value.needs_gradient(), "tape: a root depends on nothing that needs a gradient");
  Value& of = value(root.value.id());
  PANDA_CHECK(of.gradient_buffer < 0 && !of.external.present(), "tape: a root is named twice, or is a leaf");
  of.gradient_buffer = pool_.take(stored_numel(of.shape, of.layout) * dtype_bytes(of.dtype));
  of.gradient_written = true;
  if (options_.dry_run) return;
  Tensor seed;
  if (root.seed.present()) {
    PANDA_CHECK(root.seed.shape() == of.shape, "tape: seed is ", root.seed.shape(), ", expected ", of.shape);
    seed = clone_to(root.seed, device(), "seed");
  } else {
    Tensor ones(host(), of.dtype, of.shape, "seed");
    for (int64_t i = 0; i < ones.numel(); ++i) {
      if (of.dtype == DType::kF64) {
        ones.data<double>()[i] = root.weight;
      } else {
        ones.data<float>()[i] = static_cast<float>(root.weight);
      }
    }
    seed = clone_to(ones, device(), "seed");
  }
  kernels::convert(device(), {seed, view_of(of, of.gradient_buffer)});
}

void Tape::backward(const std::vector<Root>& roots) {
  PANDA_CHECK(!done_, "tape: the backward pass was run before; a tape gives its gradients once");
  done_ = true;
  for (const Root& root : roots) seed_gradient(root);
  for (size_t index = nodes_.size(); index-- > 0;) {
    Node& node = nodes_[index];
    if (value(node.output).gradient_written) {
      BackwardContext context(*this, index);
      node.function->backward(context);
      if (options_.check_finite && !options_.dry_run) {
        for (const ValueId input : node.inputs) {
          if (input < 0 || !value(input).gradient_written) continue;
          const Value& of = value(input);
          check_is_finite(of.destination.wanted() ? ConstTensorView(of.destination.view)
                                                  : view_of(of, of.gradient_buffer),
                          "gradient", node.function->name());
        }
      }
      Value& output = value(node.output);
      if (output.gradient_buffer >= 0) pool_.give_back(std::exchange(output.gradient_buffer, -1));
    }
    node.function.reset();
  }
  clear_unreached();
}

void Tape::clear_unreached() {
  for (const Value& leaf : values_) {
    const bool stale = leaf.destination.mode == GradientMode::kOverwrite && !leaf.gradient_written;
    if (stale && !options_.dry_run)
      device().fill(leaf.destination.view.raw(), 0, leaf.destination.view.bytes());
  }
}

void Tape::check_is_finite(const ConstTensorView& view, const char* what, const char* function) const {
  const Tensor here = clone_to(view, host());
  const int64_t count = stored_numel(here.shape(), here.layout());
  for (int64_t i = 0; i < count; ++i) {
    const double element = here.dtype() == DType::kF64 ? here.data<double>()[i] : here.data<float>()[i];
    PANDA_CHECK(std::isfinite(element), "tape: ", what, " ", view.shape(), " of ", function, " holds ",
                element, " at element ", i);
  }
}

TensorView BackwardContext::dL_dy() const {
  const Tape::Value& output = tape_.value(tape_.nodes_[node_].output);
  return tape_.view_of(output, output.gradient_buffer);
}

Tape::Value& BackwardContext::input_value(size_t input) const {
  return tape_.value(tape_.nodes_[node_].inputs[input]);
}

bool BackwardContext::needs(size_t input) const {
  return tape_.nodes_[node_].inputs[input] >= 0 && input_value(input).needs;
}

Gradient BackwardContext::gradient(size_t input) {
  if (!needs(input)) return {};
  Tape::Value& of = input_value(input);
  const bool leaf = of.external.present();
  if (leaf && !of.destination.wanted()) return {};
  const bool first = !std::exchange(of.gradient_written, true);
  if (leaf) return {of.destination.view, first ? of.destination.mode : GradientMode::kAccumulate};
  if (first) of.gradient_buffer = tape_.pool_.take(stored_numel(of.shape, of.layout) * dtype_bytes(of.dtype));
  return {tape_.view_of(of, of.gradient_buffer),
          first ? GradientMode::kOverwrite : GradientMode::kAccumulate};
}

Gradient BackwardContext::squares(size_t input) {
  if (!needs(input)) return {};
  Tape::Value& of = input_value(input);
  if (!of.squares.wanted()) return {};
  PANDA_CHECK(!std::exchange(of.squares_written, true), "tape: parameter ", of.parameter->name,
              " is used twice: its per-sample squares are not the sum of each use's");
  return of.squares;
}

void BackwardContext::pass_on(size_t input) {
  if (!needs(input)) return;
  Tape::Value& of = input_value(input);
  Tape::Value& output = tape_.value(tape_.nodes_[node_].output);
  if (!of.external.present() && !of.gradient_written && of.layout == output.layout) {
    of.gradient_buffer = std::exchange(output.gradient_buffer, -1);
    of.gradient_written = true;
    return;
  }
  const TensorView from = dL_dy();
  const Gradient to = gradient(input);
  if (!to.wanted()) return;
  if (to.mode == GradientMode::kOverwrite) {
    tape_.run(kernels::convert, {from, to.view});
    return;
  }
  if (from.layout() == to.view.layout()) {
    tape_.run(kernels::binary_forward, {kernels::BinaryOp::kAdd, to.view, from, to.view});
    return;
  }
  const Variable same = tape_.new_value(to.view.shape(), to.view.dtype(), to.view.layout());
  tape_.run(kernels::convert, {from, same.view()});
  tape_.run(kernels::binary_forward, {kernels::BinaryOp::kAdd, to.view, same.view(), to.view});
}

void plan_step(Workspace& workspace, const std::function<void(Tape&)>& step) {
  Tape tape(workspace, {.dry_run = true});
  step(tape);
  tape.pool_.finish_plan();
}

}  // namespace panda::autograd
