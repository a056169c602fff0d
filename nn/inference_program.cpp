#include "nn/inference_program.h"

#include <algorithm>

#include "kernels/elementwise.h"
#include "kernels/gemm.h"
#include "kernels/kernel_table.h"
#include "kernels/tensor/checked_math.h"
#include "kernels/tensor/progress.h"

namespace panda::nn {

namespace {

int64_t stored_bytes(const Shape& shape, Layout layout = Layout::kDense, DType dtype = DType::kF32) {
  return checked_mul(stored_numel(shape, layout), dtype_bytes(dtype));
}

}  // namespace

InferenceProgram::InferenceProgram(Device& device, int64_t input_channels)
    : device_(&device), channels_{input_channels}, ranks_{4} {
  PANDA_CHECK(input_channels >= 1, "inference program: ", input_channels,
              " input channels, expected at least 1");
}

void InferenceProgram::check_operand(const char* step, ValueId value, int rank, int64_t channels) const {
  PANDA_CHECK(value >= 0 && value < static_cast<ValueId>(ranks_.size()), step, ": value ", value,
              " does not exist");
  const auto index = static_cast<size_t>(value);
  PANDA_CHECK(ranks_[index] == rank && channels_[index] == channels, step, ": value ", value, " has rank ",
              ranks_[index], " and ", channels_[index], " channels, expected rank ", rank, " and ", channels);
}

ValueId InferenceProgram::append(Step step, int64_t channels, int rank) {
  step.y = static_cast<ValueId>(ranks_.size());
  channels_.push_back(channels);
  ranks_.push_back(rank);
  steps_.push_back(std::move(step));
  planned_.clear();
  return steps_.back().y;
}

ValueId InferenceProgram::conv2d(ValueId x, kernels::Conv2dFilter filter, Tensor bias, bool relu,
                                 std::optional<ValueId> residual) {
  check_operand("conv2d", x, 4, filter.c);
  if (residual) check_operand("conv2d residual", *residual, 4, filter.k);
  const int64_t channels = filter.k;
  Step step;
  step.op = Op::kConv2d;
  step.x = x;
  step.residual = residual.value_or(-1);
  step.relu = relu;
  step.filter = std::move(filter);
  step.bias = std::move(bias);
  return append(std::move(step), channels, 4);
}

ValueId InferenceProgram::max_pool2d(ValueId x, const kernels::Pool2dGeometry& geometry) {
  PANDA_CHECK(x >= 0 && x < static_cast<ValueId>(ranks_.size()), "max_pool2d: value ", x, " does not exist");
  const int64_t channels = channels_[static_cast<size_t>(x)];
  check_operand("max_pool2d", x, 4, channels);
  Step step;
  step.op = Op::kMaxPool2d;
  step.x = x;
  step.pool = geometry;
  return append(std::move(step), channels, 4);
}

ValueId InferenceProgram::global_avg_pool2d(ValueId x) {
  PANDA_CHECK(x >= 0 && x < static_cast<ValueId>(ranks_.size()), "global_avg_pool2d: value ", x,
              " does not exist");
  const int64_t channels = channels_[static_cast<size_t>(x)];
  check_operand("global_avg_pool2d", x, 4, channels);
  Step step;
  step.op = Op::kGlobalAvgPool2d;
  step.x = x;
  return append(std::move(step), channels, 2);
}

ValueId InferenceProgram::linear(ValueId x, Tensor weight, Tensor bias) {
  PANDA_CHECK(weight.present() && weight.shape().rank() == 2, "linear: weight is ", weight.view().to_string(),
              ", expected f32 K,C");
  check_operand("linear", x, 2, weight.shape()[1]);
  const int64_t channels = weight.shape()[0];
  Step step;
  step.op = Op::kLinear;
  step.x = x;
  step.weight = std::move(weight);
  step.bias = std::move(bias);
  return append(std::move(step), channels, 2);
}

std::vector<char> InferenceProgram::find_needed(const std::vector<ValueId>& outputs) const {
  std::vector<char> needed(ranks_.size(), 0);
  for (const ValueId output : outputs) {
    PANDA_CHECK(output >= 1 && output < static_cast<ValueId>(ranks_.size()), "inference program: output ",
                output, ", expected 1 to ", ranks_.size() - 1);
    PANDA_CHECK(needed[static_cast<size_t>(output)] == 0, "inference program: output ", output,
                " is named twice");
    needed[static_cast<size_t>(output)] = 1;
  }
  for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
    if (needed[static_cast<size_t>(step->y)] == 0) continue;
    needed[static_cast<size_t>(step->x)] = 1;
    if (step->residual >= 0) needed[static_cast<size_t>(step->residual)] = 1;
  }
  return needed;
}

Shape InferenceProgram::output_shape(const Step& step, const ProgramPlan& plan) const {
  const Shape& x = plan.values[static_cast<size_t>(step.x)].shape;
  const int64_t channels = channels_[static_cast<size_t>(step.y)];
  if (ranks_[static_cast<size_t>(step.y)] == 2) return {x[0], channels};
  using Geometry = kernels::Conv2dGeometry;
  const bool conv = step.op == Op::kConv2d;
  const Geometry& g = step.filter.geometry;
  const kernels::Pool2dGeometry& p = step.pool;
  const int64_t height = conv ? Geometry::output_extent(x[2], step.filter.r, g.stride_h, g.pad_h)
                              : Geometry::output_extent(x[2], p.window_h, p.stride_h, p.pad_h);
  const int64_t width = conv ? Geometry::output_extent(x[3], step.filter.s, g.stride_w, g.pad_w)
                             : Geometry::output_extent(x[3], p.window_w, p.stride_w, p.pad_w);
  PANDA_CHECK(height >= 1 && width >= 1, "inference program: images of ", plan.input[2], "x", plan.input[3],
              " leave ", height, "x", width, " pixels after step ", &step - steps_.data(),
              ", expected larger images");
  return {x[0], channels, height, width};
}

void InferenceProgram::find_lifetimes(ProgramPlan& plan, const std::vector<char>& needed) const {
  const auto read = [&](ValueId value, int step) {
    if (value >= 0) plan.values[static_cast<size_t>(value)].last_step = step;
  };
  plan.values[0].shape = plan.input;
  plan.values[0].bytes = stored_bytes(plan.input);
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    if (needed[static_cast<size_t>(step.y)] == 0) continue;
    const int now = static_cast<int>(i);
    plan.steps.push_back(now);
    ValuePlan& y = plan.values[static_cast<size_t>(step.y)];
    y.shape = output_shape(step, plan);
    y.first_step = y.last_step = now;
    read(step.x, now);
    read(step.residual, now);
    if (step.residual < 0) continue;
    const Shape& residual = plan.values[static_cast<size_t>(step.residual)].shape;
    PANDA_CHECK(residual == y.shape, "inference program: step ", i, " adds ", residual, " to ", y.shape);
  }
}

void InferenceProgram::choose_places(ProgramPlan& plan) const {
  const Layout layout = device_->activation_layout();
  std::vector<ArenaRequest> requests;
  std::vector<int> request_of(plan.values.size(), -1);
  for (const int index : plan.steps) {
    const Step& step = steps_[static_cast<size_t>(index)];
    ValuePlan& y = plan.values[static_cast<size_t>(step.y)];
    const bool asked_for = std::find(plan.outputs.begin(), plan.outputs.end(), step.y) != plan.outputs.end();
    if (asked_for) plan.output_bytes = checked_add(plan.output_bytes, stored_bytes(y.shape));
    // An output is computed where the caller gets it, unless later steps would rather read it in the device's
    // layout.
    const bool read_later = y.last_step > y.first_step;
    y.in_arena = !asked_for || (y.shape.rank() == 4 && read_later && layout != Layout::kDense);
    y.layout = y.shape.rank() == 4 && y.in_arena ? layout : Layout::kDense;
    if (y.layout != Layout::kDense) y.dtype = activation_dtype(device_->precision());
    y.bytes = stored_bytes(y.shape, y.layout, y.dtype);
    if (!y.in_arena) continue;
    int request = -1;
    if (step.residual >= 1) {
      const ValuePlan& residual = plan.values[static_cast<size_t>(step.residual)];
      const bool last_read = residual.last_step == index && step.residual != step.x;
      if (residual.in_arena && last_read && residual.layout == y.layout) {
        y.shares_with = step.residual;
        request = request_of[static_cast<size_t>(step.residual)];
      }
    }
    if (request < 0) {
      request = static_cast<int>(requests.size());
      requests.push_back({y.bytes, y.first_step, y.last_step, 0});
    }
    requests[static_cast<size_t>(request)].last = y.last_step;
    request_of[static_cast<size_t>(step.y)] = request;
  }
  plan.arena_bytes = place_in_arena(requests);
  for (size_t value = 0; value < plan.values.size(); ++value) {
    if (request_of[value] >= 0)
      plan.values[value].offset = requests[static_cast<size_t>(request_of[value])].offset;
  }
}

ProgramPlan InferenceProgram::plan(const Shape& input, const std::vector<ValueId>& outputs) const {
  PANDA_CHECK(input.rank() == 4 && input[1] == channels_[0] && input[2] >= 1 && input[3] >= 1,
              "inference program: images are ", input, ", expected N,", channels_[0],
              ",H,W with H and W at least 1");
  ProgramPlan plan;
  plan.input = input;
  plan.outputs = outputs;
  plan.values.resize(ranks_.size());
  find_lifetimes(plan, find_needed(outputs));
  choose_places(plan);
  if (!device_->host_accessible()) plan.input_bytes = plan.values[0].bytes;
  if (device_->records()) plan.recorded_bytes = plan.output_bytes;
  find_workspace(plan);
  return plan;
}

kernels::Conv2dForwardArgs InferenceProgram::conv2d_args(const Step& step,
                                                         const std::vector<TensorView>& views) const {
  kernels::Conv2dForwardArgs args;
  args.x = views[static_cast<size_t>(step.x)];
  args.filter = &step.filter;
  if (step.bias.present()) args.bias = step.bias;
  if (step.residual >= 0) args.residual = views[static_cast<size_t>(step.residual)];
  args.y = views[static_cast<size_t>(step.y)];
  args.relu = step.relu;
  return args;
}

void InferenceProgram::find_workspace(ProgramPlan& plan) const {
  const auto workspace = device_->kernels().conv2d_forward_workspace;
  if (workspace == nullptr || plan.input.empty()) return;
  // Shapes and layouts without memory: the address is any that is aligned.
  void* const nowhere = reinterpret_cast<void*>(kArenaAlignment);
  std::vector<TensorView> views;
  for (const ValuePlan& value : plan.values)
    views.emplace_back(nowhere, value.dtype, value.shape, *device_, value.layout);
  for (const int index : plan.steps) {
    const Step& step = steps_[static_cast<size_t>(index)];
    if (step.op == Op::kConv2d)
      plan.workspace_bytes = std::max(plan.workspace_bytes, workspace(*device_, conv2d_args(step, views)));
  }
}

void InferenceProgram::execute(const Step& step, const std::vector<TensorView>& views) {
  const ConstTensorView x = views[static_cast<size_t>(step.x)];
  const TensorView y = views[static_cast<size_t>(step.y)];
  switch (step.op) {
    case Op::kConv2d:
      kernels::conv2d_forward(*device_, conv2d_args(step, views));
      return;
    case Op::kMaxPool2d:
      kernels::max_pool2d_forward(*device_, {x, step.pool, y});
      return;
    case Op::kGlobalAvgPool2d:
      kernels::global_avg_pool2d_forward(*device_, {x, y});
      return;
    case Op::kLinear:
      kernels::linear_forward(*device_, {x, step.weight, step.bias, y});
      return;
  }
}

void InferenceProgram::release_arena() {
  planned_.clear();
  arena_ = Tensor();
}

int64_t InferenceProgram::recordings() const {
  return std::count_if(planned_.begin(), planned_.end(),
                       [](const auto& planned) { return planned->recording != nullptr; });
}

InferenceProgram::PlannedRun& InferenceProgram::planned_run(const Shape& input,
                                                            const std::vector<ValueId>& outputs) {
  const auto known = std::find_if(planned_.begin(), planned_.end(), [&](const auto& planned) {
    return planned->plan.input == input && planned->plan.outputs == outputs;
  });
  if (known != planned_.end()) {
    std::rotate(planned_.begin(), known, known + 1);
    return *planned_.front();
  }
  auto made = std::make_unique<PlannedRun>();
  made->plan = plan(input, outputs);
  made->recordable = device_->records() && !input.empty();
  if (planned_.size() == kMostPlans) planned_.pop_back();
  planned_.insert(planned_.begin(), std::move(made));
  return *planned_.front();
}

void InferenceProgram::drop_recordings() {
  for (const auto& planned : planned_) {
    planned->recording.reset();
    planned->input = Tensor();
    planned->outputs.clear();
  }
}

void InferenceProgram::reserve_arena(int64_t bytes) {
  if (bytes <= arena_capacity()) return;
  drop_recordings();  // they hold addresses in the old arena
  arena_ = Tensor();  // before, not after: the old and the new arena are never held together
  arena_ = Tensor(*device_, DType::kU8, {bytes}, "activations");
}

std::vector<Tensor> InferenceProgram::make_outputs(const ProgramPlan& plan) const {
  std::vector<Tensor> outputs;
  for (const ValueId output : plan.outputs) {
    const ValuePlan& value = plan.values[static_cast<size_t>(output)];
    outputs.emplace_back(*device_, DType::kF32, value.shape, "network output");
  }
  return outputs;
}

void InferenceProgram::execute_all(const ProgramPlan& plan, const ConstTensorView& input,
                                   const std::vector<Tensor>& outputs) {
  std::vector<TensorView> views(plan.values.size());
  std::vector<TensorView> converted(plan.values.size());  // where an output that lives in the arena goes
  for (size_t i = 0; i < outputs.size(); ++i) {
    const auto output = static_cast<size_t>(plan.outputs[i]);
    (plan.values[output].in_arena ? converted : views)[output] = outputs[i];
  }
  for (size_t i = 1; i < plan.values.size(); ++i) {
    const ValuePlan& value = plan.values[i];
    if (!value.in_arena) continue;
    char* place = value.bytes == 0 ? nullptr : static_cast<char*>(arena_.view().raw()) + value.offset;
    views[i] = TensorView(place, value.dtype, value.shape, *device_, value.layout);
  }
  // Only ever read: no step writes value 0.
  views[0] = TensorView(const_cast<void*>(input.raw()), DType::kF32, input.shape(), input.device());
  for (const int index : plan.steps) {
    check_interrupt();
    const Step& step = steps_[static_cast<size_t>(index)];
    execute(step, views);
    const TensorView& out = converted[static_cast<size_t>(step.y)];
    if (out.present()) kernels::convert(*device_, {views[static_cast<size_t>(step.y)], out});
  }
}

void InferenceProgram::record(PlannedRun& planned) {
  try {
    planned.input = Tensor(*device_, DType::kF32, planned.plan.input, "network input");
    planned.outputs = make_outputs(planned.plan);
    planned.recording = device_->record([&] { execute_all(planned.plan, planned.input, planned.outputs); });
  } catch (const OutOfMemory&) {
    // It only makes the next runs shorter: without it they go as the first did.
    planned.recordable = false;
    planned.input = Tensor();
    planned.outputs.clear();
  }
}

std::vector<Tensor> InferenceProgram::run(const ConstTensorView& input, const std::vector<ValueId>& outputs) {
  PANDA_CHECK(input.present() && input.dtype() == DType::kF32 && input.layout() == Layout::kDense,
              "inference program: images are ", input.to_string(), ", expected dense f32");
  PlannedRun& planned = planned_run(input.shape(), outputs);
  reserve_arena(planned.plan.arena_bytes);
  std::vector<Tensor> results;
  try {
    results = make_outputs(planned.plan);
  } catch (const OutOfMemory&) {
    if (recordings() == 0) throw;
    drop_recordings();  // they only make runs shorter
    results = make_outputs(planned.plan);
  }
  if (planned.warm && planned.recordable && planned.recording == nullptr) record(planned);
  if (planned.recording != nullptr) {
    check_interrupt();
    copy(input, planned.input);
    planned.recording->replay();
    for (size_t i = 0; i < results.size(); ++i) copy(planned.outputs[i], results[i]);
    return results;
  }
  Tensor device_input;
  const bool readable =
      &input.device() == device_ || (input.device().host_accessible() && device_->host_accessible());
  if (!readable) device_input = clone_to(input, *device_, "network input");
  execute_all(planned.plan, readable ? input : ConstTensorView(device_input), results);
  planned.warm = true;
  return results;
}

}  // namespace panda::nn
