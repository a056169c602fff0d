#include "weights/torchvision_names.h"

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/tensor/error.h"

namespace panda::weights {
namespace {

constexpr std::array<const char*, 9> kWrappers = {"module.",    "model.",  "backbone.",
                                                  "encoder.",   "net.",    "network.",
                                                  "encoder_q.", "resnet.", "feature_extractor."};
constexpr int kMaxWrappers = 4;

bool has_prefix(const std::string& name, const std::string& prefix) {
  return name.compare(0, prefix.size(), prefix) == 0;
}

class RenamedTensors final : public NamedTensors {
 public:
  RenamedTensors(std::unique_ptr<NamedTensors> inner, std::string prefix)
      : inner_(std::move(inner)), prefix_(std::move(prefix)) {}

  [[nodiscard]] std::vector<TensorInfo> list() const override {
    std::vector<TensorInfo> infos;
    for (TensorInfo& info : inner_->list()) {
      if (!has_prefix(info.name, prefix_) || is_step_counter(info.name)) continue;
      info.name.erase(0, prefix_.size());
      infos.push_back(std::move(info));
    }
    return infos;  // one prefix taken from all keeps them sorted
  }
  [[nodiscard]] bool contains(const std::string& name) const override {
    return !is_step_counter(name) && inner_->contains(prefix_ + name);
  }
  [[nodiscard]] Tensor load(const std::string& name) const override {
    PANDA_CHECK(contains(name), source(), ": has no tensor '", printable(prefix_ + name), "'");
    return inner_->load(prefix_ + name);
  }
  [[nodiscard]] std::string source() const override { return inner_->source(); }

 private:
  std::unique_ptr<NamedTensors> inner_;
  std::string prefix_;
};

/// Tries chains of up to `depth` more wrappers.
bool find_chain(const NamedTensors& tensors, const std::string& anchor, int depth, std::string* prefix) {
  if (tensors.contains(*prefix + anchor)) return true;
  if (depth == 0) return false;
  for (const char* wrapper : kWrappers) {
    std::string longer = *prefix + wrapper;
    if (find_chain(tensors, anchor, depth - 1, &longer)) {
      *prefix = longer;
      return true;
    }
  }
  return false;
}

}  // namespace

bool is_step_counter(const std::string& name) {
  const std::string suffix = "num_batches_tracked";
  return name.size() >= suffix.size() &&
         name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0;
}

std::string wrapper_prefix(const NamedTensors& tensors, const std::string& anchor) {
  for (int depth = 0; depth <= kMaxWrappers; ++depth) {  // the shortest chain first
    std::string prefix;
    if (find_chain(tensors, anchor, depth, &prefix)) return prefix;
  }
  return "";
}

std::unique_ptr<NamedTensors> with_torchvision_names(std::unique_ptr<NamedTensors> tensors,
                                                     const std::string& anchor) {
  std::string prefix = wrapper_prefix(*tensors, anchor);
  return std::make_unique<RenamedTensors>(std::move(tensors), std::move(prefix));
}

}  // namespace panda::weights
