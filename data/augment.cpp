#include "data/augment.h"

#include <algorithm>
#include <cmath>

#include "data/image_decode.h"
#include "kernels/tensor/error.h"

namespace panda::data {

namespace {

Image mirrored(const Image& image) {
  Image out(image.height, image.width, image.channels);
  for (int64_t y = 0; y < image.height; ++y) {
    for (int64_t x = 0; x < image.width; ++x) {
      const uint8_t* from = image.row(y) + (image.width - 1 - x) * image.channels;
      std::copy(from, from + image.channels, out.row(y) + x * image.channels);
    }
  }
  return out;
}

}  // namespace

void CropAugmentation::check() const {
  PANDA_CHECK(size >= 1, "augmentation: size ", size, ", expected at least 1");
  PANDA_CHECK(smallest_area > 0 && smallest_area <= 1, "augmentation: smallest area ", smallest_area,
              ", expected above 0 and at most 1");
}

Region draw_crop(const CropAugmentation& augmentation, int64_t height, int64_t width, Random& random) {
  augmentation.check();
  constexpr int kDraws = 10;
  const double log_ratio = std::log(4.0 / 3.0);
  for (int draw = 0; draw < kDraws; ++draw) {
    const double area =
        static_cast<double>(height * width) * random.next_uniform(augmentation.smallest_area, 1.0);
    const double ratio = std::exp(random.next_uniform(-log_ratio, log_ratio));
    const int64_t w = std::llround(std::sqrt(area * ratio));
    const int64_t h = std::llround(std::sqrt(area / ratio));
    if (w < 1 || h < 1 || w > width || h > height) continue;
    const int64_t top = random.next_below(height - h + 1);
    const int64_t left = random.next_below(width - w + 1);
    return {top, left, h, w};
  }
  return {0, 0, height, width};
}

void augment(const CropAugmentation& augmentation, const Image& image, Random& random, float* out) {
  const Region crop = draw_crop(augmentation, image.height, image.width, random);
  Image small = resize_bilinear(cropped(to_rgb(image), crop), augmentation.size, augmentation.size);
  if (augmentation.flip && random.next_below(2) == 1) small = mirrored(small);
  ImageTransform scale;
  scale.resize_mode = ImageTransform::ResizeMode::kNone;
  scale.crop = augmentation.size;
  scale.apply(small, out);
}

}  // namespace panda::data
