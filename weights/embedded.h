// The backbone that is compiled in: a compact ResNet-18 for trying the engine where no weights are at hand.
// weights/embedded/README.md says what it was trained on, with which command, and what it is worth.
#pragma once

#include <string>

#include "weights/byte_source.h"

namespace panda::weights {

/// What stands for the embedded backbone where a weights file is expected.
inline constexpr const char* kEmbeddedName = "embedded";

/// The safetensors file in this program.
[[nodiscard]] ByteSourcePtr embedded_source();

/// The embedded backbone for the word, else the file (file_source); a file of that name is "./embedded".
[[nodiscard]] ByteSourcePtr weights_source(const std::string& path_or_word);

}  // namespace panda::weights
