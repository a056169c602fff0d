#include "nn/resnet.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "kernels/batch_norm.h"
#include "kernels/device_registry.h"
#include "kernels/elementwise.h"
#include "kernels/gemm.h"
#include "kernels/tensor/random.h"
#include "memory_tensors.h"
#include "nn/init.h"

namespace panda::nn {
namespace {

Tensor random_images(const Shape& shape, uint64_t seed = 1) {
  Tensor images(host(), DType::kF32, shape, "images");
  Random random(seed);
  for (int64_t i = 0; i < images.numel(); ++i)
    images.data<float>()[i] = static_cast<float>(random.next_normal());
  return images;
}

ResnetConfig small_config(const std::string& arch = "resnet18", double width = 0.25, int64_t classes = 10) {
  ResnetConfig config = resnet_config(arch, width);
  config.class_count = classes;
  return config;
}

ResnetRequest everything() {
  ResnetRequest request;
  request.stages.fill(true);
  request.features = request.logits = true;
  return request;
}

std::vector<float> values_of(const ConstTensorView& view) {
  const Tensor here = clone_to(view, host());
  return {here.data<float>(), here.data<float>() + here.numel()};
}

double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return INFINITY;
  double gap = 0;
  double scale = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    gap += (double{a[i]} - double{b[i]}) * (double{a[i]} - double{b[i]});
    scale += double{b[i]} * double{b[i]};
  }
  return scale > 0 ? std::sqrt(gap / scale) : INFINITY;
}

/// The network as its definition reads: no folding, no fusing, no program; every map kept.
class PlainResnet {
 public:
  PlainResnet(Device& device, const ResnetConfig& config, const NamedTensors& parameters)
      : device_(device), config_(config), parameters_(parameters) {}

  [[nodiscard]] ResnetResult forward(const Tensor& images) const {
    ResnetResult result;
    Tensor x = relu(conv_bn(images, "conv1", "bn1", 2));
    Tensor pooled(device_, DType::kF32,
                  {x.shape()[0], x.shape()[1], (x.shape()[2] + 1) / 2, (x.shape()[3] + 1) / 2}, "test");
    kernels::max_pool2d_forward(device_, {x, {3, 3, 2, 2, 1, 1}, pooled});
    x = pooled;
    for (int stage = 0; stage < kResnetStages; ++stage) {
      for (int64_t index = 0; index < config_.depths[static_cast<size_t>(stage)]; ++index)
        x = block(x, stage, index);
      result.stages[static_cast<size_t>(stage)] = x;
    }
    result.features = Tensor(device_, DType::kF32, {x.shape()[0], x.shape()[1]}, "test");
    kernels::global_avg_pool2d_forward(device_, {x, result.features});
    result.logits = Tensor(device_, DType::kF32, {x.shape()[0], config_.class_count}, "test");
    kernels::linear_forward(device_, {result.features, parameters_.load("fc.weight"),
                                      parameters_.load("fc.bias"), result.logits});
    return result;
  }

 private:
  [[nodiscard]] Tensor conv_bn(const Tensor& x, const std::string& conv, const std::string& bn,
                               int64_t stride) const {
    const Tensor filter = parameters_.load(conv + ".weight");
    const int64_t pad = filter.shape()[2] / 2;
    const kernels::Conv2dFilter prepared =
        kernels::conv2d_prepare_filter(device_, filter, {stride, stride, pad, pad});
    const auto extent = [&](int64_t in) { return (in - 1) / stride + 1; };
    Tensor y(device_, DType::kF32, {x.shape()[0], prepared.k, extent(x.shape()[2]), extent(x.shape()[3])},
             "test");
    kernels::conv2d_forward(device_, {x, &prepared, {}, {}, y, false});
    kernels::batch_norm_forward(
        device_, {y, parameters_.load(bn + ".weight"), parameters_.load(bn + ".bias"),
                  parameters_.load(bn + ".running_mean"), parameters_.load(bn + ".running_var"), 1e-5, y});
    return y;
  }
  [[nodiscard]] Tensor relu(const Tensor& x) const {
    kernels::unary_forward(device_, {kernels::UnaryOp::kRelu, x, x});
    return x;
  }
  [[nodiscard]] Tensor block(const Tensor& x, int stage, int64_t index) const {
    const std::string name = text("layer", stage + 1, ".", index, ".");
    const int64_t stride = stage > 0 && index == 0 ? 2 : 1;
    Tensor shortcut = x;
    if (parameters_.contains(name + "downsample.0.weight"))
      shortcut = conv_bn(x, name + "downsample.0", name + "downsample.1", stride);
    Tensor y;
    if (config_.block == ResnetBlock::kBasic) {
      y = conv_bn(relu(conv_bn(x, name + "conv1", name + "bn1", stride)), name + "conv2", name + "bn2", 1);
    } else {
      y = relu(conv_bn(x, name + "conv1", name + "bn1", 1));
      y = conv_bn(relu(conv_bn(y, name + "conv2", name + "bn2", stride)), name + "conv3", name + "bn3", 1);
    }
    kernels::binary_forward(device_, {kernels::BinaryOp::kAdd, y, shortcut, y});
    return relu(y);
  }

  Device& device_;
  const ResnetConfig& config_;
  const NamedTensors& parameters_;
};

void expect_close(const ResnetResult& a, const ResnetResult& b, double bound) {
  for (size_t stage = 0; stage < kResnetStages; ++stage) {
    ASSERT_EQ(a.stages[stage].shape(), b.stages[stage].shape());
    const double error = relative_error(values_of(a.stages[stage]), values_of(b.stages[stage]));
    EXPECT_TRUE(error <= bound) << "stage " << stage << ": " << error;
  }
  EXPECT_TRUE(relative_error(values_of(a.features), values_of(b.features)) <= bound);
  EXPECT_TRUE(relative_error(values_of(a.logits), values_of(b.logits)) <= bound);
}

class ResnetOnDevice : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Device> device_ = kernels::make_device({GetParam(), 2, ""});
};

TEST_P(ResnetOnDevice, FoldedAndFusedEqualsThePlainDefinition) {
  const auto reference = kernels::make_device({"reference", 1, ""});
  for (const char* arch : {"resnet18", "resnet50", "wide_resnet50_2"}) {
    const ResnetConfig config = small_config(arch, 0.125);
    const MemoryTensors parameters(SeededResnetParameters(config, 3, BatchNormInit::kRandomized));
    // Odd extents, not square, down to one pixel; the last two leave nothing but padding around a pixel.
    for (const Shape& shape : {Shape{2, 3, 37, 51}, Shape{1, 3, 1, 70}, Shape{1, 3, 1, 1}}) {
      const Tensor images = random_images(shape);
      Resnet net(*device_, config, parameters);
      const ResnetResult result = net.forward(images, everything());
      expect_close(result, PlainResnet(*reference, config, parameters).forward(images), 1e-5);
      EXPECT_EQ(result.stages[3].shape(),
                Shape({shape[0], config.feature_channels(), (shape[2] + 31) / 32, (shape[3] + 31) / 32}));
    }
  }
}

TEST_P(ResnetOnDevice, AnImagesResultDoesNotDependOnItsBatch) {
  const ResnetConfig config = small_config();
  Resnet net(*device_, config, SeededResnetParameters(config, 3, BatchNormInit::kRandomized));
  const Tensor images = random_images({5, 3, 40, 33});
  const ResnetResult together = net.forward(images, everything());
  for (int64_t n = 0; n < 5; ++n) {
    const ResnetResult alone = net.forward(images.view().rows(n, n + 1), everything());
    EXPECT_EQ(values_of(together.features.view().rows(n, n + 1)), values_of(alone.features)) << n;
    EXPECT_EQ(values_of(together.logits.view().rows(n, n + 1)), values_of(alone.logits)) << n;
    EXPECT_EQ(values_of(together.stages[1].view().rows(n, n + 1)), values_of(alone.stages[1])) << n;
  }
}

TEST_P(ResnetOnDevice, OutputsDoNotDependOnWhatElseIsAskedFor) {
  const ResnetConfig config = small_config("resnet50", 0.125);
  Resnet net(*device_, config, SeededResnetParameters(config, 3, BatchNormInit::kRandomized));
  const Tensor images = random_images({2, 3, 40, 33});
  const ResnetResult all = net.forward(images, everything());
  EXPECT_EQ(values_of(net.features(images)), values_of(all.features));
  for (size_t stage = 0; stage < kResnetStages; ++stage) {
    ResnetRequest request;
    request.stages[stage] = true;
    const ResnetResult one = net.forward(images, request);
    EXPECT_EQ(values_of(one.stages[stage]), values_of(all.stages[stage])) << stage;
    EXPECT_FALSE(one.features.present());
    EXPECT_FALSE(one.stages[(stage + 1) % kResnetStages].present());
    EXPECT_EQ(one.stages[stage].layout(), Layout::kDense);
  }
}

TEST_P(ResnetOnDevice, TakesImagesOnTheDevice) {
  const ResnetConfig config = small_config();
  Resnet net(*device_, config, SeededResnetParameters(config, 3));
  const Tensor images = random_images({1, 3, 16, 16});
  EXPECT_EQ(values_of(net.features(clone_to(images, *device_))), values_of(net.features(images)));
}

TEST_P(ResnetOnDevice, TakesAnEmptyBatch) {
  const ResnetConfig config = small_config();
  Resnet net(*device_, config, SeededResnetParameters(config, 3));
  const ResnetResult result = net.forward(random_images({0, 3, 16, 16}), everything());
  EXPECT_EQ(result.features.shape(), Shape({0, config.feature_channels()}));
  EXPECT_EQ(result.stages[0].shape(), Shape({0, 16, 4, 4}));
}

TEST_P(ResnetOnDevice, GrayImagesThroughAFoldedStemEqualRepeatedOnes) {
  ResnetConfig config = small_config();
  const SeededResnetParameters parameters(config, 3, BatchNormInit::kRandomized);
  Resnet color(*device_, config, parameters);
  config.input_channels = 1;
  Resnet gray(*device_, config, parameters);
  const Tensor image = random_images({1, 1, 35, 20});
  Tensor repeated(host(), DType::kF32, {1, 3, 35, 20}, "images");
  for (int64_t c = 0; c < 3; ++c)
    std::memcpy(repeated.data<float>() + c * 700, image.data<float>(), 700 * sizeof(float));
  expect_close(gray.forward(image, everything()), color.forward(repeated, everything()), 1e-6);
}

TEST_P(ResnetOnDevice, TakesFourChannelsFromThreeAndFromItsOwn) {
  ResnetConfig config = small_config();
  const SeededResnetParameters three(config, 3);
  config.input_channels = 4;
  Resnet folded(*device_, config, three);
  Resnet own(*device_, config, SeededResnetParameters(config, 3));
  const Tensor images = random_images({2, 4, 32, 32});
  EXPECT_EQ(folded.features(images).shape(), Shape({2, 128}));
  EXPECT_EQ(own.features(images).shape(), Shape({2, 128}));
  EXPECT_GT(relative_error(values_of(folded.features(images)), values_of(own.features(images))), 0.01);
}

INSTANTIATE_TEST_SUITE_P(Devices, ResnetOnDevice, testing::Values("reference", "cpu"),
                         [](const auto& tested) { return tested.param; });

class ResnetLoading : public testing::Test {
 protected:
  std::unique_ptr<Device> device_ = kernels::make_device({"reference", 1, ""});
  ResnetConfig config_ = small_config("resnet18", 0.125);
  MemoryTensors parameters_{SeededResnetParameters(config_, 3, BatchNormInit::kRandomized)};

  std::string loading_error() {
    return message_of<FormatError>([&] { Resnet net(*device_, config_, parameters_); });
  }
  void poison(const std::string& name, int64_t element, float value) {
    parameters_.at(name).data<float>()[element] = value;
  }
};

TEST_F(ResnetLoading, RefusesNumbersThatAreNotFiniteNamingTheTensor) {
  poison("layer2.1.conv2.weight", 100, NAN);
  EXPECT_EQ(loading_error(),
            "memory: layer2.1.conv2.weight holds nan at element 100 of 2304, expected finite values");
  poison("layer2.1.conv2.weight", 100, 0);
  poison("bn1.running_mean", 7, -INFINITY);
  EXPECT_EQ(loading_error(), "memory: bn1.running_mean holds -inf at element 7 of 8, expected finite values");
  poison("bn1.running_mean", 7, 0);
  poison("fc.bias", 0, NAN);
  EXPECT_EQ(loading_error(), "memory: fc.bias holds nan at element 0 of 10, expected finite values");
}

TEST_F(ResnetLoading, RefusesANegativeVariance) {
  poison("layer1.0.bn2.running_var", 3, -0.5f);
  EXPECT_EQ(loading_error(),
            "memory: layer1.0.bn2 after layer1.0.conv2: batch norm: variance -0.5 in channel 3, expected "
            "more than -1e-05");
}

TEST_F(ResnetLoading, RefusesWrongShapesAndTypes) {
  parameters_.set("layer1.0.bn1.weight", Tensor(host(), DType::kF32, {9}, "test"));
  EXPECT_EQ(loading_error(), "memory: layer1.0.bn1.weight is f32 9, expected 8");
  parameters_.set("layer1.0.bn1.weight", Tensor(host(), DType::kI64, {8}, "test"));
  EXPECT_EQ(loading_error(), "memory: layer1.0.bn1.weight is i64 8, expected floats");
  parameters_.set("conv1.weight", Tensor(host(), DType::kF32, {8, 3, 7}, "test"));
  EXPECT_EQ(loading_error(), "memory: conv1.weight is f32 8x3x7, expected 8x3x7x7");
}

TEST_F(ResnetLoading, RefusesF64BeyondF32) {
  Tensor wide(host(), DType::kF64, {8}, "test");
  for (int64_t i = 0; i < 8; ++i) wide.data<double>()[i] = i == 2 ? 1e300 : 1.0;
  parameters_.set("bn1.weight", wide);
  EXPECT_EQ(loading_error(), "memory: bn1.weight holds inf at element 2 of 8, expected finite values");
}

TEST_F(ResnetLoading, LeavesTheSourceAlone) {
  const MemoryTensors before{SeededResnetParameters(config_, 3, BatchNormInit::kRandomized)};
  Resnet net(*device_, config_, parameters_);
  for (const TensorInfo& info : before.list()) {
    EXPECT_EQ(values_of(parameters_.at(info.name)), values_of(before.at(info.name))) << info.name;
  }
}

template <typename T>
Tensor in_dtype(const Tensor& f32, T (*convert)(float)) {
  Tensor result(host(), DTypeOf<T>::value, f32.shape(), "test");
  for (int64_t i = 0; i < f32.numel(); ++i) result.data<T>()[i] = convert(f32.data<float>()[i]);
  return result;
}

TEST_F(ResnetLoading, TakesEveryFloatType) {
  // Parameters that all four types hold exactly: the same network whichever type they come in.
  for (const TensorInfo& info : parameters_.list()) {
    float* values = parameters_.at(info.name).data<float>();
    for (int64_t i = 0; i < info.shape.numel(); ++i)
      values[i] = to_float(to_bfloat16(to_float(to_float16(values[i]))));
    for (int64_t i = 0; i < info.shape.numel(); ++i) values[i] = std::round(values[i] * 1024) / 1024;
    for (int64_t i = 0; i < info.shape.numel(); ++i) values[i] = to_float(to_bfloat16(values[i]));
  }
  const Tensor images = random_images({1, 3, 32, 32});
  Resnet f32(*device_, config_, parameters_);
  const std::vector<float> expected = values_of(f32.features(images));
  for (const DType dtype : {DType::kF64, DType::kF16, DType::kBF16}) {
    MemoryTensors converted;
    for (const TensorInfo& info : parameters_.list()) {
      const Tensor& tensor = parameters_.at(info.name);
      if (dtype == DType::kF64)
        converted.set(info.name, in_dtype<double>(tensor, [](float value) { return double{value}; }));
      if (dtype == DType::kF16)
        converted.set(info.name, in_dtype<Float16>(tensor, [](float value) { return to_float16(value); }));
      if (dtype == DType::kBF16)
        converted.set(info.name, in_dtype<BFloat16>(tensor, [](float value) { return to_bfloat16(value); }));
    }
    EXPECT_EQ(detect_resnet(converted).arch, "resnet18");
    Resnet net(*device_, config_, converted);
    EXPECT_EQ(values_of(net.features(images)), expected) << dtype_name(dtype);
  }
}

TEST_F(ResnetLoading, NeverHoldsTheParametersTwice) {
  // Made when loaded and freed by the loader: host memory holds one layer at a time, the device the network.
  const ResnetConfig config = small_config("resnet18", 1.0);
  const SeededResnetParameters parameters(config);
  const int64_t before = host().memory_report().bytes_in_use;
  const int64_t largest_layer = int64_t{512} * 512 * 9 * 4;
  host().set_memory_limit(before + 2 * largest_layer + (64 << 10));  // stored and folded
  EXPECT_NO_THROW(Resnet(*device_, config, parameters));
  host().set_memory_limit(INT64_MAX);
  EXPECT_EQ(host().memory_report().bytes_in_use, before);
}

TEST_F(ResnetLoading, SkipsTheClassifierWhenAskedTo) {
  config_.class_count = 0;
  parameters_.erase("fc.weight");
  parameters_.erase("fc.bias");
  Resnet net(*device_, config_, parameters_);
  const Tensor images = random_images({1, 3, 32, 32});
  EXPECT_EQ(net.features(images).shape(), Shape({1, 64}));
  ResnetRequest request;
  request.logits = true;
  EXPECT_EQ(
      message_of<InvalidArgument>([&] { (void)net.forward(images, request); }),
      "resnet18, width 0.125, no classes: logits were asked for, but there is no fully connected layer");
  EXPECT_EQ(message_of<InvalidArgument>([&] { (void)net.forward(images, {}); }),
            "resnet18, width 0.125, no classes: no output was asked for");
  EXPECT_EQ(message_of<InvalidArgument>([&] {
              (void)net.features(random_images({1, 1, 32, 32}));
            }),
            "inference program: images are 1x1x32x32, expected N,3,H,W with H and W at least 1");
}

class ResnetCopies : public ::testing::TestWithParam<const char*> {
 protected:
  /// A network and one that differs from it from a stage on, as a network of its own.
  static MemoryTensors changed(const ResnetConfig& config, int first_stage, uint64_t seed) {
    MemoryTensors tensors(SeededResnetParameters(config, 3, BatchNormInit::kRandomized));
    const SeededResnetParameters others(config, seed, BatchNormInit::kRandomized);
    for (const ParameterInfo& info : resnet_parameters(config)) {
      if (resnet_stage_of(info.name) >= first_stage) tensors.set(info.name, others.load(info.name));
    }
    return tensors;
  }
};

TEST_P(ResnetCopies, GiveTheBitsOfNetworksOfTheirOwn) {
  const auto device = kernels::make_device({"cpu", 2, ""});
  const ResnetConfig config = small_config(GetParam(), 0.125, 0);
  const Tensor images = random_images({3, 3, 40, 32});
  Resnet shared(*device, config, changed(config, kResnetStages + 1, 0));
  std::vector<std::vector<float>> expected = {values_of(shared.features(images))};
  for (int first_stage = 0; first_stage <= kResnetStages + 1; ++first_stage) {
    const MemoryTensors own = changed(config, first_stage, 7 + static_cast<uint64_t>(first_stage));
    shared.add_copy(own, first_stage);
    expected.push_back(values_of(Resnet(*device, config, own).features(images)));
  }
  EXPECT_EQ(shared.copies(), 7);
  const std::vector<Tensor> found = shared.features_of_copies(images);
  ASSERT_EQ(found.size(), expected.size());
  for (size_t copy = 0; copy < found.size(); ++copy) {
    SCOPED_TRACE(copy);
    EXPECT_EQ(values_of(found[copy]), expected[copy]);
    const bool differs = copy > 0 && copy < found.size() - 1;
    EXPECT_EQ(expected[copy] != expected[0], differs);
  }
  EXPECT_EQ(values_of(shared.features(images)), expected[0]);
}

INSTANTIATE_TEST_SUITE_P(Blocks, ResnetCopies, ::testing::Values("resnet18", "resnet50"));

TEST_F(ResnetLoading, RefusesACopyThatDoesNotFit) {
  Resnet net(*device_, config_, parameters_);
  EXPECT_EQ(message_of<InvalidArgument>([&] { net.add_copy(parameters_, 6); }),
            "add_copy: from stage 6, expected 0 to 5");
  parameters_.set("layer4.1.conv2.weight", Tensor(host(), DType::kF32, {1, 2}, "test"));
  EXPECT_THROW(net.add_copy(parameters_, 4), FormatError);
}

}  // namespace
}  // namespace panda::nn
