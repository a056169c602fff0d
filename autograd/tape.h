// The tape: what a forward pass did, so that the backward pass can undo it.
//
//   Tape tape(workspace);
//   Variable x = tape.constant(images);
//   Variable y = conv2d(x, tape.parameter(filter), ...);            // functions/<op>.h
//   Variable losses = compactness(y, center, scale);
//   tape.backward({{losses}});                                      // gradients are in the parameters now
//
// Nodes are numbered by 32 bits in the order of the forward pass, which is a topological order; the backward
// pass walks them in reverse. Nothing is recorded, and nothing kept, for what needs no gradient: a frozen
// trunk's activations are freed as soon as their last Variable is gone. Every function declares what it
// keeps; it is freed when its node has been undone. A tape lives for one step and gives its gradients once.
// Deterministic: gradients of a value used more than once are added in the order of the walk.
#pragma once

#include <functional>
#include <memory>
#include <type_traits>
#include <vector>

#include "autograd/parameter.h"
#include "autograd/workspace.h"
#include "kernels/gradient.h"

namespace panda::autograd {

class Tape;
using ValueId = int32_t;

/// A value on a tape, which it must not outlive. Copies name the same value; the last one to go frees its
/// memory.
class Variable {
 public:
  Variable() = default;
  Variable(const Variable& other);
  Variable(Variable&& other) noexcept;
  Variable& operator=(Variable other) noexcept;
  ~Variable();

  [[nodiscard]] bool present() const { return tape_ != nullptr; }
  [[nodiscard]] Tape& tape() const { return *tape_; }
  [[nodiscard]] ValueId id() const { return id_; }
  /// By value: new values move the tape's own.
  [[nodiscard]] Shape shape() const;
  /// Where the elements are; valid while a Variable or the backward pass holds the value. In a dry run
  /// without memory.
  [[nodiscard]] TensorView view() const;
  [[nodiscard]] bool needs_gradient() const;

 private:
  friend class Tape;
  Variable(Tape* tape, ValueId id);
  Tape* tape_ = nullptr;
  ValueId id_ = -1;
};

class BackwardContext;

/// One recorded function: the Variables that it keeps, and how it is undone.
class Function {
 public:
  virtual ~Function() = default;
  [[nodiscard]] virtual const char* name() const = 0;
  /// From dL_dy to the gradients of the inputs that need one.
  virtual void backward(BackwardContext& context) = 0;
};

/// Where the backward pass starts: dL/d(value) is `weight` in every element, or `seed` (of the value's shape,
/// dense) times nothing else.
struct Root {
  Variable value;
  double weight = 1;
  ConstTensorView seed = {};
};

struct TapeOptions {
  /// Calls no kernel and touches no memory: the workspace is planned when the tape goes.
  bool dry_run = false;
  /// Looks at every value and gradient as it is made: throws InvalidArgument naming the function that first
  /// gave a NaN or an infinity. Slow: for finding out.
  bool check_finite = false;
};

class Tape {
 public:
  explicit Tape(Workspace& workspace, const TapeOptions& options = {});
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;
  ~Tape();

  /// Memory of the caller's, which must stay until the tape is gone; no gradient.
  [[nodiscard]] Variable constant(const ConstTensorView& view);
  /// The same with a gradient, written where and how `gradient` says.
  [[nodiscard]] Variable input(const ConstTensorView& view, const kernels::Gradient& gradient);
  /// A parameter: its gradient, and its squares where it has them, are written by `mode` if it is trainable.
  /// Once per tape and parameter.
  [[nodiscard]] Variable parameter(Parameter& parameter,
                                   kernels::GradientMode mode = kernels::GradientMode::kOverwrite);

  /// Gradients of the sum of the roots with respect to every input and parameter, which are then complete:
  /// those that the roots do not depend on are cleared if their mode is overwrite. Throws InvalidArgument on
  /// a second call, and for a root that depends on nothing that needs a gradient.
  void backward(const std::vector<Root>& roots);

  [[nodiscard]] Device& device() const { return workspace_.device(); }
  [[nodiscard]] FilterMemory& filters() { return workspace_.filters(); }
  [[nodiscard]] bool dry_run() const { return options_.dry_run; }
  /// Recorded functions.
  [[nodiscard]] int64_t node_count() const { return static_cast<int64_t>(nodes_.size()); }
  /// Bytes that the tape holds now.
  [[nodiscard]] int64_t bytes_in_use() const { return pool_.bytes_in_use(); }

  // For the functions.

  /// A new value. Images (rank 4) are in the device's activation layout unless `layout` says otherwise.
  [[nodiscard]] Variable new_value(const Shape& shape, DType dtype, Layout layout);
  [[nodiscard]] Variable new_image(const Shape& shape, DType dtype) {
    return new_value(shape, dtype, device().activation_layout());
  }
  /// Calls a kernel, unless this is a dry run.
  template <typename Args>
  void run(void (*kernel)(Device&, const Args&), const std::type_identity_t<Args>& args) {
    if (!options_.dry_run) kernel(device(), args);
  }
  /// `function` made `output` from `inputs` (absent ones may be among them). What it keeps are the Variables
  /// it holds: they go when it has been undone, or at once if no input needs a gradient.
  void record(const Variable& output, const std::vector<Variable>& inputs,
              std::unique_ptr<Function> function);
  /// The parameter behind a variable, or nullptr.
  [[nodiscard]] Parameter* parameter_of(const Variable& variable) const;

 private:
  friend class Variable;
  friend class BackwardContext;
  friend void plan_step(Workspace& workspace, const std::function<void(Tape&)>& step);
  struct Value {
    Shape shape;
    DType dtype = DType::kF32;
    Layout layout = Layout::kDense;
    bool needs = false;
    int handles = 0;
    int buffer = -1;
    ConstTensorView external;
    Parameter* parameter = nullptr;
    kernels::Gradient destination;  ///< of a leaf
    kernels::Gradient squares;
    int gradient_buffer = -1;  ///< of any other value
    bool gradient_written = false;
    bool squares_written = false;
  };
  struct Node {
    ValueId output = -1;
    std::vector<ValueId> inputs;
    std::unique_ptr<Function> function;
  };

  Variable add_leaf(const ConstTensorView& view);
  void retain(ValueId id);
  void release(ValueId id) noexcept;
  [[nodiscard]] TensorView view_of(const Value& value, int buffer) const;
  void seed_gradient(const Root& root);
  void clear_unreached();
  void check_is_finite(const ConstTensorView& view, const char* what, const char* function) const;
  [[nodiscard]] Value& value(ValueId id) { return values_[static_cast<size_t>(id)]; }

  Workspace& workspace_;
  TapeOptions options_;
  BufferPool pool_;
  std::vector<Value> values_;
  std::vector<Node> nodes_;  // after values_: nodes hold Variables
  bool closing_ = false;
  bool done_ = false;
};

/// What a function sees while it is undone.
class BackwardContext {
 public:
  BackwardContext(Tape& tape, size_t node) : tape_(tape), node_(node) {}

  [[nodiscard]] Tape& tape() const { return tape_; }
  /// The gradient of the output. The function is its last reader and may overwrite it.
  [[nodiscard]] TensorView dL_dy() const;
  [[nodiscard]] bool needs(size_t input) const;
  /// Where the gradient of an input goes; ignored if it needs none. Ask right before the kernel that writes
  /// it: asking again means adding.
  [[nodiscard]] kernels::Gradient gradient(size_t input);
  /// The same for a parameter's per-sample squares (always accumulated). Throws InvalidArgument if the
  /// parameter is used twice: the square of a sum is no sum of squares.
  [[nodiscard]] kernels::Gradient squares(size_t input);
  /// The input's gradient gets dL_dy itself, where it can without a copy. Must be the function's last use of
  /// dL_dy.
  void pass_on(size_t input);

 private:
  Tape::Value& input_value(size_t input) const;
  Tape& tape_;
  size_t node_;
};

/// Runs `step` on a tape that computes nothing and plans `workspace` for it: workspace.peak_bytes() is then
/// what such a step takes.
void plan_step(Workspace& workspace, const std::function<void(Tape&)>& step);

}  // namespace panda::autograd
