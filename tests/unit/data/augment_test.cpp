// Random crops and flips: inside the image, of the promised area and shape, and nothing but a crop and a
// flip.

#include "data/augment.h"

#include <gtest/gtest.h>

#include <vector>

#include "kernels/tensor/error.h"

namespace panda::data {
namespace {

Image noise(int64_t height, int64_t width) {
  Image image(height, width, 3);
  Random random(5);
  for (uint8_t& pixel : image.pixels) pixel = static_cast<uint8_t>(random.next_below(256));
  return image;
}

std::vector<float> augmented(const CropAugmentation& augmentation, const Image& image, uint64_t seed) {
  std::vector<float> out(static_cast<size_t>(3 * augmentation.size * augmentation.size));
  Random random(seed);
  augment(augmentation, image, random, out.data());
  return out;
}

TEST(Augment, CropsLieInsideAndKeepAreaAndShape) {
  const CropAugmentation augmentation{.size = 16, .smallest_area = 0.25};
  Random random(1);
  constexpr int64_t kHeight = 96;
  constexpr int64_t kWidth = 128;
  double smallest = 1;
  double largest = 0;
  bool other_place = false;
  for (int draw = 0; draw < 2000; ++draw) {
    const Region crop = draw_crop(augmentation, kHeight, kWidth, random);
    ASSERT_TRUE(crop.top >= 0 && crop.left >= 0 && crop.height >= 1 && crop.width >= 1);
    ASSERT_TRUE(crop.top + crop.height <= kHeight && crop.left + crop.width <= kWidth);
    const double share = static_cast<double>(crop.height * crop.width) / (kHeight * kWidth);
    const double shape = static_cast<double>(crop.width) / static_cast<double>(crop.height);
    smallest = std::min(smallest, share);
    largest = std::max(largest, share);
    other_place |= crop.top > 0 && crop.left > 0;
    // Extents are rounded to pixels: of at least 41 here, so by less than 2 %.
    EXPECT_TRUE(share > 0.25 * 0.97 && share <= 1) << share;
    EXPECT_TRUE(shape > 0.75 * 0.97 && shape < 1.34 * 1.03) << shape;
  }
  EXPECT_LT(smallest, 0.27);
  EXPECT_GT(largest, 0.9);
  EXPECT_TRUE(other_place);
}

TEST(Augment, TakesAWholeImageInWhichNoCropFits) {
  const CropAugmentation augmentation{.size = 8, .smallest_area = 1};
  Random random(1);
  const Region crop = draw_crop(augmentation, 4, 400, random);  // 100 times as wide as high
  EXPECT_TRUE(crop.top == 0 && crop.left == 0 && crop.height == 4 && crop.width == 400);
}

TEST(Augment, OfAWholeImageIsTheTransformOrItsMirrorImage) {
  // A square whose crop is all of it, whatever is drawn: no other one of its area fits.
  const Image image = noise(16, 16);
  const CropAugmentation augmentation{.size = 16, .smallest_area = 1};
  ImageTransform transform;
  transform.resize_mode = ImageTransform::ResizeMode::kNone;
  transform.crop = 16;
  std::vector<float> plain(3 * 16 * 16);
  transform.apply(image, plain.data());
  std::vector<float> mirrored(plain.size());
  for (size_t row = 0; row < 3 * 16; ++row) {
    for (size_t x = 0; x < 16; ++x) mirrored[row * 16 + x] = plain[row * 16 + 15 - x];
  }
  int flips = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const std::vector<float> found = augmented(augmentation, image, seed);
    EXPECT_TRUE(found == plain || found == mirrored) << seed;
    flips += found == mirrored;
    EXPECT_EQ(found, augmented(augmentation, image, seed));
  }
  EXPECT_TRUE(flips > 8 && flips < 32) << flips;
  CropAugmentation still = augmentation;
  still.flip = false;
  for (uint64_t seed = 0; seed < 10; ++seed) EXPECT_EQ(augmented(still, image, seed), plain);
}

TEST(Augment, RefusesWhatHasNoMeaning) {
  EXPECT_THROW((CropAugmentation{.size = 0}).check(), InvalidArgument);
  EXPECT_THROW((CropAugmentation{.smallest_area = 0}).check(), InvalidArgument);
  EXPECT_THROW((CropAugmentation{.smallest_area = 1.5}).check(), InvalidArgument);
}

}  // namespace
}  // namespace panda::data
