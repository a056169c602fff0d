// The integrity pre-pass of PNG: a file that it lets through is whole, with every checksum right and every
// chunk in its place. Private to data/.
#pragma once

#include <string>
#include <vector>

#include "data/image_codecs.h"

namespace panda::data::codec {

enum PngColour : uint8_t { kPngGray = 0, kPngRgb = 2, kPngPalette = 3, kPngGrayAlpha = 4, kPngRgba = 6 };

struct PngLayout {
  int64_t width = 0;
  int64_t height = 0;
  int bit_depth = 0;
  uint8_t colour = kPngGray;
  int64_t palette_entries = 0;
  bool transparency = false;  // a tRNS chunk
  int64_t idat_bytes = 0;
  int orientation = 1;
  /// What makes the picture, in order: signature, IHDR, PLTE, tRNS, IDAT, IEND, each chunk whole.
  std::vector<Bytes> picture;

  /// Channels after expanding palette and transparency.
  [[nodiscard]] int64_t channels() const {
    const bool alpha = transparency || colour == kPngGrayAlpha || colour == kPngRgba;
    return (colour == kPngGray || colour == kPngGrayAlpha ? 1 : 3) + (alpha ? 1 : 0);
  }
};

/// Throws FormatError naming the first thing wrong. Bytes after IEND are ignored, as by every PNG reader.
[[nodiscard]] PngLayout check_png(Bytes file, const std::string& source, const DecodeOptions& options);

}  // namespace panda::data::codec
