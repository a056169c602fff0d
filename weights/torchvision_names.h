// How torchvision names the parameters of a ResNet, and how the names that other training code puts around
// them come off.
//
// torchvision: conv1.weight, bn1.{weight,bias,running_mean,running_var,num_batches_tracked},
//   layer{1..4}.{block}.conv{1..3}.weight, .bn{1..3}.*, .downsample.{0.weight,1.*}, fc.{weight,bias}.
// Wrappers put a prefix before all or some of them: "module." (DataParallel), "model." (Lightning),
// "backbone.", "encoder.", ... num_batches_tracked counts training steps and has no part in evaluation.
#pragma once

#include <memory>
#include <string>

#include "kernels/tensor/named_tensors.h"

namespace panda::weights {

/// True for "...num_batches_tracked".
[[nodiscard]] bool is_step_counter(const std::string& name);

/// The prefix (a chain of the known ones) under which `anchor` is found, "" if it stands bare or nowhere.
/// `anchor` is a parameter that the wanted network has.
[[nodiscard]] std::string wrapper_prefix(const NamedTensors& tensors,
                                         const std::string& anchor = "conv1.weight");

/// The tensors under wrapper_prefix, by their names without it, and without step counters. Where there is no
/// prefix, all names but step counters. Loads go through to `tensors`.
[[nodiscard]] std::unique_ptr<NamedTensors> with_torchvision_names(
    std::unique_ptr<NamedTensors> tensors, const std::string& anchor = "conv1.weight");

}  // namespace panda::weights
