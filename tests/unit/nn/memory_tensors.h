// Named tensors held in memory: parameters that a test changes before a network reads them.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "kernels/tensor/named_tensors.h"

namespace panda::nn {

class MemoryTensors final : public NamedTensors {
 public:
  MemoryTensors() = default;
  /// Everything that `source` has.
  explicit MemoryTensors(const NamedTensors& source) {
    for (const TensorInfo& info : source.list()) tensors_[info.name] = source.load(info.name);
  }

  void set(const std::string& name, Tensor tensor) { tensors_[name] = std::move(tensor); }
  void erase(const std::string& name) { tensors_.erase(name); }
  /// The tensor itself: writing through it changes what the next load gives.
  [[nodiscard]] const Tensor& at(const std::string& name) const { return tensors_.at(name); }

  [[nodiscard]] std::vector<TensorInfo> list() const override {
    std::vector<TensorInfo> infos;
    for (const auto& [name, tensor] : tensors_) infos.push_back({name, tensor.dtype(), tensor.shape()});
    return infos;
  }
  [[nodiscard]] bool contains(const std::string& name) const override { return tensors_.count(name) != 0; }
  [[nodiscard]] Tensor load(const std::string& name) const override {
    const auto found = tensors_.find(name);
    PANDA_CHECK(found != tensors_.end(), source(), ": no tensor ", name);
    return found->second;
  }
  [[nodiscard]] std::string source() const override { return "memory"; }

 private:
  std::map<std::string, Tensor> tensors_;
};

/// The message of the Expected that `call` throws; "" if it throws none.
template <typename Expected, typename Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const Expected& error) {
    return error.what();
  }
  return "";
}

}  // namespace panda::nn
