#include "anomaly/score_map.h"

#include <algorithm>
#include <cmath>

#include "kernels/tensor/checked_math.h"

namespace panda::anomaly {

namespace {

/// Where one output position lies between two positions of the grid.
struct Between {
  int64_t low = 0;
  int64_t high = 0;
  double weight = 0;  // of high
};

std::vector<Between> positions_between(int64_t in, int64_t out) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  std::vector<Between> between(static_cast<size_t>(out));
  for (int64_t i = 0; i < out; ++i) {
    const double at = std::max(0.0, (static_cast<double>(i) + 0.5) * scale - 0.5);
    const int64_t low = std::min(static_cast<int64_t>(at), in - 1);
    between[static_cast<size_t>(i)] = {low, std::min(low + 1, in - 1), at - static_cast<double>(low)};
  }
  return between;
}

/// i brought into [0, n) by mirrors at -1/2 and n - 1/2.
int64_t mirrored(int64_t i, int64_t n) {
  const int64_t period = 2 * n;
  i %= period;
  if (i < 0) i += period;
  return i < n ? i : period - 1 - i;
}

/// `line`, n values `stride` apart, convolved in place with the symmetric weights w_0..w_radius.
void convolve_line(double* line, int64_t n, int64_t stride, const std::vector<double>& weights,
                   std::vector<double>& padded) {
  const auto radius = static_cast<int64_t>(weights.size()) - 1;
  for (int64_t i = -radius; i < n + radius; ++i) {
    padded[static_cast<size_t>(i + radius)] = line[mirrored(i, n) * stride];
  }
  for (int64_t i = 0; i < n; ++i) {
    const double* center = padded.data() + i + radius;
    double sum = center[0] * weights[0];
    for (int64_t j = 1; j <= radius; ++j) sum += (center[-j] + center[j]) * weights[static_cast<size_t>(j)];
    line[i * stride] = sum;
  }
}

}  // namespace

void add_interpolated(std::span<const double> grid, int64_t grid_height, int64_t grid_width, int64_t height,
                      int64_t width, std::span<double> sum) {
  PANDA_CHECK(grid_height >= 1 && grid_width >= 1 &&
                  static_cast<int64_t>(grid.size()) == checked_mul(grid_height, grid_width) &&
                  static_cast<int64_t>(sum.size()) == checked_mul(height, width),
              "add_interpolated: ", grid.size(), " values for ", grid_height, " x ", grid_width, ", ",
              sum.size(), " for ", height, " x ", width);
  const std::vector<Between> rows = positions_between(grid_height, height);
  const std::vector<Between> columns = positions_between(grid_width, width);
  for (int64_t y = 0; y < height; ++y) {
    const Between& row = rows[static_cast<size_t>(y)];
    const double* upper = grid.data() + row.low * grid_width;
    const double* lower = grid.data() + row.high * grid_width;
    double* out = sum.data() + y * width;
    for (int64_t x = 0; x < width; ++x) {
      const Between& column = columns[static_cast<size_t>(x)];
      const double above = (1 - column.weight) * upper[column.low] + column.weight * upper[column.high];
      const double below = (1 - column.weight) * lower[column.low] + column.weight * lower[column.high];
      out[x] += (1 - row.weight) * above + row.weight * below;
    }
  }
}

void gaussian_smooth(std::span<double> map, int64_t height, int64_t width, double sigma) {
  constexpr double kTruncate = 4;  // scipy's default
  PANDA_CHECK(sigma >= 0 && sigma <= 1000, "gaussian_smooth: sigma ", sigma, ", expected 0 to 1000");
  PANDA_CHECK(static_cast<int64_t>(map.size()) == checked_mul(height, width), "gaussian_smooth: ", map.size(),
              " values for ", height, " x ", width);
  if (sigma == 0 || map.empty()) return;
  const auto radius = static_cast<int64_t>(kTruncate * sigma + 0.5);
  std::vector<double> weights(static_cast<size_t>(radius + 1));
  double sum = 0;
  for (int64_t i = radius; i >= 0; --i) {
    const auto distance = static_cast<double>(i);
    weights[static_cast<size_t>(i)] = std::exp(-0.5 / (sigma * sigma) * distance * distance);
    sum += (i == 0 ? 1 : 2) * weights[static_cast<size_t>(i)];
  }
  for (double& weight : weights) weight /= sum;
  std::vector<double> padded(static_cast<size_t>(std::max(height, width) + 2 * radius));
  for (int64_t x = 0; x < width; ++x) convolve_line(map.data() + x, height, width, weights, padded);
  for (int64_t y = 0; y < height; ++y) convolve_line(map.data() + y * width, width, 1, weights, padded);
}

float map_maximum(const ScoreMap& map) {
  PANDA_CHECK(!map.values.empty(), "map_maximum: a map of ", map.height, " x ", map.width);
  return *std::max_element(map.values.begin(), map.values.end());
}

std::vector<uint8_t> above_threshold(const ScoreMap& map, double threshold) {
  std::vector<uint8_t> mask(map.values.size());
  for (size_t i = 0; i < mask.size(); ++i) mask[i] = double{map.values[i]} > threshold ? 255 : 0;
  return mask;
}

}  // namespace panda::anomaly
