#include "anomaly/pyramid.h"

#include <algorithm>
#include <array>

#include "anomaly/score_map.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/parallel.h"

namespace panda::anomaly {

namespace {

/// Pixels are gathered this many at a time, so that both the planes read and the rows written stay in cache.
constexpr int64_t kPixelsPerBlock = 64;

/// One image's planes (channels, pixels) to rows of `row_width`, from column `column` on.
void planes_to_rows(const float* planes, int64_t channels, int64_t pixels, float* rows, int64_t row_width,
                    int64_t column) {
  for (int64_t first = 0; first < pixels; first += kPixelsPerBlock) {
    const int64_t last = std::min(pixels, first + kPixelsPerBlock);
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t i = first; i < last; ++i) rows[i * row_width + column + c] = planes[c * pixels + i];
    }
  }
}

/// One image's planes interpolated to another grid; the rounding to f32 comes last.
std::vector<float> interpolated_planes(const float* planes, const PyramidLevel& from, int64_t height,
                                       int64_t width) {
  std::vector<float> out(static_cast<size_t>(from.channels * height * width));
  std::vector<double> plane(static_cast<size_t>(from.pixels()));
  std::vector<double> larger(static_cast<size_t>(height * width));
  for (int64_t c = 0; c < from.channels; ++c) {
    std::copy_n(planes + c * from.pixels(), from.pixels(), plane.begin());
    std::fill(larger.begin(), larger.end(), 0.0);
    add_interpolated(plane, from.height, from.width, height, width, larger);
    std::transform(larger.begin(), larger.end(), out.begin() + c * height * width,
                   [](double value) { return static_cast<float>(value); });
  }
  return out;
}

std::vector<PyramidLevel> stage_levels(const nn::ResnetConfig& network, const PyramidOptions& options,
                                       int64_t height, int64_t width) {
  std::vector<PyramidLevel> levels;
  for (const int64_t layer : options.layers) {
    // Stem, pooling and each stage after the first halve the extent, rounding up.
    PyramidLevel level{layer, height, width, network.stage_channels(static_cast<int>(layer) - 1)};
    for (int64_t halving = 0; halving < layer + 1; ++halving) {
      level.height = (level.height + 1) / 2;
      level.width = (level.width + 1) / 2;
    }
    levels.push_back(level);
  }
  return levels;
}

}  // namespace

void PyramidOptions::check() const {
  PANDA_CHECK(!layers.empty(), "pyramid: no layers");
  for (size_t i = 0; i < layers.size(); ++i) {
    PANDA_CHECK(layers[i] >= 1 && layers[i] <= nn::kResnetStages && (i == 0 || layers[i] > layers[i - 1]),
                "pyramid: layer ", layers[i], " at place ", i + 1, ", expected rising numbers from 1 to ",
                nn::kResnetStages);
  }
}

std::vector<PyramidLevel> pyramid_levels(const nn::ResnetConfig& network, const PyramidOptions& options,
                                         int64_t height, int64_t width) {
  options.check();
  std::vector<PyramidLevel> levels = stage_levels(network, options, height, width);
  if (!options.concatenate) return levels;
  for (size_t i = 1; i < levels.size(); ++i) levels[0].channels += levels[i].channels;
  levels.resize(1);
  return levels;
}

PyramidFeatures extract_pyramid(nn::Resnet& network, const ConstTensorView& images,
                                const PyramidOptions& options, bool pooled) {
  options.check();
  nn::ResnetRequest request;
  for (const int64_t layer : options.layers) request.stages[static_cast<size_t>(layer - 1)] = true;
  request.features = pooled;
  nn::ResnetResult result = network.forward(images, request);
  Device& device = network.device();
  const int64_t n = images.shape()[0];
  const int64_t height = images.shape()[2];
  const int64_t width = images.shape()[3];
  const std::vector<PyramidLevel> stages = stage_levels(network.config(), options, height, width);
  const std::vector<PyramidLevel> levels = pyramid_levels(network.config(), options, height, width);

  PyramidFeatures features;
  features.pooled = std::move(result.features);
  for (const PyramidLevel& level : levels) {
    features.levels.emplace_back(host(), DType::kF32, Shape{n * level.pixels(), level.channels},
                                 "pixel features");
  }
  int64_t column = 0;
  for (size_t s = 0; s < stages.size(); ++s) {
    const PyramidLevel& stage = stages[s];
    Tensor& planes = result.stages[static_cast<size_t>(stage.layer - 1)];
    PANDA_INTERNAL_ASSERT(planes.shape() == Shape({n, stage.channels, stage.height, stage.width}),
                          planes.shape());
    if (!device.host_accessible()) planes = clone_to(planes, host(), "pixel features");
    const size_t at = options.concatenate ? 0 : s;
    const PyramidLevel& level = levels[at];
    device.threads().parallel_for(n, [&](int64_t i, int) {
      const float* in = planes.data<float>() + i * stage.channels * stage.pixels();
      float* out = features.levels[at].data<float>() + i * level.pixels() * level.channels;
      if (stage.pixels() == level.pixels()) {
        planes_to_rows(in, stage.channels, stage.pixels(), out, level.channels, column);
      } else {
        const std::vector<float> larger = interpolated_planes(in, stage, level.height, level.width);
        planes_to_rows(larger.data(), stage.channels, level.pixels(), out, level.channels, column);
      }
    });
    planes = Tensor();
    if (options.concatenate) column += stage.channels;
  }
  return features;
}

}  // namespace panda::anomaly
