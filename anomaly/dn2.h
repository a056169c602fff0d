// DN2: an image is as anomalous as its pretrained features are far from those of normal images.
//
// Two methods share this: dn2, and oc-svm, whose score is that of a one-class SVM (ScoreRule::kOneClassSvm).
//
// PANDA paper, section 2.2 and appendix B.1: pooled ResNet features, k = 2 nearest neighbours; no training at
// all. anomaly/scoring.h says what "far" is, docs/decisions/threshold.md what the threshold promises.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "anomaly/detector.h"
#include "anomaly/scoring.h"
#include "anomaly/threshold.h"

namespace panda::anomaly {

struct Dn2Options {
  ScoreOptions score;
  data::ImageTransform transform;
  /// Nothing: 5 %, or the smallest rate that the number of training images can promise.
  std::optional<double> false_alarm_rate;
};

/// "dn2" or "oc-svm", by the rule.
[[nodiscard]] const char* dn2_method(ScoreRule rule);
[[nodiscard]] bool is_dn2_method(const std::string& method);
/// What can be said of n training images before their features are there. Throws InvalidArgument.
void check_dn2(int64_t n, const Dn2Options& options);

/// What a model file holds beside the network.
struct Dn2State {
  Dn2Options options;
  Tensor reference;  ///< FeatureScorer::reference
  int64_t training_count = 0;
  std::vector<double> calibration_scores;
};
/// Throws FormatError.
[[nodiscard]] Dn2State read_dn2_state(const FittedModelFile& file);

class Dn2 final : public Detector {
 public:
  /// `weights` must outlive the model until it is saved: the network's tensors are copied from it, as they
  /// are stored. Throws FormatError for weights that are no ResNet, InvalidArgument for fewer images than k
  /// or clusters (naming both) and for a rate that so few images cannot promise; what loading an image
  /// throws.
  [[nodiscard]] static Dn2 fit(Device& device, const NamedTensors& weights, const data::ImageSet& training,
                               const Dn2Options& options, const ExtractOptions& extract = {},
                               Progress* progress = nullptr);

  /// The same with features that are there: those of extract_features, f32 n,d, of `network` and the
  /// training images.
  [[nodiscard]] static Dn2 fit_features(Device& device, std::unique_ptr<nn::Resnet> network,
                                        const Tensor& features, const Dn2Options& options,
                                        Progress* progress = nullptr);

  /// Of a file that `save` wrote. Throws FormatError.
  [[nodiscard]] static Dn2 load(Device& device, const FittedModelFile& file);

  /// Writes the model with its network; `weights` are those of fit. The same fit writes the same bytes.
  void save(const std::string& path, const NamedTensors& weights, const FitManifest& manifest) const;

  /// One score per image, in the set's order; higher is more anomalous. The bits do not depend on batch size,
  /// threads or the other images.
  [[nodiscard]] std::vector<double> score(const data::ImageSet& images, const ExtractOptions& extract = {},
                                          Progress* progress = nullptr) const;
  /// The same from features.
  [[nodiscard]] std::vector<double> score_features(const ConstTensorView& features,
                                                   Progress* progress = nullptr) const {
    return scorer_.score(features, progress);
  }

  /// The threshold of the fit; nothing where there are too few images to leave one out.
  [[nodiscard]] const std::optional<Threshold>& threshold() const override { return threshold_; }
  /// A threshold for another rate, from the same left-out scores. Throws InvalidArgument as
  /// conformal_threshold, or where there are none.
  [[nodiscard]] Threshold threshold_for(double false_alarm_rate) const override;
  [[nodiscard]] std::string threshold_text(const Threshold& threshold) const override;

  void score_each(const data::ImageSet& images, const ExtractOptions& extract, const ScoreSink& sink,
                  Progress* progress) const override;
  [[nodiscard]] std::string method() const override { return dn2_method(options_.score.rule); }
  [[nodiscard]] std::string description() const override;
  [[nodiscard]] const data::ImageTransform& transform() const override { return options_.transform; }

  [[nodiscard]] const Dn2Options& options() const { return options_; }
  [[nodiscard]] const FeatureScorer& scorer() const { return scorer_; }
  [[nodiscard]] const nn::ResnetConfig& architecture() const override { return network_->config(); }
  [[nodiscard]] int64_t training_count() const override { return training_count_; }
  /// Scores of the training images, each against the others, rising.
  [[nodiscard]] const std::vector<double>& calibration_scores() const { return calibration_scores_; }

 private:
  Dn2(std::unique_ptr<nn::Resnet> network, FeatureScorer scorer)
      : network_(std::move(network)), scorer_(std::move(scorer)) {}
  void set_threshold();

  std::unique_ptr<nn::Resnet> network_;
  FeatureScorer scorer_;
  Dn2Options options_;
  int64_t training_count_ = 0;
  std::vector<double> calibration_scores_;
  std::optional<Threshold> threshold_;
};

}  // namespace panda::anomaly
