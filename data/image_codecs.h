// What the decoders of this room share. Private to data/.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "data/image.h"
#include "data/image_decode.h"
#include "kernels/tensor/error.h"

namespace panda::data::codec {

using Bytes = std::span<const uint8_t>;

/// A picture as its file stores it, and the EXIF orientation (1..8) that file states.
struct Decoded {
  Image image;
  int orientation = 1;
};

// Each expects bytes whose first ones say that the file is of this format; each runs its own integrity
// pre-pass.
[[nodiscard]] Decoded decode_png(Bytes file, const std::string& source, const DecodeOptions& options);
[[nodiscard]] Decoded decode_jpeg(Bytes file, const std::string& source, const DecodeOptions& options);
[[nodiscard]] Decoded decode_bmp(Bytes file, const std::string& source, const DecodeOptions& options);
[[nodiscard]] Decoded decode_pnm(Bytes file, const std::string& source, const DecodeOptions& options);

/// The orientation in a TIFF-structured EXIF block ("II*\0..." or "MM\0*..."); 1 if there is none or the
/// block is malformed.
[[nodiscard]] int exif_orientation(Bytes tiff);

/// Throws FormatError unless 1 <= width, height <= max_dimension and width * height <= max_pixels.
void check_extent(int64_t width, int64_t height, const std::string& source, const DecodeOptions& options,
                  int64_t byte_offset);

/// Throws FormatError if `needed` bytes of samples cannot come out of `available` bytes of file at
/// `expansion` : 1.
void check_expansion(int64_t needed, int64_t available, int64_t expansion, const std::string& source);

[[nodiscard]] inline uint32_t u16be(const uint8_t* p) {
  return static_cast<uint32_t>(p[0]) << 8 | p[1];
}
[[nodiscard]] inline uint32_t u32be(const uint8_t* p) {
  return u16be(p) << 16 | u16be(p + 2);
}
[[nodiscard]] inline uint32_t u16le(const uint8_t* p) {
  return static_cast<uint32_t>(p[1]) << 8 | p[0];
}
[[nodiscard]] inline uint32_t u32le(const uint8_t* p) {
  return u16le(p + 2) << 16 | u16le(p);
}

}  // namespace panda::data::codec
