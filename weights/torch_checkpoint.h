// PyTorch checkpoints (.pth, .pt) in their three containers, read without executing anything:
//   zip            since 1.6: PREFIX/data.pkl, PREFIX/data/KEY, optionally PREFIX/byteorder
//   legacy stream  0.2 to 1.5 (still written by _use_new_zipfile_serialization=False): pickles, then the
//   storages' bytes legacy tar     before 0.2: members `pickle`, `tensors`, `storages`
//
// The pickle is read as data (pickle.h); a checkpoint that names anything but tensors and dicts is refused
// with that name. Strided tensors come out dense. Checksums are compared where the container has them. Not
// read: TorchScript programs, big-endian legacy files, quantised, complex, sparse and expanded tensors.
#pragma once

#include <memory>
#include <string>

#include "kernels/tensor/named_tensors.h"
#include "weights/byte_source.h"

namespace panda::weights {

/// Reads names and places; elements are read by `load`. How names are made: torch_tree.h.
/// Throws IoError, FormatError (with byte offset), Unsupported.
[[nodiscard]] std::unique_ptr<NamedTensors> open_torch_checkpoint(const std::string& path);
[[nodiscard]] std::unique_ptr<NamedTensors> open_torch_checkpoint(ByteSourcePtr source);

/// True if the source begins like a legacy stream: a pickle of protocol 2 of PyTorch's magic number.
[[nodiscard]] bool looks_like_torch_stream(const ByteSource& source);

}  // namespace panda::weights
