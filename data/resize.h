// Resizing of 8-bit images, bit-identical to Pillow, and cropping with torchvision's rounding.
//
// All functions are pure and deterministic: integer arithmetic after coefficients that are computed in f64.
#pragma once

#include <cstdint>
#include <vector>

#include "data/image.h"

namespace panda::data {

/// A rectangle of pixels.
struct Region {
  int64_t top = 0;
  int64_t left = 0;
  int64_t height = 0;
  int64_t width = 0;
};

/// The image at height x width by bilinear interpolation with antialiasing: the triangle filter is widened by
/// the scale when shrinking. Rows first, rounded to 8 bits, then columns; coefficients have 22 fractional
/// bits. Where the height loses more than twice what the width loses (in pixels), columns come first. The
/// result equals that of Pillow 13's Image.resize((width, height), BILINEAR) bit for bit for one and three
/// channels; older versions never begin with columns. Channels are independent (alpha is one more channel;
/// Pillow multiplies it in). Throws InvalidArgument for sizes below 1 or above 2^24.
[[nodiscard]] Image resize_bilinear(const Image& image, int64_t height, int64_t width);

/// `region` of resize_bilinear(image, height, width), computing no more than that.
[[nodiscard]] Image resize_bilinear_region(const Image& image, int64_t height, int64_t width,
                                           const Region& region);

/// For each of a range of output positions along one axis: the first input position, how many, and their
/// weights, `stride` apart, with 22 fractional bits.
struct Taps {
  std::vector<int64_t> first;
  std::vector<int64_t> count;
  std::vector<int32_t> weights;
  int64_t stride = 0;
};

/// The tables of resize_bilinear_region, for whoever computes it elsewhere: a pass along each axis, rounded
/// to 8 bits. A pass whose size does not change is in it too; it is the identity.
struct ResizePlan {
  Taps along_height;
  Taps along_width;
  bool height_first = false;
};
[[nodiscard]] ResizePlan resize_plan(int64_t image_height, int64_t image_width, int64_t height, int64_t width,
                                     const Region& region);

/// Extents when the short side becomes `size` and the long side int(size * long / short), torchvision's
/// Resize(size).
struct Extent {
  int64_t height = 0;
  int64_t width = 0;
};
[[nodiscard]] Extent short_side_extent(int64_t height, int64_t width, int64_t size);
[[nodiscard]] Image resize_short_side(const Image& image, int64_t size);

/// The nearest pixel: source index floor((i + 0.5) * source / target), Pillow's NEAREST. For masks: makes no
/// new values.
[[nodiscard]] Image resize_nearest(const Image& image, int64_t height, int64_t width);

/// The region that torchvision's CenterCrop takes: top = round((height - crop) / 2), ties to even. Throws
/// InvalidArgument if the image is smaller than the crop (torchvision would pad).
[[nodiscard]] Region center_region(int64_t height, int64_t width, int64_t crop_height, int64_t crop_width);
[[nodiscard]] Image center_crop(const Image& image, int64_t crop_height, int64_t crop_width);

/// The pixels of a region that lies inside the image.
[[nodiscard]] Image cropped(const Image& image, const Region& region);

}  // namespace panda::data
