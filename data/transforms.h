// From a decoded image to the network's input, in the paper's order: resize (bilinear, antialiased, rounded
// to 8 bits), center crop, scale to [0, 1], normalise per channel.
//
// The floats are bit-equal to torchvision's Resize (of a PIL image), CenterCrop, ToTensor, Normalize: x / 255
// rounded to f32, minus the mean rounded to f32, divided by the standard deviation rounded to f32.
#pragma once

#include <array>
#include <cstdint>

#include "data/image.h"
#include "data/resize.h"
#include "kernels/tensor/tensor.h"

namespace panda::data {

/// A plain description, so that a fitted model can store it and score with the same one.
struct ImageTransform {
  enum class ResizeMode : uint8_t {
    kShortSide,  // the short side becomes `resize`, the shape is kept
    kSquare,     // both sides become `resize`
    kNone,       // no resize: the image must be at least crop x crop
  };
  ResizeMode resize_mode = ResizeMode::kShortSide;
  int64_t resize = 256;
  /// Extent of the square taken from the middle; 0: none, the whole picture is kept.
  int64_t crop = 224;
  /// 3: gray is replicated, alpha dropped. 1: colour becomes gray (ITU-R BT.601).
  int64_t channels = 3;
  /// Of ImageNet. With one channel, the first entries count.
  std::array<float, 3> mean = {0.485F, 0.456F, 0.406F};
  std::array<float, 3> stddev = {0.229F, 0.224F, 0.225F};

  friend bool operator==(const ImageTransform&, const ImageTransform&) = default;

  /// Throws InvalidArgument if resize is below 1, crop is negative or larger than resize, channels is neither
  /// 1 nor 3, or a standard deviation is not positive.
  void check() const;

  /// What pixels() makes of an image of these extents: crop x crop, or without a crop the whole.
  [[nodiscard]] Extent extent(int64_t height, int64_t width) const;

  /// The 8-bit picture that the network sees: `channels` planes of extent() before scaling. Throws
  /// InvalidArgument if the image is smaller than the crop (kNone only).
  [[nodiscard]] Image pixels(const Image& image) const;

  /// The mask (one channel, height x width of its image) where `pixels` takes the image: of extent(), 255
  /// where at least half of the pixel's area is anomalous (mask values of 128 and above), else 0.
  [[nodiscard]] Image mask(const Image& mask) const;

  /// How pixels() resizes an image of these extents.
  [[nodiscard]] ResizePlan plan(int64_t height, int64_t width) const;
  /// The float of each 8-bit level: f32 channels,256 on the host.
  [[nodiscard]] Tensor levels() const;

  /// Writes the floats of extent(), C,H,W dense.
  void apply(const Image& image, float* out) const;
  /// The same as a host tensor f32 1,C,H,W.
  [[nodiscard]] Tensor apply(const Image& image) const;
};

}  // namespace panda::data
