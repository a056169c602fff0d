// Pictures of any shape, in one pass through the network or in overlapping tiles.
//
// A picture of H x W is cut into windows that the network takes one by one: one window of H x W (fully
// convolutional), or squares of T pixels, T - O apart along each axis, the last flush with the border (along
// an axis shorter than T, one window of its length). Each window's scores are its own; they are put together
// as
//
//   map(y, x) = sum_t w_t(y) w_t(x) s_t(y, x) / sum_t w_t(y) w_t(x),
//   w_t(i)    = min(1, (i + 1/2) / O, (n - i - 1/2) / O),  i: the place in the window, n: its length,
//
// where a side at the picture's border has no ramp. So two windows that overlap by O fade into one another
// linearly, and a seam is no step. A window's features near its sides see zeros where the picture goes on
// (the network pads): they weigh least there, but the map is not that of one pass within the network's reach
// of a seam.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "anomaly/pyramid.h"

namespace panda::anomaly {

struct Tiling {
  int64_t tile = 0;  ///< T; 0: the whole picture is one window
  int64_t overlap = 0;

  /// Throws InvalidArgument unless T is 0, or at least 32 with 0 <= O <= T / 2.
  void check() const;
  friend bool operator==(const Tiling&, const Tiling&) = default;
};

struct Window {
  int64_t top = 0;
  int64_t left = 0;
  int64_t height = 0;
  int64_t width = 0;
  friend bool operator==(const Window&, const Window&) = default;
};

/// The windows of a picture, row by row; all of one size. Throws InvalidArgument for an empty picture, and
/// for more than a million windows.
[[nodiscard]] std::vector<Window> windows_of(const Tiling& tiling, int64_t height, int64_t width);

/// How pictures of one size are compared: their windows, and the levels of each window.
struct PictureGrid {
  int64_t height = 0;
  int64_t width = 0;
  int64_t overlap = 0;
  std::vector<Window> windows;
  std::vector<PyramidLevel> levels;

  /// Rows of features that a picture has at a level: window by window, row by row within each.
  [[nodiscard]] int64_t rows(size_t level) const {
    return static_cast<int64_t>(windows.size()) * levels[level].pixels();
  }
  /// The window with the largest weight there; of several, the first.
  [[nodiscard]] size_t window_at(int64_t row, int64_t column) const;
};

[[nodiscard]] PictureGrid picture_grid(const nn::ResnetConfig& network, const PyramidOptions& options,
                                       const Tiling& tiling, int64_t height, int64_t width);

/// Features of pictures, f32 N,C,height,width on the host: level l has N * grid.rows(l) rows, and pooled
/// features are the mean over the windows. At most `windows_at_once` windows are in the network together; the
/// bits do not depend on it.
[[nodiscard]] PyramidFeatures extract_pictures(nn::Resnet& network, const ConstTensorView& pictures,
                                               const PictureGrid& grid, const PyramidOptions& options,
                                               bool pooled, int64_t windows_at_once);

/// The equation above, a window at a time. Of one window it gives that window's own bits.
class WindowBlend {
 public:
  /// Keeps a reference to the grid.
  explicit WindowBlend(const PictureGrid& grid);
  /// scores: the window's, row-major. In the order of the windows, so that the sums have one order.
  void add(const Window& window, std::span<const double> scores);
  /// The map, height * width. Once all windows are there.
  [[nodiscard]] std::vector<double> take();

 private:
  const PictureGrid& grid_;
  std::vector<double> sum_;
};

}  // namespace panda::anomaly
