// Reads tar archives for the oldest PyTorch checkpoints: plain files, by name. Extended headers are passed
// over; links and everything else that is no file or directory is refused. Source: POSIX.1-2008 pax, "ustar
// Interchange Format".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "weights/byte_source.h"

namespace panda::weights {

struct TarMember {
  std::string name;
  int64_t offset = 0;
  int64_t bytes = 0;
};

/// True if the source begins with a tar header (its checksum is right).
[[nodiscard]] bool looks_like_tar(const ByteSource& source);

/// All files, in order. Throws FormatError.
[[nodiscard]] std::vector<TarMember> read_tar(const ByteSource& source);

}  // namespace panda::weights
