#include "data/resize.h"

#include <gtest/gtest.h>

#include "data/resize_blend.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/random.h"
#include "tests/unit/data/support.h"

namespace panda::data {
namespace {

using test::made_image;

TEST(ResizeBilinear, EqualsPillowBitForBit) {
  int compared = 0;
  for (const std::string& line : test::golden_lines("resize.txt")) {
    std::istringstream fields(line);
    uint64_t seed = 0;
    int kind = 0;
    int64_t channels = 0, height = 0, width = 0, new_height = 0, new_width = 0;
    test::Hash expected;
    fields >> seed >> kind >> channels >> height >> width >> new_height >> new_width >> expected.first >>
        expected.second;
    ASSERT_TRUE(fields) << line;
    const Image resized =
        resize_bilinear(made_image(seed, kind, channels, height, width), new_height, new_width);
    EXPECT_EQ(resized.height, new_height);
    EXPECT_EQ(resized.width, new_width);
    EXPECT_EQ(test::hash_of(resized), expected) << line;
    ++compared;
  }
  EXPECT_EQ(compared, 200);
}

TEST(ResizeBilinear, RegionIsTheSamePixels) {
  for (const auto& [new_height, new_width] :
       {std::pair<int64_t, int64_t>{60, 70}, {17, 19}, {40, 19}, {17, 50}, {40, 50}}) {
    const Image image = made_image(7, 0, 3, 40, 50);
    const Image whole = resize_bilinear(image, new_height, new_width);
    const Region region{3, 5, 11, 9};
    EXPECT_EQ(resize_bilinear_region(image, new_height, new_width, region).pixels,
              cropped(whole, region).pixels);
  }
}

TEST(ResizeBilinear, KeepsAConstantImage) {
  for (const int value : {0, 1, 127, 254, 255}) {
    Image image(23, 301, 1);
    std::fill(image.pixels.begin(), image.pixels.end(), static_cast<uint8_t>(value));
    for (const int64_t size : {1, 7, 100, 333}) {
      for (const uint8_t pixel : resize_bilinear(image, size, size).pixels) ASSERT_EQ(pixel, value);
    }
  }
}

TEST(ResizeBilinear, RefusesEmptyAndHugeTargets) {
  const Image image(2, 2, 1);
  EXPECT_THROW((void)resize_bilinear(image, 0, 5), InvalidArgument);
  EXPECT_THROW((void)resize_bilinear(image, 5, -1), InvalidArgument);
  EXPECT_THROW((void)resize_bilinear(image, int64_t{1} << 25, 5), InvalidArgument);
  EXPECT_THROW((void)resize_bilinear(Image(), 5, 5), InvalidArgument);
  EXPECT_THROW((void)resize_bilinear_region(image, 5, 5, {3, 0, 3, 1}), InvalidArgument);
}

TEST(Blend, EveryVariantGivesTheSameBits) {
  Random random(11);
  for (int round = 0; round < 300; ++round) {
    const int64_t taps = 1 + random.next_below(40);
    const int64_t size = random.next_below(70);
    const int64_t stride = size + random.next_below(5);
    std::vector<uint8_t> in(static_cast<size_t>((taps - 1) * stride + size));
    for (uint8_t& sample : in) sample = round % 3 == 0 ? 255 : static_cast<uint8_t>(random.next_below(256));
    std::vector<int32_t> weights(static_cast<size_t>(taps));
    // Sums a little above 2^22, so that 255 must be clipped.
    for (int32_t& weight : weights)
      weight = static_cast<int32_t>(((1 << resize::kFractionBits) + (1 << 16)) / taps);
    std::vector<uint8_t> best(static_cast<size_t>(size) + 1, 77);
    std::vector<uint8_t> portable = best;
    resize::best_blend()(in.data(), stride, weights.data(), taps, best.data(), size);
    resize::blend_portable(in.data(), stride, weights.data(), taps, portable.data(), size);
    ASSERT_EQ(best, portable) << taps << " taps, size " << size;
    ASSERT_EQ(best.back(), 77);
  }
}

TEST(Blend, RoundsAndClips) {
  const uint8_t in[2] = {1, 255};
  const int32_t half[1] = {1 << 21};
  uint8_t out[2] = {0, 0};
  resize::blend_portable(in, 2, half, 1, out, 2);
  EXPECT_EQ(out[0], 1);    // 0.5 rounds up
  EXPECT_EQ(out[1], 128);  // 127.5
  const int32_t large[1] = {(1 << 22) + (1 << 15)};
  resize::blend_portable(in, 2, large, 1, out, 2);
  EXPECT_EQ(out[1], 255);  // 256.99 is clipped
}

TEST(ShortSideExtent, TruncatesTheLongSideAsTorchvision) {
  EXPECT_EQ(short_side_extent(256, 374, 256).width, 374);
  EXPECT_EQ(short_side_extent(32, 32, 256).height, 256);
  const Extent tall = short_side_extent(500, 333, 256);
  EXPECT_EQ(tall.width, 256);
  EXPECT_EQ(tall.height, 384);  // 256 * 500 / 333 = 384.38
}

TEST(CenterRegion, RoundsHalvesToEven) {
  EXPECT_EQ(center_region(225, 227, 224, 224).top, 0);   // 0.5
  EXPECT_EQ(center_region(225, 227, 224, 224).left, 2);  // 1.5
  EXPECT_EQ(center_region(229, 231, 224, 224).top, 2);   // 2.5
  EXPECT_EQ(center_region(229, 231, 224, 224).left, 4);  // 3.5
  EXPECT_EQ(center_region(256, 256, 224, 224).top, 16);
  EXPECT_THROW((void)center_region(100, 300, 224, 224), InvalidArgument);
}

TEST(ResizeNearest, MakesNoNewValues) {
  Image mask(2, 2, 1);
  mask.pixels = {0, 255, 255, 0};
  const Image large = resize_nearest(mask, 4, 6);
  const std::vector<uint8_t> expected = {0,   0,   0,   255, 255, 255, 0,   0,   0,   255, 255, 255,
                                         255, 255, 255, 0,   0,   0,   255, 255, 255, 0,   0,   0};
  EXPECT_EQ(large.pixels, expected);
  EXPECT_EQ(resize_nearest(large, 2, 2).pixels, mask.pixels);
}

}  // namespace
}  // namespace panda::data
