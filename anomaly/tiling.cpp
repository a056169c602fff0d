#include "anomaly/tiling.h"

#include <algorithm>
#include <utility>

#include "kernels/tensor/checked_math.h"
#include "kernels/tensor/error.h"

namespace panda::anomaly {

namespace {

constexpr int64_t kSmallestTile = 32;  // the network's coarsest stage halves five times
constexpr int64_t kMostWindows = int64_t{1} << 20;

struct Span {
  int64_t begin = 0;
  int64_t length = 0;
};

/// How many windows there are along an axis of n pixels.
int64_t span_count(const Tiling& tiling, int64_t n) {
  if (tiling.tile == 0 || n <= tiling.tile) return 1;
  const int64_t step = tiling.tile - tiling.overlap;
  return (n - tiling.tile + step - 1) / step + 1;
}

std::vector<Span> spans(const Tiling& tiling, int64_t n) {
  const int64_t count = span_count(tiling, n);
  if (count == 1) return {{0, n}};
  std::vector<Span> all;
  for (int64_t i = 0; i < count; ++i)
    all.push_back({std::min(i * (tiling.tile - tiling.overlap), n - tiling.tile), tiling.tile});
  return all;
}

/// w_t at place i of a window [begin, begin + length) of an axis of n pixels.
double weight_at(const Span& window, int64_t n, int64_t overlap, int64_t i) {
  double weight = 1;
  const auto ramp = [overlap](int64_t distance) {
    return overlap == 0 ? 1.0 : (static_cast<double>(distance) + 0.5) / static_cast<double>(overlap);
  };
  if (window.begin > 0) weight = std::min(weight, ramp(i));
  if (window.begin + window.length < n) weight = std::min(weight, ramp(window.length - 1 - i));
  return weight;
}

std::vector<double> weights_of(const Span& window, int64_t n, int64_t overlap) {
  std::vector<double> weights;
  for (int64_t i = 0; i < window.length; ++i) weights.push_back(weight_at(window, n, overlap, i));
  return weights;
}

Span rows_of(const Window& window) {
  return {window.top, window.height};
}
Span columns_of(const Window& window) {
  return {window.left, window.width};
}

/// f32 count,C,h,w: the windows [first, first + count) cut out of one picture (f32 1,C,H,W).
Tensor cut_out(const ConstTensorView& picture, const PictureGrid& grid, int64_t first, int64_t count) {
  const Window& size = grid.windows.front();
  const int64_t channels = picture.shape()[1];
  Tensor cut(host(), DType::kF32, {count, channels, size.height, size.width}, "windows");
  float* out = cut.data<float>();
  for (int64_t i = first; i < first + count; ++i) {
    const Window& window = grid.windows[static_cast<size_t>(i)];
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t y = 0; y < window.height; ++y, out += window.width) {
        const int64_t row = (c * grid.height + window.top + y) * grid.width;
        std::copy_n(picture.data<float>() + row + window.left, window.width, out);
      }
    }
  }
  return cut;
}

}  // namespace

void Tiling::check() const {
  PANDA_CHECK(tile == 0 || tile >= kSmallestTile, "tiling: tiles of ", tile, " pixels, expected at least ",
              kSmallestTile);
  PANDA_CHECK(overlap >= 0 && overlap <= tile / 2, "tiling: an overlap of ", overlap, " of tiles of ", tile,
              " pixels, expected 0 to ", tile / 2);
}

std::vector<Window> windows_of(const Tiling& tiling, int64_t height, int64_t width) {
  tiling.check();
  PANDA_CHECK(height >= 1 && width >= 1, "tiling: a picture of ", width, " x ", height);
  const int64_t count = checked_mul(span_count(tiling, height), span_count(tiling, width));
  PANDA_CHECK(count <= kMostWindows, "tiling: a picture of ", width, " x ", height, " makes ", count,
              " tiles of ", tiling.tile, " pixels, expected at most ", kMostWindows);
  std::vector<Window> windows;
  for (const Span& row : spans(tiling, height)) {
    for (const Span& column : spans(tiling, width))
      windows.push_back({row.begin, column.begin, row.length, column.length});
  }
  return windows;
}

size_t PictureGrid::window_at(int64_t row, int64_t column) const {
  size_t best = 0;
  double largest = -1;
  for (size_t t = 0; t < windows.size(); ++t) {
    const int64_t y = row - windows[t].top;
    const int64_t x = column - windows[t].left;
    if (y < 0 || x < 0 || y >= windows[t].height || x >= windows[t].width) continue;
    const double weight = weight_at(rows_of(windows[t]), height, overlap, y) *
                          weight_at(columns_of(windows[t]), width, overlap, x);
    if (!(weight > largest)) continue;
    largest = weight;
    best = t;
  }
  return best;
}

PictureGrid picture_grid(const nn::ResnetConfig& network, const PyramidOptions& options, const Tiling& tiling,
                         int64_t height, int64_t width) {
  PictureGrid grid{height, width, tiling.overlap, windows_of(tiling, height, width), {}};
  grid.levels = pyramid_levels(network, options, grid.windows[0].height, grid.windows[0].width);
  return grid;
}

PyramidFeatures extract_pictures(nn::Resnet& network, const ConstTensorView& pictures,
                                 const PictureGrid& grid, const PyramidOptions& options, bool pooled,
                                 int64_t windows_at_once) {
  if (grid.windows.size() == 1) return extract_pyramid(network, pictures, options, pooled);
  const int64_t n = pictures.shape()[0];
  const auto windows = static_cast<int64_t>(grid.windows.size());
  PyramidFeatures all;
  for (size_t l = 0; l < grid.levels.size(); ++l) {
    all.levels.emplace_back(host(), DType::kF32, Shape{n * grid.rows(l), grid.levels[l].channels},
                            "pixel features");
  }
  const int64_t d = network.config().feature_channels();
  Tensor means(host(), DType::kF32, {n, d}, "features");
  for (int64_t i = 0; i < n; ++i) {
    std::vector<double> sums(static_cast<size_t>(d), 0.0);
    for (int64_t first = 0; first < windows; first += windows_at_once) {
      const int64_t count = std::min(windows_at_once, windows - first);
      const Tensor cut = cut_out(pictures.rows(i, i + 1), grid, first, count);
      const PyramidFeatures part = extract_pyramid(network, cut, options, pooled);
      for (size_t l = 0; l < grid.levels.size(); ++l) {
        const int64_t begin = i * grid.rows(l) + first * grid.levels[l].pixels();
        copy(part.levels[l], all.levels[l].view().rows(begin, begin + part.levels[l].shape()[0]));
      }
      if (!pooled) continue;
      const Tensor rows = clone_to(part.pooled, host(), "features");
      for (int64_t j = 0; j < count * d; ++j) sums[static_cast<size_t>(j % d)] += rows.data<float>()[j];
    }
    for (int64_t j = 0; j < d; ++j)
      means.data<float>()[i * d + j] =
          static_cast<float>(sums[static_cast<size_t>(j)] / static_cast<double>(windows));
  }
  if (pooled) all.pooled = clone_to(means, network.device(), "features");
  return all;
}

WindowBlend::WindowBlend(const PictureGrid& grid)
    : grid_(grid), sum_(static_cast<size_t>(grid.height * grid.width), 0.0) {}

void WindowBlend::add(const Window& window, std::span<const double> scores) {
  PANDA_INTERNAL_ASSERT(static_cast<int64_t>(scores.size()) == window.height * window.width, scores.size());
  const std::vector<double> down = weights_of(rows_of(window), grid_.height, grid_.overlap);
  const std::vector<double> across = weights_of(columns_of(window), grid_.width, grid_.overlap);
  for (int64_t y = 0; y < window.height; ++y) {
    double* out = sum_.data() + (window.top + y) * grid_.width + window.left;
    const double* in = scores.data() + y * window.width;
    for (int64_t x = 0; x < window.width; ++x)
      out[x] += down[static_cast<size_t>(y)] * across[static_cast<size_t>(x)] * in[x];
  }
}

std::vector<double> WindowBlend::take() {
  // The windows are a product of spans, so the sum of their weights is a product of two sums.
  std::vector<double> down(static_cast<size_t>(grid_.height), 0.0);
  std::vector<double> across(static_cast<size_t>(grid_.width), 0.0);
  const auto gather = [this](std::vector<double>& total, const Span& span) {
    const std::vector<double> weights = weights_of(span, static_cast<int64_t>(total.size()), grid_.overlap);
    for (size_t i = 0; i < weights.size(); ++i) total[static_cast<size_t>(span.begin) + i] += weights[i];
  };
  for (const Window& window : grid_.windows) {
    if (window.left == 0) gather(down, rows_of(window));
    if (window.top == 0) gather(across, columns_of(window));
  }
  for (int64_t y = 0; y < grid_.height; ++y) {
    for (int64_t x = 0; x < grid_.width; ++x)
      sum_[static_cast<size_t>(y * grid_.width + x)] /=
          down[static_cast<size_t>(y)] * across[static_cast<size_t>(x)];
  }
  return std::move(sum_);
}

}  // namespace panda::anomaly
