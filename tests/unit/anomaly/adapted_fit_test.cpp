// Whole fits of the adapting methods: what the model holds, scores and promises.

#include "anomaly/adapted_fit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "anomaly/auroc.h"
#include "anomaly/dn2.h"
#include "anomaly/joint_optimization.h"
#include "anomaly/outlier_exposure.h"
#include "anomaly/panda.h"
#include "kernels/device_registry.h"
#include "kernels/tensor/file.h"
#include "small_network.h"
#include "tests/support/temporary_directory.h"
#include "tests/unit/nn/memory_tensors.h"

namespace panda::anomaly {
namespace {

using nn::message_of;

/// Noise images in three classes.
class LabelledNoise final : public data::ImageSet {
 public:
  LabelledNoise() : ImageSet(samples()), images_(15, false, 77) {}
  [[nodiscard]] data::Image load(int64_t index) const override { return images_.load(index); }

 private:
  static std::vector<data::Sample> samples() {
    std::vector<data::Sample> list(15);
    for (size_t i = 0; i < list.size(); ++i) {
      list[i].file = text("labelled/", i, ".png");
      list[i].class_index = static_cast<int64_t>(i) % 3;
    }
    return list;
  }
  NoiseImages images_;
};

/// Test images: normal ones, then anomalies.
class MixedNoise final : public data::ImageSet {
 public:
  MixedNoise() : ImageSet(samples()), normal_(6, false, 31), anomalous_(6, true, 32) {}
  [[nodiscard]] data::Image load(int64_t index) const override {
    return index < 6 ? normal_.load(index) : anomalous_.load(index - 6);
  }

 private:
  static std::vector<data::Sample> samples() {
    std::vector<data::Sample> list(12);
    for (size_t i = 0; i < list.size(); ++i) {
      list[i].file = text("test/", i, ".png");
      list[i].label = i < 6 ? 0 : 1;
    }
    return list;
  }
  NoiseImages normal_;
  NoiseImages anomalous_;
};

/// A method and how it is fitted.
struct Case {
  const char* name;
  std::function<AdaptationMethod(const NamedTensors&)> method;
  std::function<void(AdaptedFitOptions&)> adjust = [](AdaptedFitOptions&) {};
};

class AdaptedFitTest : public ::testing::Test {
 protected:
  static constexpr int64_t kTraining = 24;

  static PandaOptions variant(PandaVariant variant) {
    PandaOptions options;
    options.variant = variant;
    options.fisher = "uniform";
    return options;
  }
  std::vector<Case> cases() {
    const auto ses = [](ScaleRule scale, ScoreRule rule) {
      return [=](AdaptedFitOptions& options) {
        options.adaptation.snapshot_every = 2;
        options.scale = scale;
        options.model.score.rule = rule;
      };
    };
    const auto panda = [](PandaVariant of) {
      return [of](const NamedTensors& weights) { return panda_method(weights, "", variant(of)); };
    };
    const auto joint = [this](JointVariant of) {
      return [this, of](const NamedTensors& weights) {
        return joint_method(weights, labelled_, "labelled", 3, {of, CompactnessScale::kMean, 0.5}, 4);
      };
    };
    return {{"panda-early", panda(PandaVariant::kEarly)},
            {"panda-ewc", panda(PandaVariant::kEwc)},
            {"panda-ses", panda(PandaVariant::kSes), ses(ScaleRule::kLeftOutNeighbours, ScoreRule::kKnnMean)},
            {"panda-ses", panda(PandaVariant::kSes), ses(ScaleRule::kCenterDistance, ScoreRule::kCenter)},
            {"panda-oe",
             [this](const NamedTensors& weights) {
               return outlier_exposure_method(weights, outliers_, "outliers", 4);
             },
             [](AdaptedFitOptions& options) { options.model.by_logit = true; }},
            {"jo", joint(JointVariant::kCenter)},
            {"jo", joint(JointVariant::kLeaveOneOut)},
            {"panda-early", panda(PandaVariant::kEarly),
             [](AdaptedFitOptions& options) { options.model.score.rule = ScoreRule::kMahalanobis; }},
            {"panda-ses", panda(PandaVariant::kSes),
             ses(ScaleRule::kLeftOutNeighbours, ScoreRule::kMahalanobis)}};
  }
  static AdaptedFitOptions options_of(const Case& tested) {
    AdaptedFitOptions options;
    options.model.method = tested.name;
    options.model.transform = small_transform();
    options.adaptation.minibatches = 5;
    options.adaptation.batch_size = 8;
    options.adaptation.rate = 0.05;
    options.adaptation.sgd.max_norm = 0.05;
    options.adaptation.seed = 2;
    tested.adjust(options);
    return options;
  }
  std::unique_ptr<AdaptedFit> fit(Device& device, const Case& tested, const AdaptedFitOptions& options,
                                  const AdaptedFitRuntime& runtime = {}) {
    auto made = std::make_unique<AdaptedFit>(device, training_, tested.method(weights_), options,
                                             FitManifest{"w", "t", "v", "d", 2},
                                             ExtractOptions{.batch_size = 5}, runtime, nullptr);
    made->run();
    return made;
  }
  static std::vector<double> scores_of(const Detector& model, const data::ImageSet& images, int64_t batch) {
    std::vector<double> scores;
    model.score_each(
        images, {.batch_size = batch}, [&](const ImageScore& result) { scores.push_back(result.score); },
        nullptr);
    return scores;
  }
  /// Features by the model's own network, of each member.
  static std::vector<Tensor> features_of(const Adapted& model, const data::ImageSet& images) {
    std::vector<Tensor> features;
    for_each_batch(
        images, small_transform(), {.batch_size = images.size()}, nullptr,
        [&](const data::Batch& batch) { features = model.network().features_of_copies(batch.images); });
    return features;
  }

  std::unique_ptr<Device> device_ = kernels::make_device({"cpu", 2, ""});
  nn::SeededResnetParameters weights_ = small_weights();
  NoiseImages training_{kTraining, false, 5};
  NoiseImages outliers_{9, true, 6};
  LabelledNoise labelled_;
  MixedNoise test_;
  test::TemporaryDirectory folder_;
};

TEST_F(AdaptedFitTest, GivesAModelThatScoresAsTheFitDidWhenReadBack) {
  for (const Case& tested : cases()) {
    SCOPED_TRACE(tested.name);
    const auto made = fit(*device_, tested, options_of(tested));
    made->save(folder_.path("m"));
    const std::unique_ptr<Detector> read = load_detector(*device_, folder_.path("m"));
    EXPECT_EQ(read->method(), tested.name);
    EXPECT_EQ(read->description(), made->model().description());
    EXPECT_EQ(read->training_count(), kTraining);
    const std::vector<double> scores = scores_of(made->model(), test_, 4);
    EXPECT_EQ(scores_of(*read, test_, 12), scores);
    EXPECT_NE(scores.front(), scores.back());
    ASSERT_TRUE(read->threshold().has_value());
    EXPECT_EQ(read->threshold()->value, made->model().threshold()->value);
    EXPECT_EQ(read->threshold()->normal_count, made->held_out_count());
    EXPECT_NE(read->threshold_text(*read->threshold()).find("that the training did not see"),
              std::string::npos);
    EXPECT_EQ(read->threshold_for(0.5).false_alarm_rate, 0.5);
  }
}

TEST_F(AdaptedFitTest, WritesTheSameBytesForAnyThreadsAndCache) {
  for (const Case& tested : cases()) {
    SCOPED_TRACE(tested.name);
    std::vector<uint8_t> expected;
    for (const int run : {0, 1, 2}) {
      const auto device = kernels::make_device({"cpu", 1 << run, ""});
      AdaptedFitOptions options = options_of(tested);
      if (run == 1) options.cache = {TrunkCache::kF32, 0, "/tmp"};
      if (run == 2) options.cache.precision = TrunkCache::kNone;
      fit(*device, tested, options)->save(folder_.path("m"));
      const std::vector<uint8_t> bytes = read_file(folder_.path("m"));
      if (run == 0) expected = bytes;
      EXPECT_TRUE(bytes == expected) << run;
    }
  }
}

TEST_F(AdaptedFitTest, GoesOnAfterAnInterruptionToTheSameBytesAndLog) {
  /// Asks to stop at the third report of the training.
  class Stopper final : public Progress {
   public:
    void update(const char* stage, int64_t done, int64_t) override {
      if (std::string(stage) == "adapting" && done == 3) request_interrupt();
    }
  };
  for (const Case& tested : cases()) {
    SCOPED_TRACE(tested.name);
    const AdaptedFitOptions options = options_of(tested);
    AdaptedFitRuntime runtime;
    runtime.log_every = 2;
    runtime.log = folder_.path("log");
    fit(*device_, tested, options, runtime)->save(folder_.path("whole"));
    const std::vector<uint8_t> log = read_file(runtime.log);
    runtime.checkpoint = folder_.path("c");
    runtime.resume = true;
    {
      Stopper stopper;
      AdaptedFit stopped(*device_, training_, tested.method(weights_), options,
                         FitManifest{"w", "t", "v", "d", 2}, ExtractOptions{.batch_size = 5}, runtime,
                         &stopper);
      EXPECT_THROW(stopped.run(), Interrupted);
      clear_interrupt();
    }
    const auto resumed = fit(*device_, tested, options, runtime);
    EXPECT_EQ(resumed->resumed_at(), 3);
    resumed->save(folder_.path("resumed"));
    EXPECT_TRUE(read_file(folder_.path("resumed")) == read_file(folder_.path("whole")));
    EXPECT_TRUE(read_file(runtime.log) == log);
    std::remove(runtime.checkpoint.c_str());
  }
}

TEST_F(AdaptedFitTest, KeepsACheckpointByMinibatchesAndByTime) {
  /// Looks whether there is a checkpoint after two minibatches.
  class Looker final : public Progress {
   public:
    explicit Looker(std::string path) : path_(std::move(path)) {}
    void update(const char* stage, int64_t done, int64_t) override {
      if (std::string(stage) == "adapting" && done == 2) seen = path_exists(path_);
    }
    bool seen = false;

   private:
    std::string path_;
  };
  const Case early = cases()[0];
  const auto seen = [&](int64_t every, double seconds) {
    AdaptedFitRuntime runtime;
    runtime.checkpoint = folder_.path(text("c", every, ".", seconds));
    runtime.checkpoint_every = every;
    runtime.checkpoint_seconds = seconds;
    Looker looker(runtime.checkpoint);
    AdaptedFit made(*device_, training_, early.method(weights_), options_of(early), {}, {}, runtime, &looker);
    made.run();
    EXPECT_TRUE(path_exists(runtime.checkpoint));  // at the end at the latest
    return looker.seen;
  };
  EXPECT_FALSE(seen(3, 1e6));
  EXPECT_TRUE(seen(2, 1e6));
  EXPECT_TRUE(seen(3, 0));
}

TEST_F(AdaptedFitTest, CalibratesOnImagesThatTheTrainingDidNotSee) {
  const Case early = cases()[0];
  const auto made = fit(*device_, early, options_of(early));
  EXPECT_EQ(made->held_out_count(), default_held_out(kTraining));
  EXPECT_EQ(made->adapted_count() + made->held_out_count(), kTraining);
  // The definition: each against a gallery of all training images but itself.
  const Tensor features = std::move(features_of(made->model(), training_)[0]);
  const int64_t d = features.shape()[1];
  std::vector<double> expected;
  for (const int64_t i : made->held_out()) {
    std::vector<double> distances;
    for (int64_t j = 0; j < kTraining; ++j) {
      if (j == i) continue;
      double sum = 0;
      for (int64_t c = 0; c < d; ++c)
        sum += std::pow(double{features.data<float>()[i * d + c]} - features.data<float>()[j * d + c], 2);
      distances.push_back(sum);
    }
    std::sort(distances.begin(), distances.end());
    expected.push_back(distances[0] + distances[1]);
  }
  std::sort(expected.begin(), expected.end());
  ASSERT_EQ(made->model().calibration_scores().size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(made->model().calibration_scores()[i] / expected[i], 1, 1e-12);
}

TEST_F(AdaptedFitTest, HoldsNothingOutWhenToldTo) {
  const Case early = cases()[0];
  AdaptedFitOptions options = options_of(early);
  options.held_out_images = 0;
  const auto made = fit(*device_, early, options);
  EXPECT_EQ(made->adapted_count(), kTraining);
  EXPECT_FALSE(made->model().threshold().has_value());
  EXPECT_NE(message_of<InvalidArgument>([&] { (void)made->model().threshold_for(0.1); }).find("held out"),
            std::string::npos);
}

TEST_F(AdaptedFitTest, DividesACopysScoresByTheirMeanOnTheTrainingImages) {
  const Case by_center = cases()[3];
  const auto made = fit(*device_, by_center, options_of(by_center));
  ASSERT_EQ(made->model().members().size(), 2U);  // after 2 and 4 of 5 minibatches
  const std::vector<Tensor> by_copy = features_of(made->model(), training_);
  for (size_t m = 0; m < by_copy.size(); ++m) {
    const Adapted::Member& member = made->model().members()[m];
    const std::vector<double> scores = member.scorer->score(by_copy[m]);
    double sum = 0;
    for (int64_t i = 0; i < kTraining; ++i) {
      const auto& held_out = made->held_out();
      if (!std::binary_search(held_out.begin(), held_out.end(), i)) sum += scores[static_cast<size_t>(i)];
    }
    EXPECT_NEAR(member.scale / (sum / static_cast<double>(made->adapted_count())), 1, 1e-12);
  }
  // One in ten of 18 images is one: the scale is its score against the other 17.
  const Case by_neighbours = cases()[2];
  const auto knn = fit(*device_, by_neighbours, options_of(by_neighbours));
  std::vector<int64_t> trained_on;
  for (int64_t i = 0; i < kTraining; ++i) {
    const auto& held_out = knn->held_out();
    if (!std::binary_search(held_out.begin(), held_out.end(), i)) trained_on.push_back(i);
  }
  const std::vector<Tensor> of_copies = features_of(knn->model(), training_);
  for (size_t m = 0; m < of_copies.size(); ++m) {
    const Adapted::Member& member = knn->model().members()[m];
    const Tensor& features = of_copies[m];
    Tensor rows(host(), DType::kF32, {knn->adapted_count(), features.shape()[1]}, "rows");
    for (size_t i = 0; i < trained_on.size(); ++i) {
      copy(features.view().rows(trained_on[i], trained_on[i] + 1),
           rows.view().rows(static_cast<int64_t>(i), static_cast<int64_t>(i) + 1));
    }
    const std::vector<double> left_out =
        FeatureScorer::fit(*device_, rows, knn->model().options().score).leave_one_out_scores(rows);
    EXPECT_EQ(std::count(left_out.begin(), left_out.end(), member.scale), 1);
  }
}

TEST_F(AdaptedFitTest, ScoresByTheLargestOfTheCopies) {
  const Case by_center = cases()[3];
  const auto made = fit(*device_, by_center, options_of(by_center));
  const std::vector<double> scores = scores_of(made->model(), test_, 12);
  std::vector<double> expected(12, -INFINITY);
  const std::vector<Tensor> features = features_of(made->model(), test_);
  for (size_t m = 0; m < features.size(); ++m) {
    const Adapted::Member& member = made->model().members()[m];
    const std::vector<double> of_member = member.scorer->score(features[m]);
    for (size_t i = 0; i < 12; ++i) expected[i] = std::max(expected[i], of_member[i] / member.scale);
  }
  EXPECT_EQ(scores, expected);
}

TEST_F(AdaptedFitTest, LogsTheRocaucOfDn2BeforeAndOfTheModelAfterTheTraining) {
  AdaptedFitRuntime runtime;
  runtime.log_test = &test_;
  for (const Case& tested : {cases()[0], cases()[1], cases()[4]}) {
    SCOPED_TRACE(tested.name);
    const auto made = fit(*device_, tested, options_of(tested), runtime);
    std::vector<uint8_t> labels;
    for (int64_t i = 0; i < test_.size(); ++i) labels.push_back(static_cast<uint8_t>(test_.sample(i).label));
    EXPECT_EQ(made->log().rows().back().auroc, auroc(scores_of(made->model(), test_, 12), labels));
    if (made->model().options().by_logit) continue;
    const Dn2 dn2 = Dn2::fit(*device_, weights_, training_, {{}, small_transform(), {}});
    EXPECT_EQ(made->log().rows().front().auroc, auroc(dn2.score(test_), labels));
  }
}

TEST_F(AdaptedFitTest, BringsFeaturesTogetherAndEwcLess) {
  const auto moved = [&](const Case& tested) {
    AdaptedFitOptions options = options_of(tested);
    options.adaptation.minibatches = 30;
    const auto made = fit(*device_, tested, options);
    return made->log().rows().back().distance / made->log().rows().front().distance;
  };
  const double early = moved(cases()[0]);
  const double ewc = moved(cases()[1]);
  EXPECT_LT(early, 0.9);
  EXPECT_LT(early, ewc);
}

TEST_F(AdaptedFitTest, TellsOutliersFromNormalImages) {
  const Case exposure = cases()[4];
  AdaptedFitOptions options = options_of(exposure);
  options.adaptation.minibatches = 20;
  options.adaptation.sgd.max_norm = 0;
  const auto made = fit(*device_, exposure, options);
  const std::vector<LogRow>& rows = made->log().rows();
  EXPECT_LT(rows.back().loss, 0.5 * rows[1].loss);
  const std::vector<double> scores = scores_of(made->model(), test_, 12);
  EXPECT_LT(*std::max_element(scores.begin(), scores.begin() + 6),
            *std::min_element(scores.begin() + 6, scores.end()));
}

TEST_F(AdaptedFitTest, LeaveOneOutVarianceAndItsGradientAreThoseOfTheDefinition) {
  const auto device = kernels::make_device({"reference", 1, ""});
  const AdaptationMethod method =
      joint_method(weights_, labelled_, "", 3, {JointVariant::kLeaveOneOut, CompactnessScale::kMean, 1}, 4);
  nn::ResnetConfig config = small_config();
  config.class_count = 3;
  nn::TrainableResnet network(*device, config, *method.network, nn::BatchNormMode::kEvaluation);
  network.train_stages({4}, true);
  const TrunkFeatures trunk(network, training_, small_transform(), {}, {}, nullptr);
  Minibatch minibatch;
  minibatch.normal = {1, 5, 7, 9};
  minibatch.auxiliary = {0, 4};  // of which only the number and the labels are looked at
  minibatch.rows = trunk.rows({1, 5, 7, 9, 2, 3});
  const auto objective = method.objective(network, Tensor());
  objective->begin(*device, minibatch);
  std::vector<double> logits;
  const auto loss = [&](bool gradients) {
    autograd::Workspace workspace(*device);
    autograd::Tape tape(workspace);
    const autograd::Variable features = trained_features(network, tape, tape.constant(minibatch.rows));
    const std::vector<LossTerm> terms = objective->losses(tape, features, minibatch);
    double sum = 0;
    for (int64_t i = 0; i < 6; ++i) {
      EXPECT_EQ(terms[0].weights[static_cast<size_t>(i)], i < 4 ? 0 : 1);
      sum += double{terms[1].weights[static_cast<size_t>(i)]} * terms[1].losses.view().data<float>()[i];
    }
    if (gradients) {
      tape.backward({{terms[1].losses, 1, Tensor::from<float>({6}, terms[1].weights.data())}});
    }
    return sum;
  };
  const double value = loss(true);
  const autograd::Parameter& weight = network.parameters().at("fc.weight");
  const float derivative = weight.gradient.data<float>()[3];

  // The definition, from the logits.
  {
    nn::Resnet plain(*device, config, network);
    nn::ResnetRequest request;
    request.logits = true;
    Tensor images(host(), DType::kF32, {4, 3, 32, 32}, "images");
    for (int64_t i = 0; i < 4; ++i)
      copy(small_transform().apply(training_.load(minibatch.normal[static_cast<size_t>(i)])),
           images.view().rows(i, i + 1));
    const Tensor x = plain.forward(images, request).logits;
    double expected = 0;
    for (int64_t i = 0; i < 4; ++i) {
      for (int64_t j = 0; j < 3; ++j) {
        double others = 0;
        for (int64_t o = 0; o < 4; ++o) others += o == i ? 0.0 : x.data<float>()[o * 3 + j] / 3.0;
        expected += std::pow((x.data<float>()[i * 3 + j] - others) / 4, 2);
      }
    }
    EXPECT_NEAR(value / expected, 1, 1e-5);
  }
  // The loss is a square of the weight: a central difference is exact but for rounding.
  const float middle = weight.value.data<float>()[3];
  weight.value.data<float>()[3] = middle + 0.25F;
  const double above = loss(false);
  weight.value.data<float>()[3] = middle - 0.25F;
  const double below = loss(false);
  EXPECT_NE(derivative, 0);
  EXPECT_NEAR((above - below) / 0.5 / derivative, 1, 1e-3);
}

TEST_F(AdaptedFitTest, RefusesWhatCannotBeFittedBeforeTheWork) {
  const Case early = cases()[0];
  const auto refused = [&](const Case& tested, const std::function<void(AdaptedFitOptions&)>& spoil) {
    AdaptedFitOptions options = options_of(tested);
    spoil(options);
    return message_of<InvalidArgument>(
        [&] { const AdaptedFit made(*device_, training_, tested.method(weights_), options, {}); });
  };
  EXPECT_NE(refused(early, [](auto& o) { o.held_out_images = 24; }).find("24 of 24 training images held out"),
            std::string::npos);
  EXPECT_NE(refused(early, [](auto& o) { o.model.score.k = 24; }).find("too few for k=24"),
            std::string::npos);
  EXPECT_NE(refused(early, [](auto& o) { o.model.false_alarm_rate = 0.01; }).find("cannot promise"),
            std::string::npos);
  EXPECT_NE(refused(cases()[2], [](auto& o) { o.adaptation.minibatches = 1; }).find("before the first copy"),
            std::string::npos);
  EXPECT_NE(refused(cases()[3], [](auto& o) { o.model.score.normalize = true; }).find("normalize"),
            std::string::npos);
  EXPECT_THROW((void)panda_method(weights_, "", {PandaVariant::kEwc, CompactnessScale::kMean, 1, ""}),
               InvalidArgument);
  EXPECT_THROW((void)joint_method(weights_, labelled_, "", 1, {}, 0), InvalidArgument);
  EXPECT_NE(message_of<InvalidArgument>([&] {
              (void)joint_method(weights_, labelled_, "", 2, {}, 0);
            }).find("labelled/2.png: class 2"),
            std::string::npos);
}

TEST_F(AdaptedFitTest, RefusesModelsThatContradictThemselves) {
  const Case ses = cases()[2];
  fit(*device_, ses, options_of(ses))->save(folder_.path("m"));
  const weights::SafetensorsFile whole(folder_.path("m"));
  // A model with one tensor in another's place or left out, or another field, under a digest of its own.
  const auto message = [&](const std::string& name, const Tensor& instead, const std::string& key = "",
                           const std::string& value = "") {
    TensorBundle bundle("changed");
    for (const TensorInfo& info : whole.list()) {
      if (info.name != name) bundle.add(info.name, whole.load(info.name));
    }
    if (instead.present()) bundle.add(name, instead);
    weights::Metadata fields = whole.metadata();
    if (!key.empty()) fields[key] = value;
    write_fitted_model(folder_.path("n"), "panda-ses", fields, bundle);
    return message_of<FormatError>([&] { (void)load_detector(*device_, folder_.path("n")); });
  };
  const std::vector<double> numbers = {1, -1, 2};
  EXPECT_EQ(message("none", Tensor()), "");  // what is not changed is taken
  EXPECT_NE(message("scales", Tensor::from<double>({3}, numbers.data())).find("3 scales for 2 members"),
            std::string::npos);
  EXPECT_NE(message("scales", Tensor::from<double>({2}, numbers.data())).find("a scale of -1"),
            std::string::npos);
  EXPECT_NE(message("reference.1", Tensor()).find("no tensor 'reference.1'"), std::string::npos);
  const Tensor narrow(host(), DType::kF32, {24, 2}, "reference");
  std::fill_n(narrow.data<float>(), narrow.numel(), 1.0F);
  EXPECT_NE(message("reference.0", narrow).find("reference.0 has 2 features"), std::string::npos);
  EXPECT_NE(message("member.1/layer4.0.conv1.weight", Tensor::from<double>({3}, numbers.data())), "");
  EXPECT_NE(message("none", Tensor(), "members", "3").find("2 scales for 3 members"), std::string::npos);
  EXPECT_NE(message("none", Tensor(), "option.by_logit", "1"), "");
  EXPECT_NE(message("calibration_scores", Tensor::from<double>({0}, numbers.data())).find("held out"),
            std::string::npos);
}

}  // namespace
}  // namespace panda::anomaly
