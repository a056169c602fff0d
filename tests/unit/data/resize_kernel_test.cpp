// The kernel resize_forward with the tables of data/: the bits of ImageTransform::apply, on every device that
// needs no GPU.
#include <gtest/gtest.h>

#include <memory>
#include <tuple>

#include "data/transforms.h"
#include "kernels/device_registry.h"
#include "kernels/resize.h"
#include "kernels/tensor/random.h"
#include "tests/support/guarded_tensor.h"

namespace panda::data {
namespace {

kernels::ResampleAxis axis(const Taps& taps) {
  return {taps.first.data(), taps.count.data(), taps.weights.data(), std::ssize(taps.first), taps.stride};
}

Image drawn_image(int64_t height, int64_t width, int64_t channels, uint64_t seed) {
  Random random(seed);
  Image image(height, width, channels);
  for (uint8_t& sample : image.pixels) sample = static_cast<uint8_t>(random.next_below(256));
  return image;
}

class ResizeKernel : public ::testing::TestWithParam<const char*> {};

TEST_P(ResizeKernel, HasTheBitsOfTheTransform) {
  const std::unique_ptr<Device> device = kernels::make_device({GetParam(), 2, ""});
  using Mode = ImageTransform::ResizeMode;
  // Shrinking, enlarging, rows first and columns first (a height that loses much more than the width), a
  // side that stays, none that changes; colour and gray.
  const std::tuple<int64_t, int64_t, int64_t, Mode, int64_t, int64_t> cases[] = {
      {97, 130, 3, Mode::kShortSide, 40, 32}, {301, 50, 3, Mode::kSquare, 36, 33},
      {20, 17, 3, Mode::kShortSide, 48, 40},  {64, 90, 3, Mode::kShortSide, 64, 49},
      {40, 44, 3, Mode::kNone, 0, 31},        {75, 61, 1, Mode::kShortSide, 37, 30},
      {61, 40, 3, Mode::kSquare, 40, 40},
  };
  for (const auto& [height, width, channels, mode, resize, crop] : cases) {
    SCOPED_TRACE(text(height, "x", width, "x", channels, " to ", resize, ", crop ", crop));
    ImageTransform transform;
    transform.resize_mode = mode;
    transform.resize = resize;
    transform.crop = crop;
    const Image image = drawn_image(height, width, channels, 11);
    const Tensor expected = transform.apply(image);

    const ResizePlan plan = transform.plan(height, width);
    const Tensor pixels =
        clone_to(Tensor::from<uint8_t>({height, width, channels}, image.pixels.data()), *device);
    const Tensor y(*device, DType::kF32, expected.shape(), "y");
    kernels::resize_forward(*device, {pixels, axis(plan.along_height), axis(plan.along_width),
                                      plan.height_first, clone_to(transform.levels(), *device), y});
    EXPECT_EQ(test::elements(y), test::elements(expected));
  }
}

TEST(ResizePlan, BeginsWithTheHeightAsPillowDoes) {
  EXPECT_TRUE(resize_plan(301, 50, 36, 36, {0, 0, 36, 36}).height_first);
  EXPECT_FALSE(resize_plan(97, 130, 40, 53, {0, 0, 40, 53}).height_first);
}

TEST(ResizePlan, RejectsWhatTheResizeRejects) {
  EXPECT_THROW((void)resize_plan(0, 5, 3, 3, {0, 0, 3, 3}), InvalidArgument);
  EXPECT_THROW((void)resize_plan(5, 5, 3, 3, {1, 0, 3, 3}), InvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(Devices, ResizeKernel, ::testing::Values("reference", "cpu", "simt"),
                         [](const auto& one) { return std::string(one.param); });

}  // namespace
}  // namespace panda::data
