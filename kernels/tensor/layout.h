// How the logical extents of a tensor lie in memory. The shape is always the logical one: an image batch is
// N,C,H,W in any layout.
#pragma once

#include <cstdint>

#include "kernels/tensor/shape.h"

namespace panda {

enum class Layout : uint8_t {
  /// Row-major: the last dimension is contiguous. The only layout of tensors that are not N,C,H,W.
  kDense,
  /// N,H,W,C: channels contiguous (what tensor cores read).
  kChannelsLast,
  /// N,ceil(C/16),H,W,16: channels in blocks of 16, the rest of the last block zero. A vector register is 16
  /// channels of
  /// one pixel, and neighbouring pixels neighbour in memory, so that no two rows of a tile fall into one
  /// cache set.
  kChannelBlocked16,
};

inline constexpr int64_t kChannelBlock = 16;

[[nodiscard]] const char* layout_name(Layout layout);

/// Elements that a tensor of this shape takes in memory, padding included.
[[nodiscard]] int64_t stored_numel(const Shape& shape, Layout layout);

/// Channels that a tensor of `shape` N,C,H,W has in memory: C, or C rounded up to whole blocks.
[[nodiscard]] inline int64_t stored_channels(const Shape& shape, Layout layout) {
  const int64_t channels = shape[1];
  if (layout != Layout::kChannelBlocked16) return channels;
  return (channels + kChannelBlock - 1) / kChannelBlock * kChannelBlock;
}

/// Element offset of [n, c, h, w] in a tensor of `shape` N,C,H,W.
[[nodiscard]] inline int64_t image_offset(const Shape& shape, Layout layout, int64_t n, int64_t c, int64_t h,
                                          int64_t w) {
  const int64_t* e = shape.begin();
  switch (layout) {
    case Layout::kChannelsLast:
      return ((n * e[2] + h) * e[3] + w) * e[1] + c;
    case Layout::kChannelBlocked16: {
      const int64_t blocks = (e[1] + kChannelBlock - 1) / kChannelBlock;
      return (((n * blocks + c / kChannelBlock) * e[2] + h) * e[3] + w) * kChannelBlock + c % kChannelBlock;
    }
    case Layout::kDense:
      break;
  }
  return ((n * e[1] + c) * e[2] + h) * e[3] + w;
}

}  // namespace panda
