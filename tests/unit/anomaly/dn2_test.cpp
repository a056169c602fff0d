#include "anomaly/dn2.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "kernels/device_registry.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/file.h"
#include "kernels/tensor/random.h"
#include "nn/init.h"
#include "tests/support/temporary_directory.h"
#include "tests/unit/anomaly/noise_images.h"

namespace panda::anomaly {
namespace {

using test::TemporaryDirectory;

Dn2Options small_options() {
  Dn2Options options;
  options.transform.resize = 32;
  options.transform.crop = 32;
  return options;
}

/// An eighth of a ResNet-18: 64 features.
nn::SeededResnetParameters small_weights(double width = 0.125) {
  return nn::SeededResnetParameters(nn::resnet_config("resnet18", width), 3, nn::BatchNormInit::kRandomized);
}

std::unique_ptr<Device> make(const std::string& name = "cpu", int threads = 2) {
  return kernels::make_device({name, threads, ""});
}

const FitManifest kManifest{"weights", "files", "0.1.0", "cpu", 0};

std::string failure_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(ExtractFeatures, GivesEachImageItsRow) {
  const auto device = make();
  const auto weights = small_weights();
  nn::Resnet network(*device, nn::resnet_config("resnet18", 0.125), weights);
  const NoiseImages images(7, false, 1);
  const Dn2Options options = small_options();
  const Tensor features = extract_features(network, images, options.transform, {3, 2});
  ASSERT_EQ(features.shape(), (Shape{7, 64}));
  for (int64_t i = 0; i < 7; ++i) {
    const Tensor alone = network.features(options.transform.apply(images.load(i)));
    double norm = 0;
    for (int64_t j = 0; j < 64; ++j) {
      EXPECT_EQ(features.data<float>()[i * 64 + j], alone.data<float>()[j])
          << "image " << i << " feature " << j;
      norm += std::abs(double{alone.data<float>()[j]});
    }
    EXPECT_GT(norm, 0);
  }
}

TEST(ExtractFeatures, StopsWhenInterrupted) {
  const auto device = make();
  const auto weights = small_weights();
  nn::Resnet network(*device, nn::resnet_config("resnet18", 0.125), weights);
  request_interrupt();
  EXPECT_THROW(
      static_cast<void>(extract_features(network, NoiseImages(4, false, 1), small_options().transform)),
      Interrupted);
  clear_interrupt();
}

class CountingProgress final : public Progress {
 public:
  void update(const char* stage, int64_t done, int64_t total) override {
    last = text(stage, " ", done, "/", total);
  }
  std::string last;
};

TEST(ExtractFeatures, ReportsEveryImage) {
  const auto device = make();
  const auto weights = small_weights();
  nn::Resnet network(*device, nn::resnet_config("resnet18", 0.125), weights);
  CountingProgress progress;
  static_cast<void>(extract_features(network, NoiseImages(5, false, 1), small_options().transform,
                                     {2, 1, "reading"}, &progress));
  EXPECT_EQ(progress.last, "reading 5/5");
}

/// Weights with one value so large that features overflow.
class OverflowingWeights final : public NamedTensors {
 public:
  [[nodiscard]] std::vector<TensorInfo> list() const override { return inner_.list(); }
  [[nodiscard]] bool contains(const std::string& name) const override { return inner_.contains(name); }
  [[nodiscard]] Tensor load(const std::string& name) const override {
    Tensor tensor = inner_.load(name);
    if (name == "bn1.weight" || name == "layer4.1.bn2.weight") {
      std::fill_n(tensor.data<float>(), tensor.numel(), 1e30F);
    }
    return tensor;
  }
  [[nodiscard]] std::string source() const override { return "overflowing"; }

 private:
  nn::SeededResnetParameters inner_ = small_weights();
};

TEST(ExtractFeatures, NamesTheImageWhoseFeaturesAreNotFinite) {
  const auto device = make();
  nn::Resnet network(*device, nn::resnet_config("resnet18", 0.125), OverflowingWeights());
  const std::string failure = failure_of([&] {
    static_cast<void>(extract_features(network, NoiseImages(2, false, 1), small_options().transform));
  });
  EXPECT_EQ(failure.substr(0, 22), "normal/0.png: feature ") << failure;
}

TEST(Dn2, RanksAnomaliesAboveNormals) {
  const auto device = make();
  const auto weights = small_weights();
  const Dn2 model = Dn2::fit(*device, weights, NoiseImages(30, false, 1), small_options());
  const std::vector<double> normal = model.score(NoiseImages(10, false, 2));
  const std::vector<double> anomalous = model.score(NoiseImages(10, true, 3));
  EXPECT_LT(*std::max_element(normal.begin(), normal.end()),
            *std::min_element(anomalous.begin(), anomalous.end()));
  ASSERT_TRUE(model.threshold().has_value());
  for (const double score : anomalous) EXPECT_GT(score, model.threshold()->value);
}

TEST(Dn2, ScoresAreThoseOfItsParts) {
  const auto device = make();
  const auto weights = small_weights();
  const NoiseImages training(9, false, 1);
  const NoiseImages queries(3, true, 2);
  const Dn2Options options = small_options();
  nn::Resnet network(*device, nn::resnet_config("resnet18", 0.125), weights);
  const Tensor gallery = extract_features(network, training, options.transform);
  const FeatureScorer scorer = FeatureScorer::fit(*device, gallery, options.score);
  const Dn2 model = Dn2::fit(*device, weights, training, options);
  EXPECT_EQ(model.score(queries), scorer.score(extract_features(network, queries, options.transform)));
  std::vector<double> left_out = scorer.leave_one_out_scores(gallery);
  std::sort(left_out.begin(), left_out.end());
  EXPECT_EQ(model.calibration_scores(), left_out);
}

TEST(Dn2, ScoresTheSameAfterSavingAndLoading) {
  const TemporaryDirectory directory;
  const auto device = make();
  const auto weights = small_weights();
  const NoiseImages queries(5, true, 2);
  for (const ScoreRule rule : {ScoreRule::kKnnSumSq, ScoreRule::kKnnMean, ScoreRule::kCenter,
                               ScoreRule::kKmeans, ScoreRule::kMahalanobis}) {
    for (const int64_t channels : {3, 1}) {
      Dn2Options options = small_options();
      options.score = {rule, 3, rule != ScoreRule::kKnnMean};
      options.score.clusters = 4;
      if (channels == 1) options.score.whitening = {5, 0.1};
      options.transform.channels = channels;
      options.false_alarm_rate = 0.2;
      const Dn2 model = Dn2::fit(*device, weights, NoiseImages(12, false, 1), options);
      const std::string path = directory.path(text(score_rule_name(rule), channels));
      model.save(path, weights, kManifest);
      const FittedModelFile file(path);
      EXPECT_EQ(get_manifest(file), kManifest);
      const Dn2 loaded = Dn2::load(*device, file);
      EXPECT_EQ(loaded.score(queries), model.score(queries));
      EXPECT_EQ(loaded.threshold()->value, model.threshold()->value);
      EXPECT_EQ(loaded.threshold()->false_alarm_rate, 0.2);
      EXPECT_EQ(loaded.training_count(), 12);
      EXPECT_EQ(loaded.options().transform, options.transform);
      EXPECT_FALSE(PrefixedTensors(file.tensors(), "network/").contains("fc.weight"));
    }
  }
}

TEST(Dn2, GivesTheSameBytesForAnyThreadsAndBatch) {
  const TemporaryDirectory directory;
  const auto weights = small_weights();
  const NoiseImages training(11, false, 1);
  std::vector<uint8_t> first;
  std::vector<double> first_scores;
  for (const auto& [threads, batch, decoders] :
       std::vector<std::array<int, 3>>{{1, 1, 0}, {2, 4, 1}, {3, 32, 2}, {2, 11, 3}}) {
    const auto device = make("cpu", threads);
    const ExtractOptions extract{batch, decoders};
    const Dn2 model = Dn2::fit(*device, weights, training, small_options(), extract);
    const std::string path = directory.path("model");
    model.save(path, weights, kManifest);
    const std::vector<uint8_t> bytes = read_file(path);
    const std::vector<double> scores = model.score(NoiseImages(6, true, 4), extract);
    if (first.empty()) {
      first = bytes;
      first_scores = scores;
    }
    EXPECT_TRUE(bytes == first) << threads << " threads, batch " << batch;
    EXPECT_EQ(scores, first_scores);
  }
}

TEST(Dn2, PromisesWhatItsImagesAllow) {
  const auto device = make();
  const auto weights = small_weights();
  const auto fitted = [&](int64_t count) {
    return Dn2::fit(*device, weights, NoiseImages(count, false, 1), small_options());
  };
  EXPECT_FALSE(fitted(2).threshold().has_value());  // k = 2: nothing is left when one is left out
  EXPECT_EQ(fitted(4).threshold()->false_alarm_rate, 0.2);
  const Dn2 model = fitted(19);
  EXPECT_EQ(model.threshold()->false_alarm_rate, 0.05);
  EXPECT_EQ(model.threshold()->value, model.calibration_scores().back());
  EXPECT_EQ(model.threshold_for(0.5).value, model.calibration_scores()[9]);
  EXPECT_NE(failure_of([&] { static_cast<void>(model.threshold_for(0.01)); }).find("needs 99 images"),
            std::string::npos);
  EXPECT_NE(model.threshold_text(*model.threshold()).find("at most 5 %"), std::string::npos);
}

TEST(Dn2, ByKmeansRanksAnomaliesAndSaysWhatItPromises) {
  const auto weights = small_weights();
  Dn2Options options = small_options();
  options.score = {.rule = ScoreRule::kKmeans, .clusters = 5, .seed = 2};
  std::vector<double> scores;
  for (const int threads : {1, 3}) {
    const auto device = make("cpu", threads);
    const Dn2 model = Dn2::fit(*device, weights, NoiseImages(30, false, 1), options);
    const std::vector<double> normal = model.score(NoiseImages(10, false, 2));
    const std::vector<double> anomalous = model.score(NoiseImages(10, true, 3));
    EXPECT_LT(*std::max_element(normal.begin(), normal.end()),
              *std::min_element(anomalous.begin(), anomalous.end()));
    ASSERT_TRUE(model.threshold().has_value());
    for (const double score : anomalous) EXPECT_GT(score, model.threshold()->value);
    EXPECT_EQ(model.threshold_text(*model.threshold()).substr(0, 19), "about, at most 5 % ");
    EXPECT_EQ(model.description().substr(0, 24), "dn2: kmeans, 5 clusters;");
    if (scores.empty()) scores = anomalous;
    EXPECT_EQ(scores, anomalous);
  }
}

TEST(Dn2, ByMahalanobisRanksAnomaliesAndSaysWhatItPromises) {
  const auto weights = small_weights();
  Dn2Options options = small_options();
  options.score.rule = ScoreRule::kMahalanobis;
  std::vector<double> scores;
  for (const int threads : {1, 3}) {
    const auto device = make("cpu", threads);
    const Dn2 model = Dn2::fit(*device, weights, NoiseImages(30, false, 1), options);
    const std::vector<double> normal = model.score(NoiseImages(10, false, 2));
    const std::vector<double> anomalous = model.score(NoiseImages(10, true, 3));
    EXPECT_LT(*std::max_element(normal.begin(), normal.end()),
              *std::min_element(anomalous.begin(), anomalous.end()));
    for (const double score : anomalous) EXPECT_GT(score, model.threshold()->value);
    const std::string promise = model.threshold_text(*model.threshold());
    EXPECT_EQ(promise.substr(0, 19), "about, at most 5 % ");
    EXPECT_NE(promise.find("left out in turn"), std::string::npos);
    EXPECT_EQ(model.description().substr(0, 41), "dn2: mahalanobis, shrinkage ledoit-wolf; ");
    if (scores.empty()) scores = anomalous;
    EXPECT_EQ(scores, anomalous);
  }
}

/// Fails if an image is asked for.
class Unread final : public data::ImageSet {
 public:
  explicit Unread(int64_t count) : ImageSet(std::vector<data::Sample>(static_cast<size_t>(count))) {}
  [[nodiscard]] data::Image load(int64_t) const override { throw InternalError("an image was read"); }
};

TEST(Dn2, RefusesTooFewImagesBeforeReadingAny) {
  const auto device = make();
  const auto weights = small_weights();
  const auto failure = [&](int64_t count, const Dn2Options& options) {
    return failure_of([&] { static_cast<void>(Dn2::fit(*device, weights, Unread(count), options)); });
  };
  Dn2Options options = small_options();
  EXPECT_EQ(failure(1, options), "dn2: 1 training image is fewer than k=2");
  EXPECT_EQ(failure(0, options), "dn2: 0 training images are fewer than k=2");
  options.score = {.rule = ScoreRule::kKmeans, .clusters = 7};
  EXPECT_EQ(failure(6, options), "dn2: 6 training images are fewer than clusters=7");
  options.false_alarm_rate = 0.2;
  EXPECT_EQ(failure(7, options), "dn2: 7 training images are too few for a threshold with clusters=7");
  options.score = {.rule = ScoreRule::kMahalanobis, .whitening = {7, {}}};
  options.false_alarm_rate.reset();
  EXPECT_EQ(failure(7, options), "dn2: 7 training images are fewer than the 8 that components=7 needs");
  options = small_options();
  options.score.k = 50;
  EXPECT_EQ(failure(49, options), "dn2: 49 training images are fewer than k=50");
  options.score.k = 2;
  options.false_alarm_rate = 0.01;
  EXPECT_EQ(failure(2, options), "dn2: 2 training images are too few for a threshold with k=2");
  EXPECT_EQ(failure(50, options),
            "threshold: 50 normal images cannot promise 1 % false alarms: the smallest rate they allow is "
            "1.96 %, and that rate "
            "needs 99 images");
}

TEST(Dn2, RefusesAModelOfAnotherMethodOrWithPartsThatDoNotFit) {
  const TemporaryDirectory directory;
  const auto device = make();
  const auto weights = small_weights();
  const Dn2 model = Dn2::fit(*device, weights, NoiseImages(6, false, 1), small_options());
  const std::string path = directory.path("model");
  model.save(path, weights, kManifest);
  const FittedModelFile good(path);

  // The same model with one field, or one tensor, changed; its digest is right.
  const weights::SafetensorsFile raw(path);
  const auto failure = [&](const std::string& method, const weights::Metadata& changed,
                           const std::string& dropped) {
    weights::Metadata fields = raw.metadata();
    for (const auto& [key, value] : changed) fields[key] = value;
    TensorBundle tensors("changed");
    std::vector<std::string> names;
    for (const TensorInfo& info : raw.list()) {
      if (info.name != dropped) names.push_back(info.name);
    }
    tensors.add_from("", raw, names);
    write_fitted_model(directory.path("changed"), method, fields, tensors);
    return failure_of(
        [&] { static_cast<void>(Dn2::load(*device, FittedModelFile(directory.path("changed")))); });
  };
  EXPECT_EQ(failure("dn2", {}, ""), "no error");
  const std::string file = directory.path("changed");
  EXPECT_EQ(failure("spade", {}, ""), file + ": a model of the method spade, expected dn2");
  EXPECT_EQ(failure("dn2", {}, "gallery"), file + ": the model has no tensor 'gallery'");
  EXPECT_EQ(failure("dn2", {{"option.k", "7"}}, ""),
            file + ": scoring: 6 training images are fewer than k=7");
  EXPECT_NE(failure("dn2", {{"option.k", "0"}}, "").find("option.k is 0"), std::string::npos);
  EXPECT_NE(failure("dn2", {{"option.score", "best"}}, "").find("unknown score rule"), std::string::npos);
  EXPECT_NE(failure("dn2", {{"threshold.false_alarm_rate", "1e-9"}}, "").find("cannot promise"),
            std::string::npos);
  EXPECT_NE(failure("dn2", {}, "network/layer1.0.conv1.weight").find("layer1.0.conv1.weight"),
            std::string::npos);
}

}  // namespace
}  // namespace panda::anomaly
