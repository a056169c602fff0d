// Pillow's resampling (the rules are in resize.h) as two passes of one inner loop: a weighted sum of equally
// spaced runs of bytes.
//
// Columns: the runs are rows of the image. Rows: sixteen image rows at a time are interleaved into runs, so
// that one weight again meets a run of contiguous bytes, whatever its taps.
#include "data/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "data/resize_blend.h"
#include "kernels/tensor/checked_math.h"
#include "kernels/tensor/error.h"

namespace panda::data {

namespace {

constexpr int64_t kMaxExtent = int64_t{1} << 24;
constexpr int64_t kRowsPerBlock = 16;

/// Weights of output positions [begin, begin + size) when `in` samples become `out`.
Taps bilinear_taps(int64_t in, int64_t out, int64_t begin, int64_t size) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double widening = std::max(scale, 1.0);
  const double support = widening;  // the triangle's half width, 1, widened
  const double inverse = 1.0 / widening;
  Taps taps;
  taps.stride = static_cast<int64_t>(std::ceil(support)) * 2 + 1;
  taps.first.resize(static_cast<size_t>(size));
  taps.count.resize(static_cast<size_t>(size));
  taps.weights.resize(static_cast<size_t>(checked_mul(size, taps.stride)));
  std::vector<double> weights(static_cast<size_t>(taps.stride));
  for (int64_t i = 0; i < size; ++i) {
    const double center = (static_cast<double>(begin + i) + 0.5) * scale;
    // Rounding by truncation, which at the left edge differs from rounding down only below 0.
    const int64_t first = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5), 0);
    const int64_t count = std::min(static_cast<int64_t>(center + support + 0.5), in) - first;
    double sum = 0;
    for (int64_t t = 0; t < count; ++t) {
      const double distance = std::abs((static_cast<double>(t + first) - center + 0.5) * inverse);
      weights[static_cast<size_t>(t)] = distance < 1.0 ? 1.0 - distance : 0.0;
      sum += weights[static_cast<size_t>(t)];
    }
    for (int64_t t = 0; t < count; ++t) {
      double weight = weights[static_cast<size_t>(t)];
      if (sum != 0.0) weight /= sum;
      taps.weights[static_cast<size_t>(i * taps.stride + t)] =
          static_cast<int32_t>(0.5 + weight * (int64_t{1} << resize::kFractionBits));
    }
    taps.first[static_cast<size_t>(i)] = first;
    taps.count[static_cast<size_t>(i)] = count;
  }
  return taps;
}

/// Copies of a pixel of kChannels bytes. Three bytes are copied as four where the byte behind may be
/// overwritten: it is the first of a pixel that is copied later.
template <int64_t kChannels>
void copy_pixel(const uint8_t* from, uint8_t* to, bool last) {
  if (kChannels == 3 && !last) {
    std::memcpy(to, from, 4);
  } else {
    std::memcpy(to, from, kChannels);
  }
}

/// Interleaves `rows` rows of `columns` pixels: pixel x of row r goes to to[x * run + r * kChannels].
template <int64_t kChannels>
void gather_rows(const uint8_t* from, int64_t row_bytes, int64_t rows, int64_t columns, int64_t run,
                 uint8_t* to) {
  for (int64_t x = 0; x < columns; ++x, from += kChannels, to += run) {
    const bool last = x == columns - 1;
    for (int64_t r = 0; r < rows; ++r) copy_pixel<kChannels>(from + r * row_bytes, to + r * kChannels, last);
  }
}

/// The inverse of gather_rows.
template <int64_t kChannels>
void scatter_rows(const uint8_t* from, int64_t run, int64_t rows, int64_t columns, int64_t row_bytes,
                  uint8_t* to) {
  for (int64_t x = 0; x < columns; ++x, from += run, to += kChannels) {
    const bool last = x == columns - 1;
    for (int64_t r = 0; r < rows; ++r) copy_pixel<kChannels>(from + r * kChannels, to + r * row_bytes, last);
  }
}

/// Rows [top, top + height) of the image with each row resized by `taps`. Column 0 of the image is column
/// `origin` of the taps.
template <int64_t kChannels>
Image resize_rows_of(const Image& image, int64_t origin, const Taps& taps, int64_t top, int64_t height) {
  const int64_t channels = kChannels;
  const auto width = static_cast<int64_t>(taps.first.size());
  const resize::Blend blend = resize::best_blend();
  const int64_t run = kRowsPerBlock * channels;
  const int64_t first = taps.first.front();
  const int64_t columns = taps.first.back() + taps.count.back() - first;
  std::vector<uint8_t> gathered(static_cast<size_t>(checked_mul(columns, run)));
  std::vector<uint8_t> blended(static_cast<size_t>(checked_mul(width, run)));
  Image out(height, width, channels);
  for (int64_t y = 0; y < height; y += kRowsPerBlock) {
    const int64_t rows = std::min(kRowsPerBlock, height - y);
    const int64_t used = rows * channels;
    gather_rows<kChannels>(image.row(top + y) + (first - origin) * channels, image.width * channels, rows,
                           columns, run, gathered.data());
    for (int64_t x = 0; x < width; ++x) {
      const auto i = static_cast<size_t>(x);
      blend(gathered.data() + (taps.first[i] - first) * run, run, taps.weights.data() + x * taps.stride,
            taps.count[i], blended.data() + x * run, used);
    }
    scatter_rows<kChannels>(blended.data(), run, rows, width, width * channels, out.row(y));
  }
  return out;
}

Image resize_rows(const Image& image, int64_t origin, const Taps& taps, int64_t top, int64_t height) {
  switch (image.channels) {
    case 1:
      return resize_rows_of<1>(image, origin, taps, top, height);
    case 2:
      return resize_rows_of<2>(image, origin, taps, top, height);
    case 3:
      return resize_rows_of<3>(image, origin, taps, top, height);
    case 4:
      return resize_rows_of<4>(image, origin, taps, top, height);
    default:
      throw InvalidArgument(text("resize_bilinear: ", image.channels, " channels, expected 1 to 4"));
  }
}

/// Each column of the image resized by `taps`. Row 0 of the image is row `origin` of the taps.
Image blend_columns(const Image& image, int64_t origin, const Taps& taps) {
  const resize::Blend blend = resize::best_blend();
  const auto height = static_cast<int64_t>(taps.first.size());
  Image out(height, image.width, image.channels);
  const int64_t row_bytes = image.width * image.channels;
  for (int64_t y = 0; y < height; ++y) {
    const auto i = static_cast<size_t>(y);
    blend(image.row(taps.first[i] - origin), row_bytes, taps.weights.data() + y * taps.stride, taps.count[i],
          out.row(y), row_bytes);
  }
  return out;
}

/// The region of the image at `height` rows, its width unchanged.
Image resize_columns(const Image& image, int64_t height, const Region& region) {
  const Taps taps = bilinear_taps(image.height, height, region.top, region.height);
  const int64_t first = taps.first.front();
  const int64_t count = taps.first.back() + taps.count.back() - first;
  return blend_columns(cropped(image, {first, region.left, count, region.width}), first, taps);
}

/// Which pass comes first decides where the 8-bit rounding falls. Pillow 13 shrinks columns first where the
/// height loses more than twice what the width loses (determined by experiment: 6,000 sizes, no exception);
/// older versions always begin with rows.
bool columns_first(int64_t image_height, int64_t image_width, int64_t height, int64_t width) {
  return height < image_height && image_height - height > 2 * (image_width - width);
}

void check_resize(int64_t image_height, int64_t image_width, int64_t height, int64_t width,
                  const Region& region) {
  PANDA_CHECK(image_height >= 1 && image_width >= 1, "resize_bilinear: the image is empty");
  PANDA_CHECK(height >= 1 && width >= 1 && height <= kMaxExtent && width <= kMaxExtent,
              "resize_bilinear: to ", width, " x ", height, ", expected 1 to ", kMaxExtent, " along a side");
  PANDA_CHECK(region.top >= 0 && region.left >= 0 && region.height >= 1 && region.width >= 1 &&
                  region.top <= height - region.height && region.left <= width - region.width,
              "resize_bilinear: region ", region.width, " x ", region.height, " at ", region.left, ", ",
              region.top, " is not inside ", width, " x ", height);
}

}  // namespace

Image resize_bilinear(const Image& image, int64_t height, int64_t width) {
  return resize_bilinear_region(image, height, width, {0, 0, height, width});
}

Image resize_bilinear_region(const Image& image, int64_t height, int64_t width, const Region& region) {
  check_resize(image.height, image.width, height, width, region);
  // A pass whose size does not change is the identity and is left out.
  const bool rows = width != image.width;
  const bool columns = height != image.height;
  if (!rows && !columns) return cropped(image, region);
  if (!columns) {
    return resize_rows(image, 0, bilinear_taps(image.width, width, region.left, region.width), region.top,
                       region.height);
  }
  if (!rows) return resize_columns(image, height, region);
  if (columns_first(image.height, image.width, height, width)) {
    const Taps taps = bilinear_taps(image.width, width, region.left, region.width);
    const int64_t first = taps.first.front();
    const int64_t count = taps.first.back() + taps.count.back() - first;
    const Image middle = resize_columns(image, height, {region.top, first, region.height, count});
    return resize_rows(middle, first, taps, 0, region.height);
  }
  const Taps taps = bilinear_taps(image.height, height, region.top, region.height);
  const int64_t first = taps.first.front();
  const int64_t count = taps.first.back() + taps.count.back() - first;
  const Taps row_taps = bilinear_taps(image.width, width, region.left, region.width);
  return blend_columns(resize_rows(image, 0, row_taps, first, count), first, taps);
}

ResizePlan resize_plan(int64_t image_height, int64_t image_width, int64_t height, int64_t width,
                       const Region& region) {
  check_resize(image_height, image_width, height, width, region);
  return {bilinear_taps(image_height, height, region.top, region.height),
          bilinear_taps(image_width, width, region.left, region.width),
          columns_first(image_height, image_width, height, width)};
}

Extent short_side_extent(int64_t height, int64_t width, int64_t size) {
  PANDA_CHECK(height >= 1 && width >= 1 && size >= 1, "resize: short side ", size, " of an image of ", width,
              " x ", height);
  if (height <= width) return {size, checked_mul(size, width) / height};
  return {checked_mul(size, height) / width, size};
}

Image resize_short_side(const Image& image, int64_t size) {
  const Extent extent = short_side_extent(image.height, image.width, size);
  return resize_bilinear(image, extent.height, extent.width);
}

Image resize_nearest(const Image& image, int64_t height, int64_t width) {
  PANDA_CHECK(image.height >= 1 && image.width >= 1 && height >= 1 && width >= 1 && height <= kMaxExtent &&
                  width <= kMaxExtent,
              "resize_nearest: ", image.width, " x ", image.height, " to ", width, " x ", height);
  Image out(height, width, image.channels);
  for (int64_t y = 0; y < height; ++y) {
    const uint8_t* in = image.row((2 * y + 1) * image.height / (2 * height));
    uint8_t* to = out.row(y);
    for (int64_t x = 0; x < width; ++x, to += image.channels) {
      std::copy_n(in + (2 * x + 1) * image.width / (2 * width) * image.channels, image.channels, to);
    }
  }
  return out;
}

Region center_region(int64_t height, int64_t width, int64_t crop_height, int64_t crop_width) {
  PANDA_CHECK(crop_height >= 1 && crop_width >= 1 && crop_height <= height && crop_width <= width,
              "center crop: ", crop_width, " x ", crop_height, " from an image of ", width, " x ", height);
  const auto half = [](int64_t space) { return space / 2 + (space % 4 == 3 ? 1 : 0); };  // ties to even
  return {half(height - crop_height), half(width - crop_width), crop_height, crop_width};
}

Image center_crop(const Image& image, int64_t crop_height, int64_t crop_width) {
  return cropped(image, center_region(image.height, image.width, crop_height, crop_width));
}

Image cropped(const Image& image, const Region& region) {
  PANDA_CHECK(region.top >= 0 && region.left >= 0 && region.height >= 0 && region.width >= 0 &&
                  region.top <= image.height - region.height && region.left <= image.width - region.width,
              "crop: ", region.width, " x ", region.height, " at ", region.left, ", ", region.top,
              " is not inside ", image.width, " x ", image.height);
  Image out(region.height, region.width, image.channels);
  for (int64_t y = 0; y < region.height; ++y) {
    std::copy_n(image.row(region.top + y) + region.left * image.channels, region.width * image.channels,
                out.row(y));
  }
  return out;
}

}  // namespace panda::data
