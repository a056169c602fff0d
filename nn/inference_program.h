// A network in evaluation mode, as a flat list of steps over numbered values.
//
// Nothing here knows a network or a device: a network appends steps (nn/resnet.cpp), and a run calls the
// public kernels in that order. Because the list is known before the run, so is the memory: `plan` finds when
// each value is written and last read, gives values that never live at once the same bytes of one arena, and
// says how many bytes that takes. A residual that is read for the last time is added in place. Steps that the
// asked-for outputs do not need are left out.
//
// Where the device records (Device::records), the second run of a plan is taken down, and from then on the
// whole network is one replay between a copy into a fixed input and copies out of fixed outputs.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/conv2d.h"
#include "kernels/pool2d.h"
#include "kernels/tensor/arena.h"

namespace panda::nn {

/// Names one result inside a program. Value 0 is the input.
using ValueId = int32_t;

/// Where one value of a planned run is.
struct ValuePlan {
  Shape shape;
  Layout layout = Layout::kDense;
  DType dtype = DType::kF32;
  int64_t bytes = 0;
  int first_step = -1;  ///< the step that writes it; -1: it is not computed
  int last_step = -1;   ///< the last step that reads it (first_step if none does)
  bool in_arena = false;
  int64_t offset = 0;        ///< in the arena
  ValueId shares_with = -1;  ///< written in place over this value, whose last reader writes it
};

/// A run for one input shape and one set of outputs.
struct ProgramPlan {
  Shape input;
  std::vector<ValueId> outputs;
  std::vector<ValuePlan> values;
  std::vector<int> steps;    ///< indices of the steps that run, in order
  int64_t arena_bytes = 0;   ///< intermediate values: the one allocation that runs share
  int64_t output_bytes = 0;  ///< the tensors that the run returns
  int64_t input_bytes = 0;   ///< a copy of the input on the device, where the device cannot read the caller's
  int64_t workspace_bytes = 0;  ///< the most that a step takes besides, while it runs
  int64_t recorded_bytes = 0;   ///< the outputs once more, where the device records
  [[nodiscard]] int64_t peak_bytes() const {
    return arena_bytes + output_bytes + input_bytes + workspace_bytes + recorded_bytes;
  }
};

/// Not for concurrent use: runs share the arena.
class InferenceProgram {
 public:
  /// The input is f32 N,`input_channels`,H,W.
  InferenceProgram(Device& device, int64_t input_channels);

  // Each appends a step and returns the value it makes. Channel counts are checked here, extents when
  // planning.
  /// y = relu?(conv(x) + bias + residual?).  `filter` must be prepared for this device; bias: f32 K on this
  /// device.
  ValueId conv2d(ValueId x, kernels::Conv2dFilter filter, Tensor bias, bool relu,
                 std::optional<ValueId> residual = {});
  ValueId max_pool2d(ValueId x, const kernels::Pool2dGeometry& geometry);
  /// N,C,H,W to N,C.
  ValueId global_avg_pool2d(ValueId x);
  /// N,C to N,K. weight: f32 K,C; bias: f32 K, on this device.
  ValueId linear(ValueId x, Tensor weight, Tensor bias);

  /// Throws InvalidArgument for a wrong shape or an unknown output, and where an extent becomes 0 (naming the
  /// step).
  [[nodiscard]] ProgramPlan plan(const Shape& input, const std::vector<ValueId>& outputs) const;

  /// Computes `outputs` (each named once), and no more than they need: dense f32 tensors on the device, owned
  /// by the caller. input: dense f32, on the device or the host. The arena grows to the largest plan run so
  /// far and is kept, and with it the recordings of the last kMostPlans plans. Each image's results are
  /// independent of the others in the batch. Throws Interrupted between steps if a stop was asked for.
  [[nodiscard]] std::vector<Tensor> run(const ConstTensorView& input, const std::vector<ValueId>& outputs);

  [[nodiscard]] Device& device() const { return *device_; }
  [[nodiscard]] int64_t arena_capacity() const { return arena_.present() ? arena_.bytes() : 0; }
  /// Frees the arena and all recordings; the next run allocates anew.
  void release_arena();
  /// Plans that are replayed now.
  [[nodiscard]] int64_t recordings() const;

  /// A loader gives full batches and one ragged one, for the training and the test set.
  static constexpr size_t kMostPlans = 4;

 private:
  /// A plan that was run, and what makes its next run shorter. The recording holds the addresses of the rest.
  struct PlannedRun {
    ProgramPlan plan;
    bool warm = false;        ///< it was run once
    bool recordable = false;  ///< the device records, and did not run out of memory over it
    Tensor input;
    std::vector<Tensor> outputs;
    std::unique_ptr<Recording> recording;
  };
  enum class Op : uint8_t { kConv2d, kMaxPool2d, kGlobalAvgPool2d, kLinear };
  struct Step {
    Op op = Op::kConv2d;
    ValueId x = 0;
    ValueId residual = -1;
    ValueId y = 0;
    bool relu = false;
    kernels::Conv2dFilter filter;
    kernels::Pool2dGeometry pool;
    Tensor weight;
    Tensor bias;
  };

  ValueId append(Step step, int64_t channels, int rank);
  void check_operand(const char* step, ValueId value, int rank, int64_t channels) const;
  [[nodiscard]] std::vector<char> find_needed(const std::vector<ValueId>& outputs) const;
  [[nodiscard]] Shape output_shape(const Step& step, const ProgramPlan& plan) const;
  void find_lifetimes(ProgramPlan& plan, const std::vector<char>& needed) const;
  void choose_places(ProgramPlan& plan) const;
  void find_workspace(ProgramPlan& plan) const;
  [[nodiscard]] kernels::Conv2dForwardArgs conv2d_args(const Step& step,
                                                       const std::vector<TensorView>& views) const;
  void execute(const Step& step, const std::vector<TensorView>& views);
  [[nodiscard]] PlannedRun& planned_run(const Shape& input, const std::vector<ValueId>& outputs);
  void drop_recordings();
  void reserve_arena(int64_t bytes);
  [[nodiscard]] std::vector<Tensor> make_outputs(const ProgramPlan& plan) const;
  void execute_all(const ProgramPlan& plan, const ConstTensorView& input, const std::vector<Tensor>& outputs);
  void record(PlannedRun& planned);

  Device* device_;
  std::vector<Step> steps_;
  std::vector<int64_t> channels_;  ///< of each value
  std::vector<int> ranks_;         ///< of each value: 4 or 2
  Tensor arena_;
  std::vector<std::unique_ptr<PlannedRun>> planned_;  ///< the last used first
};

}  // namespace panda::nn
