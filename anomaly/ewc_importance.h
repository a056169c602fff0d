// The importance of each weight for elastic weight consolidation, read from a file: the Fisher diagonal.
//
// Two layouts are taken: what `panda fisher` writes (safetensors, f32, the parameters' torchvision names;
// metadata format "panda-fisher-diagonal", arch, weights_sha256), and the official code's (a dict from name
// to tensor in a PyTorch checkpoint, its names perhaps under "module."). Parameters that are not trained may
// be absent or there.
#pragma once

#include <map>
#include <string>

#include "autograd/parameter.h"
#include "kernels/tensor/named_tensors.h"

namespace panda::anomaly {

/// The importance of every trainable parameter, by name: f32 on the parameters' device. `weights` is the
/// network of the fit, `weights_sha256` the hash of its file. Throws FormatError naming file and tensor for a
/// Fisher diagonal of another network (by its metadata, or by a missing or misshapen tensor), or one with a
/// negative or non-finite element.
[[nodiscard]] std::map<std::string, Tensor> read_ewc_importance(const std::string& path,
                                                                autograd::ParameterList& parameters,
                                                                const NamedTensors& weights,
                                                                const std::string& weights_sha256);

}  // namespace panda::anomaly
