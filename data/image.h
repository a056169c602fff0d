// Images in memory: what decoders give, transforms take and writers write.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace panda::data {

/// 8-bit samples, interleaved: pixels[(y * width + x) * channels + c]. Channels: 1 gray, 2 gray + alpha, 3 RGB, 4 RGBA.
struct Image {
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 0;
  std::vector<uint8_t> pixels;

  Image() = default;
  Image(int64_t image_height, int64_t image_width, int64_t image_channels)
      : height(image_height),
        width(image_width),
        channels(image_channels),
        pixels(static_cast<size_t>(image_height * image_width * image_channels)) {}

  [[nodiscard]] uint8_t* row(int64_t y) { return pixels.data() + y * width * channels; }
  [[nodiscard]] const uint8_t* row(int64_t y) const { return pixels.data() + y * width * channels; }
};

}  // namespace panda::data
