#include "kernels/tensor/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "kernels/tensor/finite.h"

namespace panda {
namespace {

template <typename Exception, typename Body>
std::string message_of(Body&& body) {
  try {
    body();
  } catch (const Exception& error) {
    return error.what();
  }
  return "no exception";
}

TEST(Shape, ChecksItsProduct) {
  EXPECT_EQ(Shape({8, 32, 56, 56}).to_string(), "8x32x56x56");
  EXPECT_EQ(Shape({}).numel(), 1);
  EXPECT_EQ((Shape{3, 0, 5}).numel(), 0);
  EXPECT_EQ((Shape{3, 4, 5})[-1], 5);
  EXPECT_THROW(Shape({int64_t{1} << 32, int64_t{1} << 32}), InvalidArgument);
  EXPECT_THROW(Shape({0, int64_t{1} << 32, int64_t{1} << 32}), InvalidArgument);
  EXPECT_THROW(Shape({-1}), InvalidArgument);
  EXPECT_THROW(Shape(std::vector<int64_t>(9, 1)), InvalidArgument);
}

TEST(Layout, BlockedPadsChannelsAndKeepsPixelsTogether) {
  const Shape shape{2, 20, 3, 5};
  EXPECT_EQ(stored_numel(shape, Layout::kChannelBlocked16), 2 * 32 * 3 * 5);
  EXPECT_EQ(image_offset(shape, Layout::kChannelBlocked16, 0, 0, 0, 1), 16);
  EXPECT_EQ(image_offset(shape, Layout::kChannelBlocked16, 0, 17, 0, 0), 3 * 5 * 16 + 1);
  EXPECT_EQ(image_offset(shape, Layout::kChannelBlocked16, 1, 0, 0, 0), 2 * 3 * 5 * 16);
  EXPECT_EQ(image_offset(shape, Layout::kChannelsLast, 1, 2, 1, 4), ((3 + 1) * 5 + 4) * 20 + 2);
  EXPECT_EQ(image_offset(shape, Layout::kDense, 1, 2, 1, 4), ((20 + 2) * 3 + 1) * 5 + 4);
}

TEST(Tensor, ViewsKnowTheirBounds) {
  const std::vector<float> values = {0, 1, 2, 3, 4, 5};
  const Tensor tensor = Tensor::from({3, 2}, values.data());
  EXPECT_EQ(tensor.view().rows(1, 3).data<float>()[0], 2);
  EXPECT_EQ(tensor.view().rows(1, 3).shape(), (Shape{2, 2}));
  EXPECT_EQ(tensor.reshaped({2, 3}).shape(), (Shape{2, 3}));
  EXPECT_EQ(message_of<InvalidArgument>([&] { (void)tensor.view().rows(2, 4); }), "rows 2..4 of f32 3x2");
  EXPECT_EQ(message_of<InvalidArgument>([&] { (void)tensor.data<int64_t>(); }),
            "expected dtype i64, got f32 3x2");
  EXPECT_THROW((void)tensor.reshaped({4, 2}), InvalidArgument);
  EXPECT_FALSE(ConstTensorView().present());
}

TEST(Tensor, MemoryIsLabelledAligndAndLimited) {
  Device& device = host();
  const int64_t before = device.memory_report().bytes_in_use;
  {
    const Tensor tensor(device, DType::kF32, {100}, "test tensor");
    EXPECT_EQ(device.memory_report().bytes_by_label.at("test tensor"), 400);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.view().raw()) % 64, 0u);
  }
  EXPECT_EQ(device.memory_report().bytes_in_use, before);
  device.set_memory_limit(before + (1 << 20));
  EXPECT_EQ(message_of<OutOfMemory>([&] { (void)Tensor(device, DType::kU8, {3 << 20}, "images"); }),
            text("host: out of memory: 3 MiB for images over the limit of ", (before + (2 << 20) - 1) >> 20,
                 " MiB"));
  device.set_memory_limit(INT64_MAX);
  EXPECT_THROW((void)Tensor(device, DType::kU8, {int64_t{1} << 60}, "absurd"), OutOfMemory);
}

TEST(Tensor, CopyChecksDtypeAndShape) {
  const Tensor a(host(), DType::kF32, {2, 3}, "a");
  const Tensor b(host(), DType::kF32, {3, 2}, "b");
  EXPECT_THROW(copy(a, b), InvalidArgument);
}

TEST(AllFinite, SeesOneNumberThatIsNotAtAnyPlace) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  for (const int64_t count : {0, 1, 15, 16, 17, 33}) {
    std::vector<float> x(static_cast<size_t>(count), -kLargest);
    for (size_t i = 0; i < x.size(); i += 2) x[i] = i % 4 == 0 ? kLargest : 1e-45F;
    EXPECT_TRUE(all_finite(x.data(), count)) << count;
    for (size_t i = 0; i < x.size(); ++i) {
      for (const float bad : {INFINITY, -INFINITY, NAN, -NAN, std::numeric_limits<float>::signaling_NaN()}) {
        const float kept = std::exchange(x[i], bad);
        EXPECT_FALSE(all_finite(x.data(), count)) << count << " " << i << " " << bad;
        x[i] = kept;
      }
    }
  }
}

}  // namespace
}  // namespace panda
