#include "data/transforms.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>

#include "data/image_decode.h"
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

}  // namespace
}  // namespace panda::data
