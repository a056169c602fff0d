// Image files to pixels: PNG, JPEG, BMP and binary PNM (PBM, PGM, PPM).
//
// A damaged or cut file is an error and never a picture: a pre-pass of our own walks the whole file (lengths,
// checksums, order, end marker) before a decoder sees it, and whatever a decoder merely warns about is an
// error. docs/decisions/image-decoders.md says which library decodes what, and why.
//
// The first bytes decide the format, never the file's extension. Memory is asked for only after the claimed
// size is plausible for the bytes that are there. Everything here may be called from several threads.
//
// Pixels are those of Pillow, with two deliberate exceptions: 16-bit samples become round(v / 257) (Pillow
// keeps the high byte), and the EXIF orientation is applied (Pillow leaves it to ImageOps.exif_transpose).
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "data/image.h"

namespace panda::data {

struct DecodeOptions {
  /// Most pixels an image may have; the default is the size above which Pillow refuses a file as a
  /// decompression bomb.
  int64_t max_pixels = 178'956'970;
  /// Most pixels along one side.
  int64_t max_dimension = int64_t{1} << 24;
  /// Turn the picture upright as its EXIF orientation says (JPEG APP1, PNG eXIf). A malformed EXIF block is
  /// ignored.
  bool apply_orientation = true;
};

/// The picture in `bytes`. Channels: 1 gray, 2 gray + alpha, 3 RGB, 4 RGBA, as the file has them; palettes
/// and low bit depths are expanded, CMYK becomes RGB by Pillow's formula. `source` is the name that errors
/// begin with. Throws FormatError for anything that is no intact picture of these formats, or is larger than
/// `options` allow.
[[nodiscard]] Image decode_image(std::span<const uint8_t> bytes, const std::string& source,
                                 const DecodeOptions& options = {});

/// decode_image of a file. Throws also IoError, and InvalidArgument for a directory or another thing that is
/// no file.
[[nodiscard]] Image load_image(const std::string& path, const DecodeOptions& options = {});

/// Three channels: gray is replicated, alpha is dropped (not blended), as Pillow's convert("RGB") does.
[[nodiscard]] Image to_rgb(const Image& image);

/// One channel: (19595 R + 38470 G + 7471 B + 2^15) >> 16, the luma of ITU-R BT.601 in 16-bit fixed point, as
/// Pillow's convert("L") does; alpha is dropped.
[[nodiscard]] Image to_gray(const Image& image);

/// The picture turned and mirrored as EXIF orientation 1..8 says; any other value leaves it as it is.
[[nodiscard]] Image oriented(Image image, int orientation);

}  // namespace panda::data
