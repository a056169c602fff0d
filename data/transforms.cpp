#include "data/transforms.h"

#include <algorithm>
#include <vector>

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

/// The part of the resized image that the network sees.
Region seen_region(const ImageTransform& transform, const Extent& resized) {
  if (transform.crop == 0) return {0, 0, resized.height, resized.width};
  return center_region(resized.height, resized.width, transform.crop, transform.crop);
}

/// The input positions under output position i of `out`, with the share of i's length that each covers.
struct Cover {
  int64_t first = 0;
  std::vector<double> shares;
};

/// The samples through the table of levels (f32 C,256), plane by plane.
void write_planes(const Image& small, const Tensor& table, float* out) {
  const int64_t count = small.height * small.width;
  for (int64_t c = 0; c < small.channels; ++c) {
    const float* level = table.data<float>() + c * 256;
    const uint8_t* in = small.pixels.data() + c;
    float* plane = out + c * count;
    for (int64_t i = 0; i < count; ++i) plane[i] = level[in[i * small.channels]];
  }
}

Cover cover_of(int64_t i, int64_t in, int64_t out) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double begin = static_cast<double>(i) * scale;
  const double end = std::min(static_cast<double>(in), static_cast<double>(i + 1) * scale);
  Cover cover;
  cover.first = std::min(in - 1, static_cast<int64_t>(begin));
  for (int64_t j = cover.first; j < in && static_cast<double>(j) < end; ++j) {
    const double length = std::min(end, static_cast<double>(j + 1)) - std::max(begin, static_cast<double>(j));
    cover.shares.push_back(std::max(0.0, length) / scale);
  }
  return cover;
}

}  // namespace

void ImageTransform::check() const {
  PANDA_CHECK(crop >= 0, "transform: crop ", crop, ", expected at least 1, or 0 for none");
  PANDA_CHECK(resize_mode == ResizeMode::kNone || resize >= std::max<int64_t>(1, crop), "transform: crop ",
              crop, " of an image resized to ", resize, ", expected at most that");
  PANDA_CHECK(channels == 1 || channels == 3, "transform: ", channels, " channels, expected 1 or 3");
  for (const float deviation : stddev) {
    PANDA_CHECK(deviation > 0, "transform: standard deviation ", deviation, ", expected above 0");
  }
}

Extent ImageTransform::extent(int64_t height, int64_t width) const {
  const Region region = seen_region(*this, resized_extent(*this, height, width));
  return {region.height, region.width};
}

Image ImageTransform::mask(const Image& mask) const {
  check();
  PANDA_CHECK(mask.channels == 1, "transform: a mask of ", mask.channels, " channels, expected 1");
  const Extent extent = resized_extent(*this, mask.height, mask.width);
  const Region region = seen_region(*this, extent);
  // Sums of a few shares of 1/2 may miss it by rounding.
  constexpr double kHalf = 0.5 - 1e-9;
  std::vector<Cover> columns;
  for (int64_t x = 0; x < region.width; ++x)
    columns.push_back(cover_of(region.left + x, mask.width, extent.width));
  Image small(region.height, region.width, 1);
  for (int64_t y = 0; y < region.height; ++y) {
    const Cover row = cover_of(region.top + y, mask.height, extent.height);
    for (int64_t x = 0; x < region.width; ++x) {
      const Cover& column = columns[static_cast<size_t>(x)];
      double covered = 0;
      for (size_t v = 0; v < row.shares.size(); ++v) {
        const uint8_t* line = mask.row(row.first + static_cast<int64_t>(v)) + column.first;
        for (size_t u = 0; u < column.shares.size(); ++u)
          covered += line[u] >= 128 ? row.shares[v] * column.shares[u] : 0;
      }
      small.row(y)[x] = covered >= kHalf ? 255 : 0;
    }
  }
  return small;
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
  const Region region = seen_region(*this, extent);
  Image small = resize_bilinear_region(*input, extent.height, extent.width, region);
  return channels == 3 && small.channels != 3 ? to_rgb(small) : small;
}

ResizePlan ImageTransform::plan(int64_t height, int64_t width) const {
  check();
  const Extent extent = resized_extent(*this, height, width);
  return resize_plan(height, width, extent.height, extent.width, seen_region(*this, extent));
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
  write_planes(pixels(image), levels(), out);
}

Tensor ImageTransform::apply(const Image& image) const {
  const Image small = pixels(image);
  Tensor tensor(host(), DType::kF32, Shape{1, channels, small.height, small.width}, "images");
  write_planes(small, levels(), tensor.data<float>());
  return tensor;
}

}  // namespace panda::data
