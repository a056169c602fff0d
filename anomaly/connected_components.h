// The connected parts of a mask: PRO weighs each alike, whatever its area.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace panda::anomaly {

/// A pixel rectangle: rows [top, bottom), columns [left, right).
struct Box {
  int64_t top = 0;
  int64_t left = 0;
  int64_t bottom = 0;
  int64_t right = 0;
  friend bool operator==(const Box&, const Box&) = default;
};

struct Components {
  /// Height x width, row-major: 0 outside, else the component's number from 1, in the order of their first
  /// pixels (row-major).
  std::vector<int32_t> labels;
  std::vector<int64_t> sizes;  ///< pixels of component i + 1
  std::vector<Box> boxes;      ///< the smallest that holds it
  [[nodiscard]] int64_t count() const { return static_cast<int64_t>(sizes.size()); }
};

/// The 8-connected components (pixels that touch along a side or at a corner belong together) of the non-zero
/// pixels. mask: height x width, row-major. Throws InvalidArgument if its size is another, or above 2^31 - 1.
[[nodiscard]] Components connected_components(std::span<const uint8_t> mask, int64_t height, int64_t width);

}  // namespace panda::anomaly
