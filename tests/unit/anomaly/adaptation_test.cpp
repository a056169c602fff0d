// The training loop: the trunk's cache, the log, the monitor, checkpoints, and losses that are not finite.

#include "anomaly/adaptation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "anomaly/collapse_monitor.h"
#include "anomaly/panda.h"
#include "anomaly/training_checkpoint.h"
#include "kernels/device_registry.h"
#include "kernels/tensor/file.h"
#include "kernels/tensor/random.h"
#include "small_network.h"
#include "tests/support/temporary_directory.h"
#include "tests/unit/nn/memory_tensors.h"

namespace panda::anomaly {
namespace {

using nn::message_of;

TEST(CollapseMonitor, CountsTheDirectionsInWhichFeaturesVary) {
  // 2 r points at +-e_j: r directions alike.
  for (const int64_t r : {1, 3, 5}) {
    Tensor features(host(), DType::kF32, {2 * r, 8}, "features");
    std::fill_n(features.data<float>(), features.numel(), 2.0F);
    for (int64_t j = 0; j < r; ++j) {
      features.data<float>()[2 * j * 8 + j] += 3;
      features.data<float>()[(2 * j + 1) * 8 + j] -= 3;
    }
    std::vector<float> at(8, 2.0F);
    const FeatureSpread spread = measure_spread(features, Tensor::from<float>({8}, at.data()));
    EXPECT_NEAR(spread.effective_rank, static_cast<double>(r), 1e-12);
    EXPECT_NEAR(spread.distance, 9, 1e-12);
    // It does not change when features shrink; s does.
    for (int64_t i = 0; i < features.numel(); ++i) features.data<float>()[i] *= 0.5F;
    EXPECT_NEAR(measure_spread(features, Tensor::from<float>({8}, at.data())).effective_rank,
                static_cast<double>(r), 1e-12);
  }
  const std::vector<float> point = {1, 2, 1, 2, 1, 2};
  const FeatureSpread collapsed =
      measure_spread(Tensor::from<float>({3, 2}, point.data()), Tensor::from<float>({2}, point.data()));
  EXPECT_EQ(collapsed.effective_rank, 0);
  EXPECT_EQ(collapsed.distance, 0);
}

TEST(TrainingLog, ReadsBackWhatItWasAndLeavesAbsentFieldsEmpty) {
  TrainingLog log({"compactness"});
  log.add({});
  log.last().distance = 2;
  LogRow row;
  row.minibatch = 1;
  row.loss = 0.1;
  row.terms = {0.0625};
  row.penalty = 0.0375;
  row.gradient_norm = 1e-20;
  log.add(row);
  EXPECT_EQ(log.csv(),
            "minibatch,loss,compactness,penalty,gradient_norm,s,effective_rank,auroc\n0,,,,,2,,\n"
            "1,0.1,0.0625,0.0375,1e-20,,,\n");
  TrainingLog again({"compactness"});
  again.restore(log.as_tensor());
  EXPECT_EQ(again.csv(), log.csv());
  TrainingLog other({"a", "b"});
  EXPECT_THROW(other.restore(log.as_tensor()), InvalidArgument);
}

/// A network under adaptation, with the images that it is adapted to.
class Bench {
 public:
  explicit Bench(int threads = 2, const TrunkCacheOptions& cache = {}, AdaptationOptions options = standard(),
                 const data::ImageSet* images = nullptr, const char* device = "cpu")
      : device_(kernels::make_device({device, threads, ""})),
        weights_(small_weights()),
        network_(*device_, small_config(), weights_, nn::BatchNormMode::kEvaluation),
        own_images_(11, false, 5) {
    network_.train_stages(options.blocks, false);
    const data::ImageSet& set = images == nullptr ? own_images_ : *images;
    trunk_ = std::make_unique<TrunkFeatures>(network_, set, small_transform(), cache,
                                             ExtractOptions{.batch_size = 4}, nullptr);
    for (int64_t i = 0; i < set.size(); ++i) all_.push_back(i);
    std::vector<float> center(static_cast<size_t>(small_config().feature_channels()), 0.25F);
    const Tensor at = Tensor::from<float>({small_config().feature_channels()}, center.data());
    objective_ = panda_method(weights_, "", {}).objective(network_, clone_to(at, *device_));
    adaptation_ = std::make_unique<Adaptation>(network_, *trunk_, all_, *objective_, options);
  }
  static AdaptationOptions standard() {
    AdaptationOptions options;
    options.minibatches = 8;
    options.batch_size = 4;
    options.snapshot_every = 3;
    options.sgd.max_norm = 0.01;
    options.seed = 9;
    return options;
  }
  Adaptation& operator*() { return *adaptation_; }
  Adaptation* operator->() { return adaptation_.get(); }
  const TrunkFeatures& trunk() const { return *trunk_; }
  nn::TrainableResnet& network() { return network_; }
  std::map<std::string, Tensor> run() {
    while (!adaptation_->done()) adaptation_->step();
    return adaptation_->state();
  }

 private:
  std::unique_ptr<Device> device_;
  nn::SeededResnetParameters weights_;
  nn::TrainableResnet network_;
  NoiseImages own_images_;
  std::unique_ptr<TrunkFeatures> trunk_;
  std::vector<int64_t> all_;
  std::unique_ptr<AdaptationObjective> objective_;
  std::unique_ptr<Adaptation> adaptation_;
};

void expect_same_state(const std::map<std::string, Tensor>& a, const std::map<std::string, Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) EXPECT_TRUE(same_bits(tensor, b.at(name))) << name;
}

TEST(TrunkFeatures, GivesTheSameRowsFromMemoryDiskAndImages) {
  for (const std::vector<int>& blocks : {std::vector<int>{1}, {2, 3}, {4}}) {
    AdaptationOptions options = Bench::standard();
    options.blocks = blocks;
    Bench memory(1, {}, options);
    Bench disk(3, {TrunkCache::kF32, 0, "/tmp"}, options);
    Bench none(2, {TrunkCache::kNone, 0, "/nowhere"}, options);
    EXPECT_FALSE(memory.trunk().on_disk());
    EXPECT_TRUE(disk.trunk().on_disk());
    EXPECT_EQ(memory.trunk().bytes(), disk.trunk().bytes());
    EXPECT_EQ(none.trunk().bytes(), 0);
    const std::vector<int64_t> some = {10, 3, 3, 0};
    const Tensor expected = memory.trunk().rows(some);
    EXPECT_EQ(expected.shape()[0], 4);
    EXPECT_TRUE(same_bits(disk.trunk().rows(some), expected)) << blocks.front();
    EXPECT_TRUE(same_bits(none.trunk().rows(some), expected)) << blocks.front();
    EXPECT_THROW((void)memory.trunk().rows({11}), InvalidArgument);
  }
}

TEST(TrunkFeatures, RoundsEachValueOnceInF16) {
  Bench exact;
  Bench half(2, {TrunkCache::kF16, int64_t{1} << 30, "/tmp"});
  EXPECT_EQ(half.trunk().bytes() * 2, exact.trunk().bytes());
  EXPECT_FALSE(half.trunk().exact());
  const Tensor a = clone_to(exact.trunk().rows({7}), host());
  const Tensor b = clone_to(half.trunk().rows({7}), host());
  const auto* x = static_cast<const float*>(a.view().raw());
  const auto* y = static_cast<const float*>(b.view().raw());
  double largest = 0;
  for (int64_t i = 0; i < stored_numel(a.shape(), a.layout()); ++i) {
    // 11 bits; below 2^-14 the spacing is 2^-24.
    EXPECT_TRUE(std::abs(y[i] - x[i]) <= std::max(std::abs(x[i]) * 0x1p-11, 0x1p-25)) << x[i];
    largest = std::max(largest, static_cast<double>(std::abs(y[i] - x[i])));
  }
  EXPECT_GT(largest, 0);
}

TEST(Adaptation, GivesTheSameBitsForAnyThreadsAndCache) {
  const std::map<std::string, Tensor> expected = Bench(1).run();
  expect_same_state(Bench(2).run(), expected);
  expect_same_state(Bench(4, {TrunkCache::kF32, 0, "/tmp"}).run(), expected);
  expect_same_state(Bench(2, {TrunkCache::kNone, 0, "/tmp"}).run(), expected);
}

TEST(Adaptation, SeesEveryImageOnceInAnEpoch) {
  // 11 images in batches of 4: 4, 4, 3. A training on one image more than once in an epoch would need rows
  // that another image lost: the losses of an epoch at rate ~0 sum to those of all images.
  AdaptationOptions options = Bench::standard();
  options.rate = 1e-30;
  options.minibatches = 6;
  options.snapshot_every = 0;
  Bench bench(2, {}, options);
  (void)bench.run();
  const auto& rows = bench->log().rows();
  const auto epoch = [&](size_t first) {  // means of 4, 4 and 3
    return 4 * rows[first].loss + 4 * rows[first + 1].loss + 3 * rows[first + 2].loss;
  };
  EXPECT_NEAR(epoch(0) / epoch(3), 1, 1e-6);
  EXPECT_NE(rows[0].loss, rows[3].loss);  // another order
}

TEST(Adaptation, GoesOnFromAnyCheckpointToTheSameBits) {
  const test::TemporaryDirectory folder;
  const std::string path = folder.path("c");
  const weights::Metadata fit = {{"method", "test"}};
  const std::map<std::string, Tensor> expected = Bench().run();
  for (int64_t stop = 0; stop <= 8; ++stop) {
    {
      Bench first;
      for (int64_t i = 0; i < stop; ++i) first->step();
      write_checkpoint(path, fit, *first);
    }
    Bench second(3);
    read_checkpoint(path, fit, *second);
    EXPECT_EQ(second->steps(), stop);
    expect_same_state(second.run(), expected);
  }
}

TEST(Adaptation, RefusesCheckpointsOfAnotherFitAndDamagedOnes) {
  const test::TemporaryDirectory folder;
  const std::string path = folder.path("c");
  Bench bench;
  bench->step();
  write_checkpoint(path, {{"method", "test"}, {"option.lr", "0.1"}}, *bench);
  const auto refused = [&](const weights::Metadata& fit) {
    return message_of<FormatError>([&] { read_checkpoint(path, fit, *bench); });
  };
  EXPECT_EQ(refused({{"method", "test"}, {"option.lr", "0.2"}}),
            path + ": is the checkpoint of another fit: option.lr is 0.1 there and 0.2 here");
  EXPECT_NE(refused({{"method", "test"}}).find("option.lr is 0.1 there and absent here"), std::string::npos);
  EXPECT_NE(refused({{"method", "test"}, {"option.lr", "0.1"}, {"x", "y"}}).find("x is absent there"),
            std::string::npos);
  // Another network under the same description.
  AdaptationOptions options = Bench::standard();
  options.blocks = {4};
  Bench other(2, {}, options);
  EXPECT_NE(message_of<FormatError>([&] {
              read_checkpoint(path, {{"method", "test"}, {"option.lr", "0.1"}}, *other);
            }).find("parameters, expected"),
            std::string::npos);
  std::vector<uint8_t> bytes = read_file(path);
  bytes[bytes.size() - 7] ^= 1;
  folder.write("d", std::string(bytes.begin(), bytes.end()));
  EXPECT_NE(message_of<FormatError>([&] {
              read_checkpoint(folder.path("d"), {{"method", "test"}, {"option.lr", "0.1"}}, *bench);
            }).find("does not match its SHA-256"),
            std::string::npos);
}

TEST(Adaptation, NamesImageAndLayerOfALossThatIsNotFinite) {
  Bench bench;
  bench->step();
  // A weight of layer4 that overflows f32 for images of ordinary values.
  autograd::Parameter& gamma = bench.network().parameters().at("layer4.0.bn1.weight");
  std::fill_n(gamma.value.data<float>(), gamma.value.numel(), 3e38F);
  gamma.changed();
  const std::string message = message_of<InvalidArgument>([&] { bench->step(); });
  EXPECT_NE(message.find("normal/"), std::string::npos) << message;
  EXPECT_NE(message.find(".png: the loss is "), std::string::npos) << message;
  EXPECT_NE(message.find(" at minibatch 2: what layer4 gives is not finite"), std::string::npos) << message;
  EXPECT_EQ(bench->steps(), 1);
}

TEST(Adaptation, RefusesOptionsThatMeanNothing) {
  AdaptationOptions options = Bench::standard();
  options.rate = 0;
  EXPECT_THROW(Bench(1, {}, options), InvalidArgument);
  options = Bench::standard();
  options.batch_size = 0;
  EXPECT_THROW(Bench(1, {}, options), InvalidArgument);
}

}  // namespace
}  // namespace panda::anomaly
