#include "tests/support/guarded_tensor.h"

#include <gtest/gtest.h>

namespace panda::test {
namespace {

TEST(GuardedTensor, SeesWritesOnBothSides) {
  const GuardedTensor tensor(host(), DType::kF32, {5});
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.view().raw()) % 64, 0u);
  auto* data = tensor.view().data<float>();
  for (int i = 0; i < 5; ++i) data[i] = 1;
  EXPECT_EQ(tensor.damage(), "");
  reinterpret_cast<uint8_t*>(data)[20] = 0;
  EXPECT_EQ(tensor.damage(), "byte 0 after the tensor was written");
  reinterpret_cast<uint8_t*>(data)[-3] = 0;
  EXPECT_EQ(tensor.damage(), "byte 3 before the tensor was written");
}

TEST(GuardedTensor, StartsAsNanAndCanBeMisaligned) {
  const GuardedTensor tensor(host(), DType::kF32, {5}, Layout::kDense, Alignment::kMisaligned);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.view().raw()) % 64, 4u);
  EXPECT_TRUE(std::isnan(tensor.view().data<float>()[0]));
}

TEST(Elements, ReadsAnyLayoutInLogicalOrder) {
  const Shape shape{1, 17, 1, 2};
  const Tensor blocked(host(), DType::kF32, shape, "test", Layout::kChannelBlocked16);
  host().fill(blocked.view().raw(), 0, blocked.bytes());
  blocked.data<float>()[image_offset(shape, Layout::kChannelBlocked16, 0, 16, 0, 1)] = 7;
  const std::vector<double> values = elements(blocked);
  ASSERT_EQ(values.size(), 34u);
  EXPECT_EQ(values[33], 7);
  EXPECT_TRUE(padding_is_zero(blocked));
  blocked.data<float>()[2 * 16 + 1] = 1;  // channel 17 of pixel 0
  EXPECT_FALSE(padding_is_zero(blocked));
}

}  // namespace
}  // namespace panda::test
