#include "data/transforms.h"

#include <algorithm>

#include "data/image_decode.h"
#include "data/resize.h"
#include "kernels/tensor/error.h"

namespace panda::data {

namespace {

/// Extents of the whole image after the resize.
Extent resized_extent(const ImageTransform& transform, int64_t height, int64_t width) {
  switch (transform.resize_mode) {
    case ImageTransform::ResizeMode::kShortSide:
      return short_side_extent(height, width, transform.resize);
    case ImageTransform::ResizeMode::kSquare:
      return {transform.resize, transform.resize};
    case ImageTransform::ResizeMode::kNone:
      break;
  }
  return {height, width};
}

}  // namespace

void ImageTransform::check() const {
  PANDA_CHECK(crop >= 1, "transform: crop ", crop, ", expected at least 1");
  PANDA_CHECK(resize_mode == ResizeMode::kNone || resize >= crop, "transform: crop ", crop,
              " of an image resized to ", resize, ", expected at most that");
  PANDA_CHECK(channels == 1 || channels == 3, "transform: ", channels, " channels, expected 1 or 3");
  for (const float deviation : stddev) {
    PANDA_CHECK(deviation > 0, "transform: standard deviation ", deviation, ", expected above 0");
  }
}

Image ImageTransform::pixels(const Image& image) const {
  check();
  // Gray stays gray through the resize (replication to three channels comes last: the same bits, a third of
  // the work).
  Image converted;
  const Image* input = &image;
  if (image.channels == 2 || (channels == 1 && image.channels != 1)) {
    converted = to_gray(image);
    input = &converted;
  } else if (image.channels == 4) {
    converted = to_rgb(image);
    input = &converted;
  }
  const Extent extent = resized_extent(*this, input->height, input->width);
  const Region region = center_region(extent.height, extent.width, crop, crop);
  Image small = resize_bilinear_region(*input, extent.height, extent.width, region);
  return channels == 3 && small.channels != 3 ? to_rgb(small) : small;
}

ResizePlan ImageTransform::plan(int64_t height, int64_t width) const {
  check();
  const Extent extent = resized_extent(*this, height, width);
  return resize_plan(height, width, extent.height, extent.width,
                     center_region(extent.height, extent.width, crop, crop));
}

Tensor ImageTransform::levels() const {
  check();
  Tensor table(host(), DType::kF32, Shape{channels, 256}, "levels");
  for (int64_t c = 0; c < channels; ++c) {
    const auto channel = static_cast<size_t>(c);
    for (int64_t v = 0; v < 256; ++v)
      table.data<float>()[c * 256 + v] = (static_cast<float>(v) / 255.0F - mean[channel]) / stddev[channel];
  }
  return table;
}

void ImageTransform::apply(const Image& image, float* out) const {
  const Image small = pixels(image);
  const Tensor table = levels();
  const int64_t count = crop * crop;
  for (int64_t c = 0; c < channels; ++c) {
    const float* level = table.data<float>() + c * 256;
    const uint8_t* in = small.pixels.data() + c;
    float* plane = out + c * count;
    for (int64_t i = 0; i < count; ++i) plane[i] = level[in[i * channels]];
  }
}

Tensor ImageTransform::apply(const Image& image) const {
  check();
  Tensor tensor(host(), DType::kF32, Shape{1, channels, crop, crop}, "images");
  apply(image, tensor.data<float>());
  return tensor;
}

}  // namespace panda::data
