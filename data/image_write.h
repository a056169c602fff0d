// Pictures to PNG files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/image.h"

namespace panda::data {

/// The picture as a PNG of 8 bits per sample. The same picture gives the same bytes with the same libpng and
/// zlib; nothing about time or place is in them. Throws InvalidArgument for an empty picture or one of other
/// than 1 to 4 channels.
[[nodiscard]] std::vector<uint8_t> encode_png(const Image& image);

/// encode_png into a file that appears whole or not at all. Throws IoError.
void write_png(const std::string& path, const Image& image);

}  // namespace panda::data
