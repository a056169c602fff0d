// The fit that the adapting methods share: frozen trunk once, center, training with log and checkpoints,
// galleries of the adapted features, calibration.
//
// A part of the normal images is held out of the training (drawn by the seed) and calibrates the threshold:
// docs/decisions/adaptation.md. The gallery holds all training images.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "anomaly/adaptation.h"
#include "anomaly/adapted.h"
#include "anomaly/collapse_monitor.h"

namespace panda::anomaly {

/// What SES divides a copy's score by.
enum class ScaleRule : uint8_t {
  kOne,
  /// Section 3.2: the mean of |psi_t(x_i) - c|^2 over the images trained on.
  kCenterDistance,
  /// App. B.1: the mean score of a tenth of the images trained on (drawn by the seed, at least one) against
  /// the others.
  kLeftOutNeighbours,
};

struct AdaptedFitOptions {
  AdaptedOptions model;
  AdaptationOptions adaptation;
  ScaleRule scale = ScaleRule::kOne;
  TrunkCacheOptions cache;
  /// Normal images kept out of the training. Nothing: default_held_out of their number. 0: none, and there is
  /// no threshold.
  std::optional<int64_t> held_out_images;
};

/// What a method brings to the fit.
struct AdaptationMethod {
  /// All that the result depends on beside what AdaptedFit itself knows: goes into the model and is compared
  /// when a fit is resumed.
  weights::Metadata fields;
  /// The network, its head included if it has `class_count` classes.
  std::shared_ptr<const NamedTensors> network;
  int64_t class_count = 0;
  /// Makes what is minimised. center: f32 D, mean of the features of the images trained on, before training.
  std::function<std::unique_ptr<AdaptationObjective>(nn::TrainableResnet& network, const Tensor& center)>
      objective;
  /// Adds a penalty to the training; may be empty.
  std::function<nn::EwcPenalty(nn::TrainableResnet& network)> penalty;
  const data::ImageSet* auxiliary = nullptr;
  AuxiliaryDraw draw = AuxiliaryDraw::kFresh;
};

struct AdaptedFitRuntime {
  std::string checkpoint;  ///< where to keep the state of the training; "": nowhere
  bool resume = false;     ///< go on from it, if it is there
  /// Minibatches between checkpoints, or checkpoint_seconds, whichever is sooner; also when interrupted, and
  /// at the end.
  int64_t checkpoint_every = 200;
  double checkpoint_seconds = 300;
  int64_t log_every = 0;  ///< minibatches between measures of spread (and ROCAUC); 0: an epoch
  std::string log;        ///< where the log goes as CSV; "": nowhere
  /// Labelled images whose ROCAUC goes into the log; may be null. The fit looks at nothing of it.
  const data::ImageSet* log_test = nullptr;
};

class AdaptedFit {
 public:
  /// All must outlive it. Throws InvalidArgument before the work for too few images, and for options that
  /// exclude each other.
  AdaptedFit(Device& device, const data::ImageSet& training, AdaptationMethod method,
             const AdaptedFitOptions& options, FitManifest manifest, const ExtractOptions& extract = {},
             const AdaptedFitRuntime& runtime = {}, Progress* progress = nullptr);

  /// Trains and calibrates. Interrupted, it first writes the checkpoint.
  void run();
  /// After run. The same fit writes the same bytes, interrupted or not.
  void save(const std::string& path) const;

  [[nodiscard]] const Adapted& model() const { return *model_; }
  [[nodiscard]] const TrainingLog& log() const { return adaptation_->log(); }
  [[nodiscard]] int64_t adapted_count() const { return static_cast<int64_t>(trained_on_.size()); }
  [[nodiscard]] int64_t held_out_count() const { return static_cast<int64_t>(held_out_.size()); }
  /// Indices of the held-out images, rising.
  [[nodiscard]] const std::vector<int64_t>& held_out() const { return held_out_; }
  /// Minibatches that the checkpoint had.
  [[nodiscard]] int64_t resumed_at() const { return resumed_at_; }

 private:
  void check() const;
  [[nodiscard]] std::vector<int64_t> all_images() const;
  [[nodiscard]] weights::Metadata fit_fields() const;
  void prepare();
  void train();
  void observe();
  [[nodiscard]] std::vector<double> current_scores(const TrunkFeatures& trunk,
                                                   const std::vector<int64_t>& images);
  void save_state() const;
  void finish();
  /// The member of the network as it is now; adds its scores of the held-out images to `calibration`.
  [[nodiscard]] Adapted::Member make_member(std::vector<double>& calibration);
  [[nodiscard]] double scale_of(const Tensor& features, const FeatureScorer& scorer) const;
  [[nodiscard]] Tensor final_features();

  Device& device_;
  const data::ImageSet& training_;
  AdaptationMethod method_;
  AdaptedFitOptions options_;
  FitManifest manifest_;
  ExtractOptions extract_;
  AdaptedFitRuntime runtime_;
  Progress* progress_;
  std::vector<int64_t> held_out_;    // rising
  std::vector<int64_t> trained_on_;  // rising
  std::vector<int64_t> watched_;     // whose spread the log has
  std::unique_ptr<nn::TrainableResnet> network_;
  std::unique_ptr<TrunkFeatures> trunk_;
  std::unique_ptr<TrunkFeatures> auxiliary_trunk_;
  std::unique_ptr<TrunkFeatures> test_trunk_;
  Tensor exact_center_;  // f64 D, host
  Tensor center_;        // f32 D, on the device
  std::unique_ptr<AdaptationObjective> objective_;
  std::unique_ptr<Adaptation> adaptation_;
  std::vector<std::map<std::string, Tensor>> member_values_;  // trained parameters of each member
  std::unique_ptr<Adapted> model_;
  int64_t resumed_at_ = 0;
};

}  // namespace panda::anomaly
