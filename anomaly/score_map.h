// Maps of anomaly scores: one number per pixel of what the network saw.
//
// From the scores of a coarse grid to the map of the PANDA paper's segmentation (SPADE): bilinear
// interpolation to the picture's size, then a Gaussian.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "anomaly/connected_components.h"

namespace panda::anomaly {

struct ScoreMap {
  int64_t height = 0;
  int64_t width = 0;
  std::vector<float> values;  ///< row-major; higher is more anomalous
};

/// Adds to `sum` (height x width) the grid (grid_height x grid_width) brought to that size: pixel centers at
/// half-integers, bilinear, clamped at the border (PyTorch's interpolate with align_corners=False). f64.
void add_interpolated(std::span<const double> grid, int64_t grid_height, int64_t grid_width, int64_t height,
                      int64_t width, std::span<double> sum);

/// Convolves columns, then rows, with w_i = exp(-i^2 / (2 sigma^2)) / sum, |i| <= trunc(4 sigma + 0.5); the
/// picture is mirrored at its borders with the border pixel repeated (d c b a | a b c d | d c b a). That is
/// scipy.ndimage.gaussian_filter with its defaults. f64; sums in rising order of |i|. sigma 0 changes
/// nothing. Throws InvalidArgument unless 0 <= sigma <= 1000.
void gaussian_smooth(std::span<double> map, int64_t height, int64_t width, double sigma);

/// The largest value; 0 x 0 maps throw InvalidArgument.
[[nodiscard]] float map_maximum(const ScoreMap& map);

/// 255 where the score is above the threshold, else 0.
[[nodiscard]] std::vector<uint8_t> above_threshold(const ScoreMap& map, double threshold);

}  // namespace panda::anomaly
