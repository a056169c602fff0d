// Image files of all formats: an error or a picture of the size it says. A PNG is tried again with its
// checksums set right, because hardly any mutation would get past them.
#include <zlib.h>

#include <cstdlib>
#include <vector>

#include "data/image_codecs.h"
#include "data/image_decode.h"
#include "kernels/tensor/error.h"

namespace {

void decode(const std::vector<uint8_t>& bytes) {
  panda::data::DecodeOptions options;
  options.max_pixels = 1 << 18;  // for executions per second
  try {
    const panda::data::Image image = panda::data::decode_image(bytes, "x", options);
    if (image.height < 1 || image.width < 1 || image.channels < 1 || image.channels > 4) std::abort();
    if (static_cast<int64_t>(image.pixels.size()) != image.height * image.width * image.channels)
      std::abort();
  } catch (const panda::FormatError&) {
  }
}

/// The PNG with the checksum of every chunk that lies inside it corrected.
std::vector<uint8_t> resealed(std::vector<uint8_t> png) {
  size_t at = 8;
  while (png.size() >= at + 12) {
    const size_t length = panda::data::codec::u32be(&png[at]);
    if (length > png.size() - at - 12) break;
    const auto crc = static_cast<uint32_t>(::crc32_z(0, &png[at + 4], length + 4));
    for (size_t i = 0; i < 4; ++i) png[at + 8 + length + i] = static_cast<uint8_t>(crc >> (24 - 8 * i));
    at += length + 12;
  }
  return png;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  const std::vector<uint8_t> file(data, data + bytes);
  decode(file);
  if (bytes > 8 && data[0] == 0x89) decode(resealed(file));
  return 0;
}
