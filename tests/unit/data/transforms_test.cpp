#include "data/transforms.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>

#include "data/image_decode.h"
#include "data/image_write.h"
#include "kernels/tensor/error.h"
#include "tests/support/real_data.h"
#include "tests/unit/data/support.h"

namespace panda::data {
namespace {

test::Hash hash_of(const Tensor& tensor) {
  return test::hash_of(tensor.data<float>(), static_cast<size_t>(tensor.bytes()));
}

TEST(ImageTransform, EqualsTorchvisionBitForBit) {
  int compared = 0;
  for (const std::string& line : test::golden_lines("transforms.txt")) {
    std::istringstream fields(line);
    std::string mode;
    uint64_t seed = 0;
    int64_t channels = 0, height = 0, width = 0;
    test::Hash expected;
    fields >> mode >> seed >> channels >> height >> width >> expected.first >> expected.second;
    ASSERT_TRUE(fields) << line;
    ImageTransform transform;
    transform.resize_mode = mode == "short"    ? ImageTransform::ResizeMode::kShortSide
                            : mode == "square" ? ImageTransform::ResizeMode::kSquare
                                               : ImageTransform::ResizeMode::kNone;
    const Tensor tensor = transform.apply(test::made_image(seed, 0, channels, height, width));
    EXPECT_EQ(tensor.shape(), (Shape{1, 3, 224, 224}));
    EXPECT_EQ(hash_of(tensor), expected) << line;
    ++compared;
  }
  EXPECT_GE(compared, 50);
}

TEST(ImageTransform, EqualsTorchvisionOnPhotographs) {
  const std::string root = panda::test::real_data();
  if (root.empty()) GTEST_SKIP() << "PANDA_DATA is not set: no photographs to compare";
  int compared = 0;
  for (const std::string& line : test::golden_lines("imagenet_transforms.txt")) {
    std::istringstream fields(line);
    std::string name;
    test::Hash expected;
    fields >> name >> expected.first >> expected.second;
    ASSERT_TRUE(fields) << line;
    const Tensor tensor = ImageTransform().apply(load_image(root + "/" + name));
    EXPECT_EQ(hash_of(tensor), expected) << line;
    ++compared;
  }
  EXPECT_EQ(compared, 50);
}

TEST(ImageTransform, OneChannelKeepsGrayAndReducesColour) {
  ImageTransform transform;
  transform.channels = 1;
  transform.mean = {0.5F, 0, 0};
  transform.stddev = {0.25F, 1, 1};
  Image gray(256, 256, 1);
  std::fill(gray.pixels.begin(), gray.pixels.end(), static_cast<uint8_t>(255));
  const Tensor tensor = transform.apply(gray);
  EXPECT_EQ(tensor.shape(), (Shape{1, 1, 224, 224}));
  EXPECT_EQ(tensor.data<float>()[0], 2.0F);
  const Tensor colour = transform.apply(to_rgb(gray));
  EXPECT_EQ(colour.data<float>()[224 * 224 - 1], 2.0F);
}

TEST(ImageTransform, DropsAlpha) {
  const Image rgba = test::made_image(3, 0, 4, 40, 50);
  const Image gray_alpha = test::made_image(4, 0, 2, 40, 50);
  EXPECT_EQ(ImageTransform().pixels(rgba).pixels, ImageTransform().pixels(to_rgb(rgba)).pixels);
  EXPECT_EQ(ImageTransform().pixels(gray_alpha).pixels, ImageTransform().pixels(to_rgb(gray_alpha)).pixels);
}

TEST(ImageTransform, RefusesWhatItCannotDo) {
  ImageTransform transform;
  transform.crop = 257;
  EXPECT_THROW(transform.check(), InvalidArgument);
  transform = ImageTransform();
  transform.channels = 2;
  EXPECT_THROW(transform.check(), InvalidArgument);
  transform = ImageTransform();
  transform.stddev[1] = 0;
  EXPECT_THROW(transform.check(), InvalidArgument);
  transform.stddev[1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(transform.check(), InvalidArgument);
  transform = ImageTransform();
  transform.resize_mode = ImageTransform::ResizeMode::kNone;
  EXPECT_THROW((void)transform.pixels(Image(223, 300, 3)), InvalidArgument);
}

TEST(ImageTransform, KeepsTheWholePictureWithoutACrop) {
  const Image image = test::made_image(5, 0, 3, 40, 50);
  ImageTransform transform;
  transform.crop = 0;
  transform.resize = 20;
  EXPECT_EQ(transform.pixels(image).pixels, resize_bilinear(image, 20, 25).pixels);
  EXPECT_EQ(transform.extent(40, 50).width, 25);
  EXPECT_EQ(transform.mask(Image(40, 50, 1)).width, 25);
  transform.resize_mode = ImageTransform::ResizeMode::kNone;
  EXPECT_EQ(transform.pixels(image).pixels, image.pixels);
  const Tensor floats = transform.apply(image);
  ASSERT_EQ(floats.shape(), (Shape{1, 3, 40, 50}));
  EXPECT_EQ(floats.data<float>()[(2 * 40 + 7) * 50 + 9],
            transform.levels().data<float>()[2 * 256 + image.row(7)[3 * 9 + 2]]);
  Image mask(40, 50, 1);
  mask.row(39)[49] = 128;
  EXPECT_EQ(transform.mask(mask).row(39)[49], 255);
  transform.resize_mode = ImageTransform::ResizeMode::kShortSide;
  transform.resize = 0;
  EXPECT_THROW(transform.check(), InvalidArgument);
}

TEST(ImageTransform, TakesAMaskWhereItTakesTheImage) {
  ImageTransform transform;
  transform.resize = 6;
  transform.crop = 4;
  // 12 x 18 becomes 6 x 9; the crop begins at row 1 and column 2 (2.5 rounded to even): input 2 and 4.
  Image mask(12, 18, 1);
  mask.row(2)[4] = 255;
  mask.row(3)[5] = 200;                   // with it half of the first pixel
  mask.row(4)[4] = 255;                   // a quarter of the one below
  mask.row(2)[6] = mask.row(3)[6] = 127;  // not anomalous
  const Image small = transform.mask(mask);
  ASSERT_EQ(small.pixels.size(), 16U);
  for (size_t i = 0; i < small.pixels.size(); ++i) EXPECT_EQ(int{small.pixels[i]}, i == 0 ? 255 : 0) << i;
}

TEST(ImageTransform, MaskOfAnUnevenScaleCountsPartsOfPixels) {
  ImageTransform transform;
  transform.resize_mode = ImageTransform::ResizeMode::kSquare;
  transform.resize = transform.crop = 2;
  Image mask(3, 3, 1);  // each output pixel covers 1.5 x 1.5
  mask.row(0)[0] = 255;
  mask.row(1)[0] = 255;  // (1 * 1 + 1 * 0.5) of 2.25: two thirds
  mask.row(2)[1] = 255;  // half a column: 0.5 of 2.25 on both sides
  const Image small = transform.mask(mask);
  EXPECT_EQ(small.pixels, (std::vector<uint8_t>{255, 0, 0, 0}));
}

TEST(ImageTransform, MaskIsEnlargedToo) {
  ImageTransform transform;
  transform.resize = transform.crop = 4;
  Image mask(2, 2, 1);
  mask.row(0)[1] = 255;
  const Image large = transform.mask(mask);
  EXPECT_EQ(large.pixels, (std::vector<uint8_t>{0, 0, 255, 255, 0, 0, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0}));
}

TEST(ImageWrite, WritesSixteenBitsAndJpeg) {
  const std::vector<uint16_t> samples = {0, 257, 65535, 32896, 512, 1000};
  const std::vector<uint8_t> png = encode_png16(samples, 2, 3);
  const Image back = decode_image(png, "png");
  EXPECT_EQ(back.pixels, (std::vector<uint8_t>{0, 1, 255, 128, 2, 4}));  // round(v / 257)
  EXPECT_EQ(int{png[24]}, 16);                                           // IHDR's bit depth
  EXPECT_THROW(static_cast<void>(encode_png16(samples, 2, 2)), InvalidArgument);

  Image picture(16, 24, 3);
  for (size_t i = 0; i < picture.pixels.size(); ++i) picture.pixels[i] = static_cast<uint8_t>(100 + i / 72);
  const Image decoded = decode_image(encode_jpeg(picture, 95), "jpeg");
  ASSERT_EQ(decoded.pixels.size(), picture.pixels.size());
  for (size_t i = 0; i < picture.pixels.size(); ++i)
    EXPECT_NEAR(decoded.pixels[i], picture.pixels[i], 3) << i;
  EXPECT_THROW(static_cast<void>(encode_jpeg(Image(2, 2, 4), 90)), InvalidArgument);
}

}  // namespace
}  // namespace panda::data
