#include "kernels/resize.h"

#include <algorithm>
#include <vector>

#include "kernels/reference/reference_kernels.h"

namespace panda::kernels::reference {

namespace {

/// 8-bit samples, H,W,C.
struct Picture {
  int64_t height, width, channels;
  std::vector<uint8_t> samples;

  [[nodiscard]] int64_t at(int64_t h, int64_t w, int64_t c) const {
    return samples[static_cast<size_t>((h * width + w) * channels + c)];
  }
};

/// The picture with one axis resampled.
Picture resampled(const Picture& x, const ResampleAxis& axis, bool along_width) {
  Picture y{along_width ? x.height : axis.size, along_width ? axis.size : x.width, x.channels, {}};
  for (int64_t h = 0; h < y.height; ++h) {
    for (int64_t w = 0; w < y.width; ++w) {
      for (int64_t c = 0; c < y.channels; ++c) {
        const int64_t i = along_width ? w : h;
        int64_t sum = int64_t{1} << (kResampleFractionBits - 1);
        for (int64_t t = 0; t < axis.count[i]; ++t) {
          const int64_t from = axis.first[i] + t;
          sum += axis.weights[i * axis.stride + t] * (along_width ? x.at(h, from, c) : x.at(from, w, c));
        }
        y.samples.push_back(static_cast<uint8_t>(std::min<int64_t>(sum >> kResampleFractionBits, 255)));
      }
    }
  }
  return y;
}

}  // namespace

void resize_forward(Device&, const ResizeForwardArgs& args) {
  const Shape& shape = args.image.shape();
  const auto* image = args.image.data<uint8_t>();
  Picture picture{shape[0], shape[1], shape[2], {image, image + args.image.numel()}};
  if (args.height_first) {
    picture = resampled(resampled(picture, args.along_height, false), args.along_width, true);
  } else {
    picture = resampled(resampled(picture, args.along_width, true), args.along_height, false);
  }
  const Shape& ys = args.y.shape();
  const auto* levels = args.levels.data<float>();
  auto* y = args.y.data<float>();
  for (int64_t k = 0; k < stored_channels(ys, args.y.layout()); ++k) {
    for (int64_t p = 0; p < ys[2]; ++p) {
      for (int64_t q = 0; q < ys[3]; ++q) {
        const int64_t channel = shape[2] == 1 ? 0 : k;
        y[image_offset(ys, args.y.layout(), 0, k, p, q)] =
            k < ys[1] ? levels[k * 256 + picture.at(p, q, channel)] : 0.0F;
      }
    }
  }
}

}  // namespace panda::kernels::reference
