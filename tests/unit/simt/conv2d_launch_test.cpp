// What kernels/cuda/conv2d.cuh does before its kernels run: batches too large for one launch are cut.
#include <cstring>

#include "kernels/conv2d.h"
#include "kernels/cuda/conv2d.cuh"
#include "kernels/cuda/gpu_kernels.h"
#include "kernels/tensor/random.h"
#include "tests/unit/simt/support.h"

namespace panda::kernels::simt {
namespace {

Tensor random_tensor(Device& device, const Shape& shape, uint64_t seed, Layout layout = Layout::kDense) {
  Tensor tensor(host(), DType::kF32, shape, "operand", layout);
  Random random(seed);
  for (int64_t i = 0; i < tensor.numel(); ++i)
    tensor.data<float>()[i] = static_cast<float>(random.next_normal());
  return clone_to(tensor, device);
}

class ConvolutionBatch : public ::testing::TestWithParam<Layout> {};

TEST_P(ConvolutionBatch, CutIntoLaunchesGivesTheSameBits) {
  SimtDevice device;
  const Layout layout = GetParam();
  const Tensor x = random_tensor(device, {5, 8, 6, 7}, 1, layout);
  const Conv2dFilter filter =
      kernels::conv2d_prepare_filter(device, random_tensor(device, {9, 8, 3, 3}, 2), {2, 2, 1, 1});
  const Tensor bias = random_tensor(device, {9}, 3);
  const Tensor residual = random_tensor(device, {5, 9, 3, 4}, 4, layout);
  const auto run = [&](int64_t max_pixels) {
    const Tensor y(device, DType::kF32, {5, 9, 3, 4}, "y", layout);
    const Conv2dForwardArgs args{x, &filter, bias, residual, y, true};
    if (max_pixels == 0)
      kernels::conv2d_forward(device, args);
    else
      conv2d_forward_as<F32Kind>(device, args, max_pixels);
    return clone_to(y, host());
  };
  const Tensor whole = run(0);
  const auto bytes = static_cast<size_t>(whole.bytes());
  // 12 pixels an image: 2 images and a rest of 1, an image each, less than an image each.
  for (const int64_t max_pixels : {30, 12, 5}) {
    const Tensor cut = run(max_pixels);
    EXPECT_EQ(std::memcmp(cut.data<float>(), whole.data<float>(), bytes), 0) << max_pixels << " pixels";
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, ConvolutionBatch, ::testing::Values(Layout::kDense, Layout::kChannelsLast),
                         [](const auto& tested) {
                           return tested.param == Layout::kDense ? "dense" : "channels_last";
                         });

TEST(PreparedFilter, KeepsItsMemoryWhileItFits) {
  SimtDevice device;
  Conv2dFilter filter;
  const auto prepare = [&](const Shape& shape, uint64_t seed) {
    const Tensor weights = random_tensor(device, shape, seed);
    kernels::conv2d_prepare_filter(device, {weights, {1, 1, 0, 0}, &filter});
    return filter.packed.view().raw();
  };
  const void* first = prepare({9, 8, 3, 3}, 1);
  const float coefficient = *static_cast<const float*>(first);
  EXPECT_EQ(prepare({9, 8, 3, 3}, 2), first);
  EXPECT_NE(*static_cast<const float*>(first), coefficient);
  EXPECT_EQ(prepare({9, 9, 2, 4}, 3), first);  // as many elements
  EXPECT_EQ(filter.packed.shape(), (Shape{9, 80}));
  prepare({10, 8, 3, 3}, 4);
  EXPECT_EQ(filter.packed.shape(), (Shape{10, 80}));
}

TEST(Convolution, BeyondTheGpusNumbersIsRefusedInOneLine) {
  SimtDevice device;
  const Conv2dFilter filter = kernels::conv2d_prepare_filter(device, random_tensor(device, {1, 1, 1, 1}, 1),
                                                             {1, 1, int64_t{1} << 29, 0});
  const Tensor x = random_tensor(device, {1, 1, 1, 1}, 2);
  // A view of a result that is never written: the call is refused before.
  const TensorView y(x.view().raw(), DType::kF32, {1, 1, (int64_t{1} << 30) + 1, 1}, device);
  try {
    simt::conv2d_forward(device, {x, &filter, {}, {}, y});
    ADD_FAILURE() << "no error";
  } catch (const InvalidArgument& error) {
    EXPECT_STREQ(error.what(),
                 "conv2d_forward: x is 1x1x1x1 with padding 536870912x0, expected extents and pixels below "
                 "2^30 on this device");
  }
}

}  // namespace
}  // namespace panda::kernels::simt
