// The seven networks against PyTorch in float64 (tests/golden/make_resnet_goldens.py), on every device of
// this build.

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "kernels/device_registry.h"
#include "kernels/tensor/random.h"
#include "memory_tensors.h"
#include "nn/init.h"
#include "nn/resnet.h"
#include "tests/support/goldens.h"

namespace panda::nn {
namespace {

constexpr uint64_t kSeed = 7;
const Shape kImageShape{1, 3, 64, 48};

using test::Goldens;

Tensor golden_images() {
  Tensor images(host(), DType::kF32, kImageShape, "images");
  Random random(kSeed, stream_of_name("images"));
  for (int64_t i = 0; i < images.numel(); ++i)
    images.data<float>()[i] = static_cast<float>(random.next_normal());
  return images;
}

std::vector<double> host_values(const Tensor& tensor) {
  const Tensor here = clone_to(tensor, host());
  return {here.data<float>(), here.data<float>() + here.numel()};
}

double norm(const std::vector<double>& values) {
  double squares = 0;
  for (const double value : values) squares += value * value;
  return std::sqrt(squares);
}

/// |a - b| / |b| in the 2-norm; b is not zero and both are of one size.
double relative_error(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size() || b.empty() || !(norm(b) > 0)) return INFINITY;
  std::vector<double> difference(a.size());
  for (size_t i = 0; i < a.size(); ++i) difference[i] = a[i] - b[i];
  return norm(difference) / norm(b);
}

std::vector<double> sampled(const std::vector<double>& values, size_t count) {
  std::vector<double> samples;
  for (size_t j = 0; j < count; ++j) samples.push_back(values[j * values.size() / count]);
  return samples;
}

/// Largest relative error over logits, features and stage outputs (samples and norms).
double compare(const ResnetResult& result, const Goldens& goldens) {
  double worst = relative_error(host_values(result.logits), goldens.at("logits"));
  const auto compare_sampled = [&](const Tensor& tensor, const std::string& name) {
    const std::vector<double> values = host_values(tensor);
    const std::vector<double>& samples = goldens.at(name + "_samples");
    worst = std::max(worst, relative_error(sampled(values, samples.size()), samples));
    worst = std::max(worst, relative_error({norm(values)}, goldens.at(name + "_norm")));
  };
  compare_sampled(result.features, "features");
  for (size_t stage = 0; stage < kResnetStages; ++stage) {
    compare_sampled(result.stages[stage], text("layer", stage + 1));
  }
  return worst;
}

class ResnetGolden : public testing::TestWithParam<std::string> {};

TEST_P(ResnetGolden, MatchesPyTorchOnEveryDevice) {
  const std::string arch = GetParam();
  const Goldens goldens = test::read_goldens("resnet_goldens.txt", arch);
  ASSERT_FALSE(goldens.empty()) << "no goldens for " << arch;
  const ResnetConfig config = resnet_config(arch);
  const MemoryTensors parameters(SeededResnetParameters(config, kSeed, BatchNormInit::kRandomized));

  // Both sides have the same weights.
  double absolute_sum = 0;
  double sum_of_squares = 0;
  for (const TensorInfo& info : parameters.list()) {
    const Tensor& tensor = parameters.at(info.name);
    for (int64_t i = 0; i < tensor.numel(); ++i) {
      const double value = tensor.data<float>()[i];
      absolute_sum += std::abs(value);
      sum_of_squares += value * value;
    }
  }
  EXPECT_NEAR(absolute_sum / goldens.at("absolute_sum")[0], 1, 1e-9);
  EXPECT_NEAR(sum_of_squares / goldens.at("sum_of_squares")[0], 1, 1e-9);
  EXPECT_EQ(static_cast<double>(resnet_parameter_count(config)), goldens.at("parameter_count")[0]);

  const Tensor images = golden_images();
  ResnetRequest everything;
  everything.stages.fill(true);
  everything.features = everything.logits = true;
  for (const kernels::DeviceFacts& facts : kernels::list_devices()) {
    if (!facts.available) continue;
    const auto device = kernels::make_device({facts.name, 0, ""});
    Resnet net(*device, config, parameters);
    const double error = compare(net.forward(images, everything), goldens);
    // The network's requirement; rounding each activation and folded weight once to f32 gives a tenth of it.
    const double bound = facts.name == "reference" ? 2e-6 : 1e-5;
    EXPECT_TRUE(error <= bound) << arch << " on " << facts.name << ": relative error " << error;
    RecordProperty("relative_error_" + facts.name, text(error));
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, ResnetGolden, testing::ValuesIn(resnet_architectures()),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace panda::nn
