// Trainable tensors: a value, and where its gradients go.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "kernels/gradient.h"

namespace panda::autograd {

/// One parameter of a network. The value is read and updated in place; whoever changes it calls `changed`, so
/// that what was made from it (a packed filter) is made anew.
struct Parameter {
  std::string name;
  Tensor value;  ///< dense, on the network's device
  bool trainable = false;
  TensorView gradient;  ///< of value's shape; absent if not trainable
  TensorView squares;   ///< sums of squared per-sample gradients; absent unless asked for
  uint64_t version = 1;

  void changed() { ++version; }
};

/// The parameters of a network, in the order in which they were added. Addresses stay. Gradients lie one
/// after another in one allocation.
class ParameterList {
 public:
  explicit ParameterList(Device& device) : device_(&device) {}

  /// Copies `value` to the device. Names are unique: throws InvalidArgument.
  Parameter& add(const std::string& name, const ConstTensorView& value);
  [[nodiscard]] Parameter& at(const std::string& name);
  [[nodiscard]] std::deque<Parameter>& all() { return parameters_; }
  [[nodiscard]] const std::deque<Parameter>& all() const { return parameters_; }
  [[nodiscard]] std::vector<Parameter*> trainable();
  [[nodiscard]] Device& device() const { return *device_; }

  /// Makes exactly the parameters for which `chosen` is true trainable, with gradients (contents undefined
  /// until the first backward pass).
  template <typename Chosen>
  void set_trainable(Chosen&& chosen) {
    for (Parameter& parameter : parameters_) parameter.trainable = chosen(parameter);
    allocate_gradients();
  }
  /// Gives every trainable parameter a cleared sum of squares beside its gradient, or takes it away.
  void set_squares(bool wanted);
  /// Marks every trainable parameter as changed: what was made of them is made anew when it is next needed.
  void changed();
  /// Elements of all trainable parameters.
  [[nodiscard]] int64_t trainable_numel() const;

 private:
  void allocate_gradients();
  Tensor allocate_slab(const char* label, TensorView Parameter::*member);

  Device* device_;
  std::deque<Parameter> parameters_;
  Tensor gradients_;
  Tensor squares_;
};

}  // namespace panda::autograd
