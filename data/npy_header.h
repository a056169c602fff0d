// The header of a .npy file, as far as data sets of images need it: C-ordered arrays of bytes and integers.
// (Tensors of all kinds are the business of the room weights/, which this room does not know.) Private to
// data/.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset_parts.h"

namespace panda::data::parts {

struct NpyHeader {
  /// NumPy's type string: "|u1", "<i8", ...
  std::string type;
  int64_t item_bytes = 0;
  std::vector<int64_t> shape;
  int64_t data_offset = 0;
};

/// Throws FormatError for anything that is no .npy of version 1, 2 or 3 with a plain type of 1 to 8 bytes, C
/// order, and exactly as many bytes as its shape says. Never reads more than 64 KiB of header.
[[nodiscard]] NpyHeader read_npy_header(const ByteStore& store, const std::string& path);

/// A one-dimensional array of integers or booleans. Throws FormatError.
[[nodiscard]] std::vector<int64_t> read_npy_integers(const ByteStore& store, const std::string& path);

}  // namespace panda::data::parts
