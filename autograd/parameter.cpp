#include "autograd/parameter.h"

#include "kernels/tensor/arena.h"
#include "kernels/tensor/checked_math.h"

namespace panda::autograd {

Parameter& ParameterList::add(const std::string& name, const ConstTensorView& value) {
  for (const Parameter& parameter : parameters_)
    PANDA_CHECK(parameter.name != name, "parameter list: ", name, " is there already");
  PANDA_CHECK(value.present() && value.layout() == Layout::kDense, "parameter list: ", name, " is not dense");
  Parameter parameter;
  parameter.name = name;
  parameter.value = clone_to(value, *device_, "parameters");
  parameters_.push_back(std::move(parameter));
  return parameters_.back();
}

Parameter& ParameterList::at(const std::string& name) {
  for (Parameter& parameter : parameters_) {
    if (parameter.name == name) return parameter;
  }
  throw InvalidArgument(text("parameter list: no parameter ", name));
}

std::vector<Parameter*> ParameterList::trainable() {
  std::vector<Parameter*> chosen;
  for (Parameter& parameter : parameters_) {
    if (parameter.trainable) chosen.push_back(&parameter);
  }
  return chosen;
}

void ParameterList::changed() {
  for (Parameter& parameter : parameters_) {
    if (parameter.trainable) parameter.changed();
  }
}

int64_t ParameterList::trainable_numel() const {
  int64_t count = 0;
  for (const Parameter& parameter : parameters_) {
    if (parameter.trainable) count = checked_add(count, parameter.value.numel());
  }
  return count;
}

Tensor ParameterList::allocate_slab(const char* label, TensorView Parameter::*member) {
  int64_t bytes = 0;
  for (Parameter& parameter : parameters_) {
    parameter.*member = TensorView();
    if (parameter.trainable) bytes = checked_add(bytes, round_up(parameter.value.bytes(), kArenaAlignment));
  }
  Tensor slab(*device_, DType::kU8, {bytes}, label);
  int64_t offset = 0;
  for (Parameter& parameter : parameters_) {
    if (!parameter.trainable) continue;
    parameter.*member = TensorView(static_cast<char*>(slab.view().raw()) + offset, parameter.value.dtype(),
                                   parameter.value.shape(), *device_);
    offset += round_up(parameter.value.bytes(), kArenaAlignment);
  }
  return slab;
}

void ParameterList::allocate_gradients() {
  gradients_ = Tensor();
  gradients_ = allocate_slab("gradients", &Parameter::gradient);
  if (squares_.present()) set_squares(true);
}

void ParameterList::set_squares(bool wanted) {
  squares_ = Tensor();
  if (wanted) {
    squares_ = allocate_slab("squared gradients", &Parameter::squares);
    device_->fill(squares_.view().raw(), 0, squares_.bytes());
  } else {
    for (Parameter& parameter : parameters_) parameter.squares = TensorView();
  }
}

}  // namespace panda::autograd
