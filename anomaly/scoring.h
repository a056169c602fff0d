// Anomaly scores from features: how far an image lies from the normal ones. Higher is more anomalous.
//
// With D_1 <= ... <= D_k the squared L2 distances from a feature vector to its k nearest training vectors,
// and c the mean of all training vectors (DN2 of the PANDA paper, section 2.2, and its official code where
// they differ):
//
//   kKnnSumSq   sum_j D_j             the official code: it sums what faiss returns, which is squared
//   kKnnMean    1/k sum_j sqrt(D_j)   the paper: the average distance to the k nearest
//   kCenter     |x - c|^2             the paper's comparison in section 4.3.3, as the official compactness
//   measures it
//   kKmeans     min_j |x - c_j|^2     the paper's speed-up in section 4.3.3: the nearest of `clusters`
//   centers that K-means (kernels/kmeans.h) makes of the training vectors, in place of the vectors themselves
//   kMahalanobis  the squared length of the whitened x - c (anomaly/whitening.h), the paper's comparison with
//   whitening
//   kOneClassSvm  rho - sum_i a_i exp(-gamma |x - x_i|^2) (anomaly/one_class_svm.h), the method oc-svm
//
// The first two do not rank alike for k > 1. With `normalize` every vector is first divided by its L2 norm (a
// zero vector stays zero), so that D = 2 - 2 cos. Scores are f64, the same bits for any device, thread count
// and batch (kernels/knn.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "anomaly/one_class_svm.h"
#include "anomaly/whitening.h"
#include "kernels/knn.h"
#include "kernels/tensor/progress.h"
#include "kernels/tensor/tensor.h"

namespace panda::anomaly {

enum class ScoreRule : uint8_t { kKnnSumSq, kKnnMean, kCenter, kKmeans, kMahalanobis, kOneClassSvm };

/// "knn-sum-sq", "knn-mean", "center", "kmeans", "mahalanobis": what --score takes; "oc-svm".
[[nodiscard]] const char* score_rule_name(ScoreRule rule);
/// Inverse of score_rule_name; throws InvalidArgument.
[[nodiscard]] ScoreRule score_rule_from_name(const std::string& name);

struct ScoreOptions {
  ScoreRule rule = ScoreRule::kKnnSumSq;
  int64_t k = 2;  ///< neighbours; of the two kNN rules
  bool normalize = false;
  int64_t clusters = 0;             ///< of kKmeans
  uint64_t seed = 0;                ///< of kKmeans: of its start; of the folds that are left out
  WhiteningOptions whitening = {};  ///< of kMahalanobis
  OneClassSvmOptions svm = {};      ///< of kOneClassSvm
};

/// Parts of the training images that are left out in turn where leaving out single ones would cost too much
/// (fewer where there are fewer images).
inline constexpr int64_t kFolds = 10;

/// The fewest training images of a fit.
[[nodiscard]] int64_t smallest_fit(const ScoreOptions& options);
/// What asks for so many: "k=2", "clusters=50", "a center", "components=10", "a covariance".
[[nodiscard]] std::string smallest_fit_reason(const ScoreOptions& options);

/// The scores of `count` rows of neighbours. distances: f64 count,k, squared, dense, host-accessible · rule:
/// one of the two kNN rules.
[[nodiscard]] std::vector<double> knn_scores(ScoreRule rule, const ConstTensorView& distances);

/// What scoring needs of the training features.
class FeatureScorer {
 public:
  /// The reference of these training features. features: f32 n,d, dense, on any device; n >= k for the kNN
  /// rules, n >= 1 for kCenter, n >= clusters for kKmeans, n >= 2 and n > components for kMahalanobis. Throws
  /// InvalidArgument for fewer (naming n and k), and for a feature that is not finite.
  [[nodiscard]] static FeatureScorer fit(Device& device, const ConstTensorView& features,
                                         const ScoreOptions& options, Progress* progress = nullptr);
  /// From `reference()` of another scorer, on any device.
  FeatureScorer(Device& device, const ConstTensorView& reference, const ScoreOptions& options);

  /// kNN rules: the training features (normalised if so asked), f32 n,d. kCenter: their mean, f64 1,d.
  /// kKmeans: their centers, f32 clusters,d. kMahalanobis: Whitening::packed.
  /// kOneClassSvm: OneClassSvm::packed.
  [[nodiscard]] const Tensor& reference() const {
    return whitening_ ? whitening_->packed() : svm_ ? svm_->packed() : reference_;
  }
  [[nodiscard]] const ScoreOptions& options() const { return options_; }
  [[nodiscard]] int64_t feature_width() const {
    return whitening_ ? whitening_->feature_width() : svm_ ? svm_->feature_width() : reference_.shape()[1];
  }
  /// Of kMahalanobis; null otherwise.
  [[nodiscard]] const Whitening* whitening() const { return whitening_ ? &*whitening_ : nullptr; }
  /// Of kOneClassSvm; null otherwise.
  [[nodiscard]] const OneClassSvm* svm() const { return svm_ ? &*svm_ : nullptr; }

  /// One score per row. features: f32 nq,d, dense, on any device. Reports to `progress` and may be
  /// interrupted between blocks of rows.
  [[nodiscard]] std::vector<double> score(const ConstTensorView& features,
                                          Progress* progress = nullptr) const;

  /// The score of each training image against all the others: what it would have got had it been left out of
  /// the fit. features: those given to fit. kNN: k + 1 neighbours are searched and the image itself is
  /// dropped by its index (a copy of it elsewhere in the data is a neighbour like any other). kCenter: x_i -
  /// c_{-i} = n/(n-1) (x_i - c). kMahalanobis: Whitening::leave_one_out_scores where it can. Otherwise, and
  /// for kKmeans and kOneClassSvm: against a fit on the images outside its fold, one of kFolds that are drawn
  /// by the seed. Throws InvalidArgument unless n >= k + 1 (kCenter: n >= 2; the others: a fold leaves enough
  /// for a fit).
  [[nodiscard]] std::vector<double> leave_one_out_scores(const ConstTensorView& features,
                                                         Progress* progress = nullptr) const;
  /// The features as a scorer of these options sees them (normalised if so asked), f32 n,d on the host.
  [[nodiscard]] static Tensor host_features(Device& device, const ConstTensorView& features,
                                            const ScoreOptions& options);

  /// Whether n allows leave_one_out_scores.
  [[nodiscard]] static bool can_leave_one_out(int64_t n, const ScoreOptions& options);
  /// Whether leave_one_out_scores of n images leaves out folds and not single images.
  [[nodiscard]] bool leaves_out_folds(int64_t n) const;

 private:
  FeatureScorer(Device& device, const ScoreOptions& options) : device_(&device), options_(options) {}
  /// features on device_, normalised if so asked.
  [[nodiscard]] Tensor prepared(const ConstTensorView& features) const;
  /// Makes the gallery of the reference, for the rules that search it.
  void set_reference(Tensor reference);
  [[nodiscard]] std::vector<double> center_scores(const ConstTensorView& features) const;
  /// Of prepared features, at once.
  [[nodiscard]] std::vector<double> block_scores(const ConstTensorView& features) const;
  /// Centers of prepared features.
  [[nodiscard]] Tensor centers_of(const ConstTensorView& features, Progress* progress) const;
  [[nodiscard]] std::vector<double> left_out_fold_scores(const ConstTensorView& features,
                                                         Progress* progress) const;

  Device* device_;
  ScoreOptions options_;
  Tensor reference_;
  kernels::KnnGallery gallery_;
  std::optional<Whitening> whitening_;
  std::optional<OneClassSvm> svm_;
};

}  // namespace panda::anomaly
