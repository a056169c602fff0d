// The Fisher diagonal against its definition: gradients of one image after another, squared.

#include "anomaly/fisher_diagonal.h"

#include <gtest/gtest.h>

#include <cmath>

#include "autograd/functions/loss.h"
#include "kernels/device_registry.h"
#include "small_network.h"
#include "tests/support/temporary_directory.h"

namespace panda::anomaly {
namespace {

constexpr int64_t kClasses = 3;

/// Noise images of kClasses classes in turn.
class ClassImages final : public data::ImageSet {
 public:
  explicit ClassImages(int64_t count) : ImageSet(samples(count)), noise_(count, false, 3) {}
  [[nodiscard]] data::Image load(int64_t index) const override { return noise_.load(index); }

 private:
  static std::vector<data::Sample> samples(int64_t count) {
    std::vector<data::Sample> list(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      data::Sample& sample = list[static_cast<size_t>(i)];
      sample.file = text(i, ".png");
      sample.class_index = i % kClasses;
      sample.class_name = text(sample.class_index);
    }
    return list;
  }
  NoiseImages noise_;
};

LabelledData labelled(int64_t count) {
  return {{"0", "1", "2"}, std::make_unique<ClassImages>(count), nullptr};
}

nn::ResnetConfig classifier_config() {
  nn::ResnetConfig config = small_config();
  config.class_count = kClasses;
  return config;
}

nn::TrainableResnet classifier(Device& device) {
  const nn::SeededResnetParameters weights(classifier_config(), 7, nn::BatchNormInit::kRandomized);
  return {device, classifier_config(), weights, nn::BatchNormMode::kEvaluation};
}

FisherOptions all_images(FisherDefinition definition, int64_t batches, int64_t batch_size) {
  FisherOptions options;
  options.definition = definition;
  options.batches = batches;
  options.batch_size = batch_size;
  options.stages = {0, 1, 2, 3, 4};
  options.head = true;
  options.transform = small_transform();
  return options;
}

std::map<std::string, Tensor> diagonal_of(Device& device, const LabelledData& data,
                                          const FisherOptions& options) {
  nn::TrainableResnet network = classifier(device);
  FisherDiagonal fisher(network, data, options);
  while (!fisher.finished()) fisher.run_batch();
  return fisher.result();
}

/// Mean over the images of the squared gradient of each one's loss, by one backward pass per image.
std::map<std::string, std::vector<double>> mean_squares(Device& device, const LabelledData& data) {
  nn::TrainableResnet network = classifier(device);
  network.train_stages({0, 1, 2, 3, 4}, true);
  std::map<std::string, std::vector<double>> sums;
  for (int64_t i = 0; i < data.train->size(); ++i) {
    Tensor image(host(), DType::kF32, {1, 3, 32, 32}, "image");
    small_transform().apply(data.train->load(i), image.data<float>());
    const Tensor label = labels_of(*data.train, {i});
    autograd::Workspace workspace(device);
    autograd::Tape tape(workspace);
    const autograd::Variable logits = network.logits(tape, network.features(tape, tape.constant(image)));
    tape.backward({{autograd::softmax_cross_entropy(logits, label, 1)}});
    for (const autograd::Parameter* parameter : network.parameters().trainable()) {
      std::vector<double>& sum = sums[parameter->name];
      sum.resize(static_cast<size_t>(parameter->value.numel()));
      const auto* gradient = static_cast<const float*>(parameter->gradient.raw());
      for (size_t j = 0; j < sum.size(); ++j)
        sum[j] += double{gradient[j]} * double{gradient[j]} / static_cast<double>(data.train->size());
    }
  }
  return sums;
}

TEST(FisherDiagonal, PerSampleIsTheMeanSquareOfSingleImages) {
  for (const char* name : {"reference", "cpu"}) {
    SCOPED_TRACE(name);
    const auto device = kernels::make_device({name, 2, ""});
    const LabelledData data = labelled(6);
    const auto expected = mean_squares(*device, data);
    const auto found = diagonal_of(*device, data, all_images(FisherDefinition::kPerSample, 2, 3));
    ASSERT_EQ(found.size(), expected.size());
    for (const auto& [parameter, values] : expected) {
      const Tensor& tensor = found.at(parameter);
      ASSERT_EQ(tensor.numel(), static_cast<int64_t>(values.size()));
      double error = 0;
      double norm = 0;
      for (size_t i = 0; i < values.size(); ++i) {
        error += std::pow(tensor.data<float>()[i] - values[i], 2);
        norm += values[i] * values[i];
      }
      EXPECT_GT(norm, 0) << parameter;
      // A gradient's error is below 1e-5 of it (trainable_resnet_test.cpp); a square's is twice that.
      EXPECT_TRUE(error <= std::pow(2e-5, 2) * norm) << parameter << ": " << std::sqrt(error / norm);
    }
  }
}

TEST(FisherDiagonal, PerBatchOfOneImageIsPerSample) {
  const auto device = kernels::make_device({"reference", 1, ""});
  const LabelledData data = labelled(4);
  const auto one = diagonal_of(*device, data, all_images(FisherDefinition::kPerBatch, 4, 1));
  const auto sample = diagonal_of(*device, data, all_images(FisherDefinition::kPerSample, 4, 1));
  const auto batch = diagonal_of(*device, data, all_images(FisherDefinition::kPerBatch, 1, 4));
  double differences = 0;
  for (const auto& [name, tensor] : one) {
    for (int64_t i = 0; i < tensor.numel(); ++i) {
      const double value = sample.at(name).data<float>()[i];
      EXPECT_NEAR(tensor.data<float>()[i], value, 1e-5 * value + 1e-12) << name << " " << i;
      differences += std::abs(batch.at(name).data<float>()[i] - value);
    }
  }
  EXPECT_GT(differences, 0) << "the square of a mean is not the mean of squares";
}

TEST(FisherDiagonal, SampledLabelsAreDrawnFromTheSeed) {
  const auto device = kernels::make_device({"cpu", 1, ""});
  const LabelledData data = labelled(6);
  FisherOptions options = all_images(FisherDefinition::kPerSample, 2, 3);
  options.stages = {4};
  const auto with_true = diagonal_of(*device, data, options);
  options.labels = FisherLabels::kSampled;
  const auto sampled = diagonal_of(*device, data, options);
  const auto again = diagonal_of(*device, data, options);
  options.seed = 1;
  const auto other = diagonal_of(*device, data, options);
  EXPECT_TRUE(same_bits(sampled.at("fc.weight"), again.at("fc.weight")));
  EXPECT_FALSE(same_bits(sampled.at("fc.weight"), other.at("fc.weight")));
  EXPECT_FALSE(same_bits(sampled.at("fc.weight"), with_true.at("fc.weight")));
}

TEST(FisherDiagonal, DoesNotDependOnThreadsOrOnAStop) {
  const LabelledData data = labelled(5);
  const FisherOptions options = all_images(FisherDefinition::kPerSample, 4, 3);
  const auto one = kernels::make_device({"cpu", 1, ""});
  const auto three = kernels::make_device({"cpu", 3, ""});
  const auto expected = diagonal_of(*one, data, options);
  const test::TemporaryDirectory folder;
  const std::string path = folder.path("checkpoint");
  {
    nn::TrainableResnet network = classifier(*three);
    FisherDiagonal first(network, data, options);
    first.run_batch();
    write_checkpoint(path, first.fields(), first);
  }
  nn::TrainableResnet network = classifier(*three);
  FisherDiagonal second(network, data, options);
  read_checkpoint(path, second.fields(), second);
  EXPECT_EQ(second.steps(), 1);
  while (!second.finished()) second.run_batch();
  for (const auto& [name, tensor] : second.result())
    EXPECT_TRUE(same_bits(tensor, expected.at(name))) << name;
}

TEST(FisherDiagonal, UniformIsOne) {
  const auto device = kernels::make_device({"cpu", 1, ""});
  const auto ones = diagonal_of(*device, labelled(3), all_images(FisherDefinition::kUniform, 1, 1));
  for (const auto& [name, tensor] : ones) {
    for (int64_t i = 0; i < tensor.numel(); ++i) ASSERT_EQ(tensor.data<float>()[i], 1.0f) << name;
  }
  EXPECT_FALSE(ones.empty());
}

}  // namespace
}  // namespace panda::anomaly
