// The detector of every method that adapts the network: PANDA-Early, -EWC and -SES, outlier exposure, joint
// optimisation.
//
// One or several members (SES keeps copies along the training; all others one), each a network with a score:
//
//   score(x) = max_t score_t(x) / scale_t
//
// where score_t is a rule of anomaly/scoring.h on the member's features, or the logit of its head
// (panda-oe), and scale_t = 1 but for SES. The model holds the adapted networks: scoring needs nothing else.
// Members share the frozen stages, which run once per image (nn/resnet.h, add_copy).
//
// Threshold: from normal images that the training did not see (docs/decisions/adaptation.md). The network
// knows the others, so their scores are too low, and leaving one out of the gallery does not help.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "anomaly/detector.h"
#include "anomaly/scoring.h"

namespace panda::anomaly {

/// "panda-early", "panda-ses", "panda-ewc", "panda-oe", "jo".
[[nodiscard]] bool is_adapted_method(const std::string& method);

struct AdaptedOptions {
  std::string method;
  ScoreOptions score;     ///< of features; not used with by_logit
  bool by_logit = false;  ///< the head's logit is the score
  data::ImageTransform transform;
  /// Nothing: 5 %, or the smallest rate that the held-out images can promise.
  std::optional<double> false_alarm_rate;
};

class Adapted final : public Detector {
 public:
  struct Member {
    std::optional<FeatureScorer> scorer;  ///< nothing with by_logit
    double scale = 1;
  };
  /// network: its copies are the members, in their order; one alone with by_logit.
  /// calibration_scores: of normal images that the training did not see, in any order; may be empty.
  Adapted(AdaptedOptions options, std::unique_ptr<nn::Resnet> network, std::vector<Member> members,
          int64_t training_count, std::vector<double> calibration_scores);

  /// Of a file that `save` wrote. Throws FormatError.
  [[nodiscard]] static Adapted load(Device& device, const FittedModelFile& file);
  /// network: all tensors of the first member's · trained: of each further member, the tensors that differ
  /// from it · fields: what the fit was made of, for the model's metadata.
  void save(const std::string& path, const NamedTensors& network,
            const std::vector<std::map<std::string, Tensor>>& trained, const weights::Metadata& fields) const;

  [[nodiscard]] std::string method() const override { return options_.method; }
  [[nodiscard]] std::string description() const override;
  [[nodiscard]] const data::ImageTransform& transform() const override { return options_.transform; }
  [[nodiscard]] const nn::ResnetConfig& architecture() const override { return network_->config(); }
  [[nodiscard]] int64_t training_count() const override { return training_count_; }
  void score_each(const data::ImageSet& images, const ExtractOptions& extract, const ScoreSink& sink,
                  Progress* progress) const override;
  [[nodiscard]] const std::optional<Threshold>& threshold() const override { return threshold_; }
  [[nodiscard]] Threshold threshold_for(double false_alarm_rate) const override;
  [[nodiscard]] std::string threshold_text(const Threshold& threshold) const override;

  [[nodiscard]] const AdaptedOptions& options() const { return options_; }
  [[nodiscard]] const std::vector<Member>& members() const { return members_; }
  [[nodiscard]] nn::Resnet& network() const { return *network_; }
  /// Rising.
  [[nodiscard]] const std::vector<double>& calibration_scores() const { return calibration_scores_; }

 private:
  /// A batch's scores, scales included.
  [[nodiscard]] std::vector<double> batch_scores(const data::Batch& batch,
                                                 const data::ImageSet& images) const;

  AdaptedOptions options_;
  std::unique_ptr<nn::Resnet> network_;
  std::vector<Member> members_;
  int64_t training_count_ = 0;
  std::vector<double> calibration_scores_;
  std::optional<Threshold> threshold_;
};

}  // namespace panda::anomaly
