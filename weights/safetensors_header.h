// The JSON header of a safetensors file, read event by event; safetensors.cpp checks it against the file's
// size.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/tensor/named_tensors.h"
#include "weights/safetensors.h"

namespace panda::weights {

struct SafetensorsHeader {
  struct Entry {
    TensorInfo info;
    int64_t begin = 0;  // in the data after the header
    int64_t end = 0;
  };
  std::vector<Entry> entries;  // in the header's order
  Metadata metadata;
};

/// `json` begins at byte `offset` of the file `source`. Throws FormatError, Unsupported.
[[nodiscard]] SafetensorsHeader parse_safetensors_header(const std::vector<uint8_t>& json, int64_t offset,
                                                         const std::string& source);

/// "F32" and the like.
[[nodiscard]] const char* safetensors_dtype_name(DType dtype);

}  // namespace panda::weights
