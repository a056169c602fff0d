// Pictures to PNG files, and to JPEG where they are only looked at.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/image.h"

namespace panda::data {

/// The picture as a PNG of 8 bits per sample. The same picture gives the same bytes with the same libpng and
/// zlib; nothing about time or place is in them. Throws InvalidArgument for an empty picture or one of other
/// than 1 to 4 channels.
[[nodiscard]] std::vector<uint8_t> encode_png(const Image& image);

/// Gray samples of 16 bits, row-major, as a PNG. Throws InvalidArgument if there are not height * width.
[[nodiscard]] std::vector<uint8_t> encode_png16(std::span<const uint16_t> samples, int64_t height,
                                                int64_t width);

/// The picture (1 or 3 channels) as a baseline JPEG with libjpeg's usual colour subsampling; quality 1..100.
[[nodiscard]] std::vector<uint8_t> encode_jpeg(const Image& image, int quality);

/// Bytes into a file that appears whole or not at all. Throws IoError.
void write_bytes(const std::string& path, const std::vector<uint8_t>& bytes);
/// encode_png into a file that appears whole or not at all. Throws IoError.
void write_png(const std::string& path, const Image& image);

}  // namespace panda::data
