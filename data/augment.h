// Augmented network input for training a classifier: a random crop of random area and shape, resized, and
// flipped with probability 1/2 (Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 6).
#pragma once

#include "data/transforms.h"
#include "kernels/tensor/random.h"

namespace panda::data {

struct CropAugmentation {
  /// Extent of the square that the crop is resized to (bilinear, antialiased, rounded to 8 bits).
  int64_t size = 64;
  /// The crop's share of the image's area is uniform in [smallest_area, 1]; its width / height is
  /// log-uniform in [3/4, 4/3].
  double smallest_area = 0.25;
  bool flip = true;

  /// Throws InvalidArgument for a size below 1 or a share outside (0, 1].
  void check() const;
};

/// The crop of an image of these extents: of at most ten draws, the first that lies inside it; else the whole
/// image.
[[nodiscard]] Region draw_crop(const CropAugmentation& augmentation, int64_t height, int64_t width,
                               Random& random);

/// Writes 3 * size * size floats, C,H,W dense, scaled and normalised as ImageTransform does (ImageNet's mean
/// and deviation). Depends on the image and the state of `random` alone.
void augment(const CropAugmentation& augmentation, const Image& image, Random& random, float* out);

}  // namespace panda::data
