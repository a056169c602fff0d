// Tensors by name, loaded when asked for: what a weights file offers and a network takes, so that neither
// room knows the other.
#pragma once

#include <string>
#include <vector>

#include "kernels/tensor/tensor.h"

namespace panda {

struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
};

/// Where a network finds its parameters. Loading one tensor at a time keeps a model from being held twice.
class NamedTensors {
 public:
  virtual ~NamedTensors() = default;
  /// All tensors, sorted by name.
  [[nodiscard]] virtual std::vector<TensorInfo> list() const = 0;
  [[nodiscard]] virtual bool contains(const std::string& name) const = 0;
  /// A dense host tensor in the dtype it is stored in. Throws InvalidArgument naming the source if there is
  /// none of that name.
  [[nodiscard]] virtual Tensor load(const std::string& name) const = 0;
  /// For messages: the file's name, or what made the tensors.
  [[nodiscard]] virtual std::string source() const = 0;
};

}  // namespace panda
