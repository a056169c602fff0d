#include "anomaly/score_map.h"

#include <algorithm>
#include <array>
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

/// Lines that are convolved at once, so that their sums are vectors.
constexpr int64_t kLanes = 16;

/// out[lane] of `count` <= kLanes neighbouring lanes: w_0 x_0 + sum_j w_j (x_-j + x_j), where x_j of a lane
/// is center[lane + j * step]. All kLanes are read.
void convolve_lanes(const double* center, int64_t step, const std::vector<double>& weights, double* out,
                    int64_t count) {
  std::array<double, kLanes> sums;
  for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] = center[lane] * weights[0];
  for (size_t j = 1; j < weights.size(); ++j) {
    const double* const before = center - static_cast<int64_t>(j) * step;
    const double* const after = center + static_cast<int64_t>(j) * step;
    for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += (before[lane] + after[lane]) * weights[j];
  }
  std::copy_n(sums.begin(), count, out);
}

/// Every column of the map, in place; `padded` holds (height + 2 radius) kLanes values.
void convolve_columns(std::span<double> map, int64_t height, int64_t width, int64_t radius,
                      const std::vector<double>& weights, std::vector<double>& padded) {
  for (int64_t x = 0; x < width; x += kLanes) {
    const int64_t count = std::min(kLanes, width - x);
    for (int64_t y = -radius; y < height + radius; ++y) {
      std::copy_n(map.data() + mirrored(y, height) * width + x, count, padded.data() + (y + radius) * kLanes);
    }
    for (int64_t y = 0; y < height; ++y) {
      convolve_lanes(padded.data() + (y + radius) * kLanes, kLanes, weights, map.data() + y * width + x,
                     count);
    }
  }
}

/// Every row of the map, in place; `padded` holds width + 2 radius + kLanes values.
void convolve_rows(std::span<double> map, int64_t height, int64_t width, int64_t radius,
                   const std::vector<double>& weights, std::vector<double>& padded) {
  for (int64_t y = 0; y < height; ++y) {
    double* const row = map.data() + y * width;
    for (int64_t x = -radius; x < width + radius; ++x)
      padded[static_cast<size_t>(x + radius)] = row[mirrored(x, width)];
    for (int64_t x = 0; x < width; x += kLanes)
      convolve_lanes(padded.data() + x + radius, 1, weights, row + x, std::min(kLanes, width - x));
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
  std::vector<double> padded(
      static_cast<size_t>(std::max((height + 2 * radius) * kLanes, width + 2 * radius + kLanes)));
  convolve_columns(map, height, width, radius, weights, padded);
  convolve_rows(map, height, width, radius, weights, padded);
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
