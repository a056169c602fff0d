#include "nn/fold.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/batch_norm.h"
#include "kernels/conv2d.h"
#include "kernels/device_registry.h"
#include "kernels/tensor/random.h"
#include "memory_tensors.h"

namespace panda::nn {
namespace {

constexpr double kF32Epsilon = 0x1p-24;  // relative error of one rounding

Tensor normal(const Shape& shape, Random& random, double mean = 0, double deviation = 1) {
  Tensor tensor(host(), DType::kF32, shape, "test");
  for (int64_t i = 0; i < tensor.numel(); ++i)
    tensor.data<float>()[i] = static_cast<float>(mean + deviation * random.next_normal());
  return tensor;
}

Tensor uniform(const Shape& shape, Random& random, double low, double high) {
  Tensor tensor(host(), DType::kF32, shape, "test");
  for (int64_t i = 0; i < tensor.numel(); ++i)
    tensor.data<float>()[i] = static_cast<float>(random.next_uniform(low, high));
  return tensor;
}

Tensor convolve(Device& device, const Tensor& x, const Tensor& filter, const Tensor& bias,
                const kernels::Conv2dGeometry& g) {
  const kernels::Conv2dFilter prepared = kernels::conv2d_prepare_filter(device, filter, g);
  const Shape& xs = x.shape();
  Tensor y(device, DType::kF32,
           {xs[0], prepared.k, kernels::Conv2dGeometry::output_extent(xs[2], prepared.r, g.stride_h, g.pad_h),
            kernels::Conv2dGeometry::output_extent(xs[3], prepared.s, g.stride_w, g.pad_w)},
           "test");
  kernels::conv2d_forward(device, {x, &prepared, bias, {}, y, false});
  return y;
}

/// Largest |a - b|, and the largest |b|.
struct Difference {
  double largest = 0;
  double scale = 0;
};
Difference compare(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.shape(), b.shape());
  Difference difference;
  for (int64_t i = 0; i < a.numel(); ++i) {
    const double gap = std::abs(double{a.data<float>()[i]} - double{b.data<float>()[i]});
    difference.largest = gap <= difference.largest ? difference.largest : gap;  // a NaN stays
    difference.scale = std::max(difference.scale, std::abs(double{b.data<float>()[i]}));
  }
  EXPECT_GT(difference.scale, 0);
  return difference;
}

class Fold : public testing::Test {
 protected:
  std::unique_ptr<Device> device_ = kernels::make_device({"reference", 1, ""});
  Random random_{11};
  const kernels::Conv2dGeometry geometry_{2, 1, 1, 2};
};

TEST_F(Fold, BatchNormEqualsConvolutionThenBatchNorm) {
  const Tensor x = normal({2, 3, 9, 8}, random_);
  const Tensor filter = normal({5, 3, 3, 3}, random_);
  const Tensor gamma = normal({5}, random_, 1, 0.3);
  const Tensor beta = normal({5}, random_);
  const Tensor mean = normal({5}, random_);
  const Tensor variance = uniform({5}, random_, 0.5, 1.5);

  const Tensor expected = convolve(*device_, x, filter, {}, geometry_);
  kernels::batch_norm_forward(*device_, {expected, gamma, beta, mean, variance, 1e-5, expected});
  const FilterAndBias folded = fold_batch_norm(filter, {gamma, beta, mean, variance, 1e-5});
  const Tensor y = convolve(*device_, x, folded.filter, folded.bias, geometry_);

  // Roundings: 27 weights, bias, y on one side, two maps on the other; each term is below |x| |w| gamma /
  // sqrt(variance) < 4*4*2*1.5.
  const Difference difference = compare(y, expected);
  EXPECT_TRUE(difference.largest <= 30 * 48 * kF32Epsilon) << difference.largest;
}

TEST_F(Fold, BatchNormRoundsOnce) {
  const Tensor filter = normal({4, 2, 1, 1}, random_);
  const Tensor gamma = normal({4}, random_);
  const Tensor beta = normal({4}, random_);
  const Tensor mean = normal({4}, random_);
  const Tensor variance = uniform({4}, random_, 0, 2);
  const FilterAndBias folded = fold_batch_norm(filter, {gamma, beta, mean, variance, 1e-3});
  for (int64_t k = 0; k < 4; ++k) {
    const double scale = double{gamma.data<float>()[k]} / std::sqrt(double{variance.data<float>()[k]} + 1e-3);
    EXPECT_EQ(folded.bias.data<float>()[k],
              static_cast<float>(beta.data<float>()[k] - mean.data<float>()[k] * scale));
    for (int64_t c = 0; c < 2; ++c) {
      EXPECT_EQ(folded.filter.data<float>()[k * 2 + c],
                static_cast<float>(filter.data<float>()[k * 2 + c] * scale));
    }
  }
}

TEST_F(Fold, BatchNormLeavesItsInputsAlone) {
  const Tensor filter = normal({2, 1, 1, 1}, random_);
  const float before = filter.data<float>()[1];
  const Tensor two = uniform({2}, random_, 2, 3);
  (void)fold_batch_norm(filter, {two, two, two, two, 1e-5});
  EXPECT_EQ(filter.data<float>()[1], before);
}

TEST_F(Fold, BatchNormRefusesBadNumbers) {
  const Tensor filter = uniform({2, 1, 1, 1}, random_, 1, 2);
  const Tensor ones = uniform({2}, random_, 1, 1);
  const Tensor three = uniform({3}, random_, 1, 1);
  const Tensor negative = uniform({2}, random_, -1, -1);
  const Tensor huge = uniform({2}, random_, 3e38, 3e38);
  const Tensor zero = uniform({2}, random_, 0, 0);
  EXPECT_EQ(message_of<InvalidArgument>([&] {
              (void)fold_batch_norm(filter, {ones, ones, ones, negative, 1e-5});
            }),
            "batch norm: variance -1 in channel 0, expected more than -1e-05");
  EXPECT_NE(message_of<InvalidArgument>([&] {
              (void)fold_batch_norm(filter, {huge, ones, ones, zero, 1e-5});
            }).find("beyond f32"),
            std::string::npos);
  EXPECT_EQ(message_of<InvalidArgument>([&] {
              (void)fold_batch_norm(filter, {ones, three, ones, ones, 1e-5});
            }),
            "fold_batch_norm: beta is f32 3, expected f32 2");
}

TEST_F(Fold, OneInputChannelEqualsRepeatedGray) {
  const Tensor gray = normal({2, 1, 9, 8}, random_);
  Tensor repeated(host(), DType::kF32, {2, 3, 9, 8}, "test");
  for (int64_t n = 0; n < 2; ++n) {
    for (int64_t c = 0; c < 3; ++c) {
      for (int64_t i = 0; i < 72; ++i)
        repeated.data<float>()[(n * 3 + c) * 72 + i] = gray.data<float>()[n * 72 + i];
    }
  }
  const Tensor filter = normal({5, 3, 3, 3}, random_);
  const Tensor expected = convolve(*device_, repeated, filter, {}, geometry_);
  const Tensor y = convolve(*device_, gray, fold_input_channels(filter, 1), {}, geometry_);
  const Difference difference = compare(y, expected);
  EXPECT_TRUE(difference.largest <= 12 * 48 * kF32Epsilon) << difference.largest;
}

TEST_F(Fold, MoreInputChannelsRepeatAndScale) {
  const Tensor filter = normal({2, 3, 1, 1}, random_);
  const Tensor four = fold_input_channels(filter, 4);
  ASSERT_EQ(four.shape(), Shape({2, 4, 1, 1}));
  for (int64_t k = 0; k < 2; ++k) {
    for (int64_t j = 0; j < 4; ++j)
      EXPECT_EQ(four.data<float>()[k * 4 + j], 0.75f * filter.data<float>()[k * 3 + j % 3]);
  }
  // Six like channels have the response that three had.
  const Tensor six = fold_input_channels(filter, 6);
  float sum3 = 0;
  float sum6 = 0;
  for (int64_t j = 0; j < 3; ++j) sum3 += filter.data<float>()[j];
  for (int64_t j = 0; j < 6; ++j) sum6 += six.data<float>()[j];
  EXPECT_NEAR(sum3, sum6, 1e-6);
  EXPECT_EQ(fold_input_channels(filter, 3).data<float>(), filter.data<float>());
  EXPECT_EQ(message_of<InvalidArgument>([&] { (void)fold_input_channels(filter, 0); }),
            "fold_input_channels: from 3 to 0 channels, expected at least 1");
}

TEST_F(Fold, GrayNormalizationIsExactUpToTheBorder) {
  const std::array<double, 3> mean = {0.485, 0.456, 0.406};
  const std::array<double, 3> stddev = {0.229, 0.224, 0.225};
  const Tensor gray = uniform({1, 1, 9, 8}, random_, 0, 1);
  Tensor normalized(host(), DType::kF32, {1, 3, 9, 8}, "test");
  Tensor with_ones(host(), DType::kF32, {1, 2, 9, 8}, "test");
  for (int64_t i = 0; i < 72; ++i) {
    const float g = gray.data<float>()[i];
    for (size_t c = 0; c < 3; ++c)
      normalized.data<float>()[static_cast<int64_t>(c) * 72 + i] =
          static_cast<float>((g - mean[c]) / stddev[c]);
    with_ones.data<float>()[i] = g;
    with_ones.data<float>()[72 + i] = 1;
  }
  const Tensor filter = normal({5, 3, 3, 3}, random_);
  const Tensor expected = convolve(*device_, normalized, filter, {}, geometry_);
  const Tensor y =
      convolve(*device_, with_ones, fold_gray_normalization(filter, mean, stddev), {}, geometry_);
  const Difference difference = compare(y, expected);
  EXPECT_TRUE(difference.largest <= 60 * 48 * kF32Epsilon) << difference.largest;
  EXPECT_NE(message_of<InvalidArgument>([&] {
              (void)fold_gray_normalization(filter, mean, {0.2, 0.0, 0.2});
            }).find("channel 1"),
            std::string::npos);
}

}  // namespace
}  // namespace panda::nn
