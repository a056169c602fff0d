// Opens a file of named tensors of any kind that is read here, by its content: names and extensions are not
// looked at.
#pragma once

#include <memory>
#include <string>

#include "kernels/tensor/named_tensors.h"
#include "weights/byte_source.h"

namespace panda::weights {

enum class WeightsKind { kSafetensors, kTorchZip, kTorchStream, kTorchTar, kNpz };

/// "safetensors", "PyTorch (zip)", ...
[[nodiscard]] const char* weights_kind_name(WeightsKind kind);

/// What the content is. For what is none of these, throws FormatError that says what it seems to be (a
/// git-lfs pointer, an HTML page, ONNX, gzip, ...) and what was expected.
[[nodiscard]] WeightsKind sniff_weights(const ByteSourcePtr& source);

[[nodiscard]] std::unique_ptr<NamedTensors> open_weights(const std::string& path);
[[nodiscard]] std::unique_ptr<NamedTensors> open_weights(const ByteSourcePtr& source);

}  // namespace panda::weights
