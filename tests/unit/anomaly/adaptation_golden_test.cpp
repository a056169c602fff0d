// Ten minibatches of PANDA-EWC against PyTorch in float64 (tests/golden/make_adaptation_goldens.py).

#include <gtest/gtest.h>

#include <cmath>

#include "anomaly/mean_of_rows.h"
#include "anomaly/panda.h"
#include "autograd/functions/loss.h"
#include "kernels/device_registry.h"
#include "kernels/tensor/random.h"
#include "small_network.h"
#include "tests/support/goldens.h"

namespace panda::anomaly {
namespace {

constexpr uint64_t kSeed = 7;

class AdaptationGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(AdaptationGolden, FollowsPyTorch) {
  const test::Goldens goldens = test::read_goldens("adaptation_goldens.txt", "ewc");
  ASSERT_FALSE(goldens.empty());
  const auto device = kernels::make_device({GetParam(), 2, ""});
  const nn::SeededResnetParameters weights = small_weights(0.25);
  nn::TrainableResnet network(*device, small_config(0.25), weights, nn::BatchNormMode::kEvaluation);
  network.train_stages({3, 4}, false);
  const NoiseImages images(13, false, 5);
  const TrunkFeatures trunk(network, images, small_transform(), {}, {}, nullptr);
  std::vector<int64_t> all(13);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int64_t>(i);
  const Tensor mean = mean_of_rows(current_features(network, trunk, all, 5, "", nullptr));
  Tensor center(host(), DType::kF32, mean.shape(), "center");
  for (int64_t j = 0; j < mean.numel(); ++j)
    center.data<float>()[j] = static_cast<float>(mean.data<double>()[j]);

  const AdaptationMethod method = panda_method(weights, "", {});
  const std::unique_ptr<AdaptationObjective> objective = method.objective(network, clone_to(center, *device));
  AdaptationOptions options;
  options.minibatches = 10;
  options.batch_size = 4;
  options.sgd = {.momentum = 0.9, .decay = 1e-3, .max_norm = 0.02};
  options.seed = 3;
  Adaptation adaptation(network, trunk, all, *objective, options);
  nn::EwcPenalty penalty{30.0, nn::anchor_of(network.parameters()), {}};
  for (const auto& [name, anchor] : penalty.anchor) {
    Tensor values(host(), DType::kF32, anchor.shape(), "importance");
    Random random(kSeed, nn::stream_of_name("fisher/" + name));
    nn::fill_uniform(random, 0, 1, values);
    penalty.importance.emplace(name, clone_to(values, *device));
  }
  const std::map<std::string, Tensor> before = trained_values(network);
  adaptation.set_penalty(std::move(penalty));
  while (!adaptation.done()) adaptation.step();

  const std::vector<LogRow>& rows = adaptation.log().rows();
  ASSERT_EQ(rows.size(), 10U);
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_GT(rows[i].gradient_norm, 0.02) << "the clip is not active";
    EXPECT_NEAR(rows[i].loss / goldens.at("loss")[i], 1, 1e-5) << i;
    EXPECT_NEAR(rows[i].gradient_norm / goldens.at("norm")[i], 1, 1e-4) << i;
    EXPECT_NEAR(rows[i].penalty, goldens.at("penalty")[i], 1e-4 * goldens.at("penalty")[9]) << i;
  }
  // Weights of 0.1 are stored to 4e-9 each step and went 1e-5: parts in a thousand, as a whole far less.
  double error = 0;
  double norm = 0;
  for (const auto& [name, after] : trained_values(network)) {
    const std::vector<double>& expected = goldens.at("moved/" + name);
    double squares = 0;
    const auto moved = [&](int64_t i) {
      return double{after.data<float>()[i]} - double{before.at(name).data<float>()[i]};
    };
    for (int64_t i = 0; i < after.numel(); ++i) squares += moved(i) * moved(i);
    EXPECT_NEAR(std::sqrt(squares) / expected[0], 1, 2e-3) << name;
    for (size_t j = 1; j < expected.size(); ++j) {
      const double actual = moved(static_cast<int64_t>(j - 1) * after.numel() / 8);
      error += std::pow((actual - expected[j]) / expected[0], 2);
      norm += std::pow(expected[j] / expected[0], 2);
    }
  }
  EXPECT_GT(norm, 0);
  EXPECT_TRUE(std::sqrt(error / norm) <= 1e-3) << std::sqrt(error / norm);
  RecordProperty("displacement_error", text(std::sqrt(error / norm)));
}

INSTANTIATE_TEST_SUITE_P(Devices, AdaptationGolden, ::testing::Values("reference", "cpu"),
                         [](const auto& tested) { return std::string(tested.param); });

}  // namespace
}  // namespace panda::anomaly
