#include "anomaly/dn2.h"

#include <algorithm>
#include <utility>

#include "anomaly/scoring_fields.h"
#include "kernels/tensor/error.h"

namespace panda::anomaly {

namespace {

constexpr double kDefaultFalseAlarmRate = 0.05;
constexpr const char* kNetworkPrefix = "network/";

/// Names of the tensors that features need.
std::vector<std::string> feature_tensors(const nn::ResnetConfig& config) {
  std::vector<std::string> names;
  for (const nn::ParameterInfo& parameter : nn::resnet_parameters(config)) names.push_back(parameter.name);
  return names;
}

}  // namespace

const char* dn2_method(ScoreRule rule) {
  return rule == ScoreRule::kOneClassSvm ? "oc-svm" : "dn2";
}

bool is_dn2_method(const std::string& method) {
  return method == "dn2" || method == "oc-svm";
}

void check_dn2(int64_t n, const Dn2Options& options) {
  const ScoreOptions& score = options.score;
  const std::string method = dn2_method(score.rule);
  PANDA_CHECK(n >= smallest_fit(score), method, ": ", n, " training image", n == 1 ? " is" : "s are",
              " fewer than ", smallest_fit_reason(score));
  if (!options.false_alarm_rate) return;
  const bool counted = score.rule == ScoreRule::kKnnSumSq || score.rule == ScoreRule::kKnnMean ||
                       score.rule == ScoreRule::kKmeans;
  PANDA_CHECK(FeatureScorer::can_leave_one_out(n, score), method, ": ", n, " training image",
              n == 1 ? " is" : "s are", " too few for a threshold",
              counted ? " with " + smallest_fit_reason(score) : std::string());
  static_cast<void>(
      conformal_threshold(std::vector<double>(static_cast<size_t>(n)), *options.false_alarm_rate));
}

Dn2 Dn2::fit(Device& device, const NamedTensors& weights, const data::ImageSet& training,
             const Dn2Options& options, const ExtractOptions& extract, Progress* progress) {
  check_dn2(training.size(), options);
  auto network = std::make_unique<nn::Resnet>(device, feature_config(weights, options.transform), weights);
  const Tensor features = extract_features(*network, training, options.transform, extract, progress);
  return fit_features(device, std::move(network), features, options, progress);
}

Dn2 Dn2::fit_features(Device& device, std::unique_ptr<nn::Resnet> network, const Tensor& features,
                      const Dn2Options& options, Progress* progress) {
  const int64_t n = features.shape()[0];
  check_dn2(n, options);
  network->release_activations();
  Dn2 model(std::move(network), FeatureScorer::fit(device, features, options.score, progress));
  model.options_ = options;
  model.training_count_ = n;
  if (FeatureScorer::can_leave_one_out(n, options.score)) {
    model.calibration_scores_ = model.scorer_.leave_one_out_scores(features, progress);
    std::sort(model.calibration_scores_.begin(), model.calibration_scores_.end());
  }
  model.set_threshold();
  return model;
}

void Dn2::set_threshold() {
  if (calibration_scores_.empty()) {
    PANDA_CHECK(!options_.false_alarm_rate, method(), ": ", training_count_,
                " training images are too few for a threshold");
    return;
  }
  const auto count = static_cast<int64_t>(calibration_scores_.size());
  threshold_ = conformal_threshold(
      calibration_scores_,
      options_.false_alarm_rate.value_or(std::max(kDefaultFalseAlarmRate, smallest_false_alarm_rate(count))));
}

Threshold Dn2::threshold_for(double false_alarm_rate) const {
  PANDA_CHECK(!calibration_scores_.empty(), method(), ": the model was fitted on ", training_count_,
              " images, too few for a threshold");
  return conformal_threshold(calibration_scores_, false_alarm_rate);
}

std::string Dn2::threshold_text(const Threshold& threshold) const {
  // Only neighbours and (nearly) the center promise this exactly:
  // docs/decisions/threshold.md.
  const ScoreRule rule = options_.score.rule;
  const bool about =
      rule == ScoreRule::kKmeans || rule == ScoreRule::kMahalanobis || rule == ScoreRule::kOneClassSvm;
  return (about ? "about, " : "") + threshold_meaning(threshold, scorer_.leaves_out_folds(training_count_)
                                                                     ? "that were left out by tenths"
                                                                     : "that were left out in turn");
}

void Dn2::save(const std::string& path, const NamedTensors& weights, const FitManifest& manifest) const {
  const ScoreOptions& score = options_.score;
  weights::Metadata fields;
  fields["arch"] = nn::describe(network_->config());
  put_score_options(fields, score);
  fields["training_count"] = std::to_string(training_count_);
  put_transform(fields, options_.transform);
  put_manifest(fields, manifest);
  if (threshold_) {
    fields["threshold.false_alarm_rate"] = field_text(threshold_->false_alarm_rate);
    fields["threshold.value"] = field_text(threshold_->value);
    fields["threshold.meaning"] = threshold_text(*threshold_);
  }

  TensorBundle tensors(path);
  // The channels of the file's first convolution: it is folded again when the model is loaded.
  nn::ResnetConfig stored = nn::detect_resnet(weights);
  stored.class_count = 0;
  tensors.add_from(kNetworkPrefix, weights, feature_tensors(stored));
  tensors.add(reference_kind(score.rule), clone_to(scorer_.reference(), host(), "gallery"));
  tensors.add("calibration_scores", Tensor::from<double>({static_cast<int64_t>(calibration_scores_.size())},
                                                         calibration_scores_.data()));
  write_fitted_model(path, method(), fields, tensors);
}

Dn2State read_dn2_state(const FittedModelFile& file) {
  if (!is_dn2_method(file.method())) {
    throw FormatError(file.source(),
                      text("a model of the method ", printable(file.method()), ", expected dn2"));
  }
  Dn2State state;
  state.options.score = get_score_options(file);
  if (file.method() != dn2_method(state.options.score.rule)) {
    throw FormatError(file.source(), text("a model of the method ", printable(file.method()),
                                          " that scores by ", score_rule_name(state.options.score.rule)));
  }
  state.options.transform = get_transform(file);
  if (file.has("threshold.false_alarm_rate")) {
    state.options.false_alarm_rate = file.real_field("threshold.false_alarm_rate");
  }
  state.reference = load_reference(file, reference_kind(state.options.score.rule), state.options.score.rule);
  state.training_count = file.integer_field("training_count", 1, INT64_MAX);
  const Tensor scores = file.load("calibration_scores", DType::kF64, 1);
  state.calibration_scores.assign(scores.data<double>(), scores.data<double>() + scores.numel());
  return state;
}

Dn2 Dn2::load(Device& device, const FittedModelFile& file) {
  const Dn2State state = read_dn2_state(file);
  const PrefixedTensors parameters(file.tensors(), kNetworkPrefix);
  const nn::ResnetConfig config = feature_config(parameters, state.options.transform);
  const ScoreOptions& score = state.options.score;
  check_reference_width(file, reference_kind(score.rule), score.rule, state.reference,
                        config.feature_channels());
  try {
    Dn2 model(std::make_unique<nn::Resnet>(device, config, parameters),
              FeatureScorer(device, state.reference, score));
    model.options_ = state.options;
    model.training_count_ = state.training_count;
    model.calibration_scores_ = state.calibration_scores;
    model.set_threshold();
    return model;
  } catch (const InvalidArgument& error) {
    throw FormatError(file.source(), error.what());
  }
}

std::vector<double> Dn2::score(const data::ImageSet& images, const ExtractOptions& extract,
                               Progress* progress) const {
  const Tensor features = extract_features(*network_, images, options_.transform, extract, progress);
  return scorer_.score(features, progress);
}

void Dn2::score_each(const data::ImageSet& images, const ExtractOptions& extract, const ScoreSink& sink,
                     Progress* progress) const {
  for_each_batch(images, options_.transform, extract, progress, [&](const data::Batch& batch) {
    const Tensor features = network_->features(batch.images);
    check_finite(features, batch, images);
    const std::vector<double> scores = scorer_.score(features);
    for (size_t i = 0; i < scores.size(); ++i)
      sink({batch.indices[i], scores[i], std::nullopt, std::nullopt});
  });
}

std::string Dn2::description() const {
  return text(method(), ": ", score_description(options_.score), "; ", nn::describe(architecture()));
}

}  // namespace panda::anomaly
