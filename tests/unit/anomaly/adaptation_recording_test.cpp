// Steps of an adaptation that a device replays, beside the same steps called anew: the emulator records as a
// GPU does.
#include <gtest/gtest.h>

#include <algorithm>

#include "anomaly/joint_optimization.h"
#include "anomaly/outlier_exposure.h"
#include "anomaly/panda.h"
#include "kernels/device_registry.h"
#include "small_network.h"
#include "tests/unit/nn/memory_tensors.h"

namespace panda::anomaly {
namespace {

constexpr int64_t kBatch = 3;
constexpr int64_t kImages = 7;  // minibatches of 3, 3 and 1

/// Noise of two classes.
class TwoClasses final : public data::ImageSet {
 public:
  explicit TwoClasses(int64_t count) : ImageSet(samples(count)), images_(count, false, 8) {}
  [[nodiscard]] data::Image load(int64_t index) const override { return images_.load(index); }

 private:
  static std::vector<data::Sample> samples(int64_t count) {
    std::vector<data::Sample> list(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      list[static_cast<size_t>(i)].file = text("class/", i, ".png");
      list[static_cast<size_t>(i)].class_index = i % 2;
    }
    return list;
  }
  NoiseImages images_;
};

/// A fit of one method on the emulator, step by step.
class Fit {
 public:
  Fit(const AdaptationMethod& method, bool record)
      : device_(kernels::make_device({"simt", 1, ""})), normal_(kImages, false, 5) {
    nn::ResnetConfig config = small_config();
    config.class_count = method.class_count;
    network_ = std::make_unique<nn::TrainableResnet>(*device_, config, *method.network,
                                                     nn::BatchNormMode::kEvaluation);
    AdaptationOptions options;
    options.blocks = {4};
    options.minibatches = 8;
    options.batch_size = kBatch;
    options.sgd.max_norm = 0.01;
    options.seed = 9;
    options.record = record;
    network_->train_stages(options.blocks, method.class_count > 0);
    trunk_ = trunk_of(normal_);
    for (int64_t i = 0; i < kImages; ++i) all_.push_back(i);
    const std::vector<float> center(static_cast<size_t>(config.feature_channels()), 0.25F);
    objective_ = method.objective(
        *network_, clone_to(Tensor::from<float>({config.feature_channels()}, center.data()), *device_));
    adaptation_ = std::make_unique<Adaptation>(*network_, *trunk_, all_, *objective_, options);
    if (method.auxiliary != nullptr) {
      auxiliary_ = trunk_of(*method.auxiliary);
      adaptation_->set_auxiliary(*auxiliary_, method.draw);
    }
    adaptation_->set_penalty(
        {.strength = 10, .anchor = nn::anchor_of(network_->parameters()), .importance = {}});
  }
  Adaptation* operator->() { return adaptation_.get(); }
  nn::TrainableResnet& network() { return *network_; }
  /// What the log looks at between steps: it packs the filters that the next step would pack.
  void look() { (void)current_features(*network_, *trunk_, {0, 1}, 2, "", nullptr); }

 private:
  std::unique_ptr<TrunkFeatures> trunk_of(const data::ImageSet& images) {
    return std::make_unique<TrunkFeatures>(*network_, images, small_transform(), TrunkCacheOptions{},
                                           ExtractOptions{.batch_size = kBatch}, nullptr);
  }

  std::unique_ptr<Device> device_;
  NoiseImages normal_;
  std::unique_ptr<nn::TrainableResnet> network_;
  std::unique_ptr<TrunkFeatures> trunk_;
  std::unique_ptr<TrunkFeatures> auxiliary_;
  std::vector<int64_t> all_;
  std::unique_ptr<AdaptationObjective> objective_;
  std::unique_ptr<Adaptation> adaptation_;
};

/// Two epochs of both: whole minibatches called, recorded and replayed, an odd one between them, and a look
/// before the recording and before a replay.
void expect_same_steps(Fit& recorded, Fit& called) {
  for (int64_t step = 0; step < 5; ++step) {
    EXPECT_EQ(recorded->replays(), step > 2) << step;
    for (Fit* fit : {&recorded, &called}) {
      if (step == 1 || step == 4) fit->look();
      (*fit)->step();
    }
  }
  EXPECT_FALSE(called->replays());
  const std::map<std::string, Tensor> expected = called->state();
  const std::map<std::string, Tensor> state = recorded->state();
  ASSERT_EQ(state.size(), expected.size());
  for (const auto& [name, tensor] : expected) EXPECT_TRUE(same_bits(state.at(name), tensor)) << name;
}

TEST(AdaptationRecording, GivesTheBitsOfStepsThatAreCalled) {
  const nn::SeededResnetParameters weights = small_weights();
  const AdaptationMethod method = panda_method(weights, "", {});
  Fit recorded(method, true);
  Fit called(method, false);
  expect_same_steps(recorded, called);

  // A replayed step refuses what a called one refuses, and leaves the parameters as before.
  recorded->step();
  ASSERT_TRUE(recorded->replays());
  autograd::Parameter& gamma = recorded.network().parameters().at("layer4.0.bn1.weight");
  std::vector<float> huge(static_cast<size_t>(gamma.value.numel()), 3e38F);
  copy(Tensor::from<float>(gamma.value.shape(), huge.data()), gamma.value);
  gamma.changed();
  const std::map<std::string, Tensor> before = recorded->state();
  const std::string message = nn::message_of<InvalidArgument>([&] { recorded->step(); });
  EXPECT_NE(message.find(" at minibatch 7: what layer4 gives is not finite"), std::string::npos) << message;
  for (const auto& [name, tensor] : recorded->state())
    EXPECT_TRUE(same_bits(tensor, before.at(name))) << name;
}

TEST(AdaptationRecording, SeesTheLabelsOfEachMinibatch) {
  const nn::SeededResnetParameters weights = small_weights();
  const TwoClasses labelled(2 * kBatch);
  JointOptions options;
  options.variant = JointVariant::kLeaveOneOut;
  const AdaptationMethod method = joint_method(weights, labelled, "", 2, options, 3);
  Fit recorded(method, true);
  Fit called(method, false);
  expect_same_steps(recorded, called);
}

TEST(AdaptationRecording, SeesTheOutliersOfEachMinibatch) {
  const nn::SeededResnetParameters weights = small_weights();
  const NoiseImages outliers(4, true, 6);
  const AdaptationMethod method = outlier_exposure_method(weights, outliers, "", 3);
  Fit recorded(method, true);
  Fit called(method, false);
  expect_same_steps(recorded, called);
}

}  // namespace
}  // namespace panda::anomaly
