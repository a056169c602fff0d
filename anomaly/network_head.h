// A pretrained network under a fully connected layer of another width, for the methods that train one.
#pragma once

#include <memory>

#include "kernels/tensor/named_tensors.h"

namespace panda::anomaly {

/// The tensors of `weights` (a ResNet; must outlive the result) with a head of `class_count` outputs: its own
/// if `keep` is set and it has that many, else one drawn by the seed, weight and bias uniform in +-1/sqrt(D)
/// (PyTorch's default).
[[nodiscard]] std::shared_ptr<const NamedTensors> with_head(const NamedTensors& weights, int64_t class_count,
                                                            uint64_t seed, bool keep);

}  // namespace panda::anomaly
