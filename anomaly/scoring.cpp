#include "anomaly/scoring.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "anomaly/mean_of_rows.h"
#include "kernels/elementwise.h"
#include "kernels/kmeans.h"
#include "kernels/knn.h"
#include "kernels/reduce.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/random.h"

namespace panda::anomaly {

namespace {

/// Multiply-adds between two reports of progress: a fraction of a second on one core.
constexpr int64_t kWorkPerReport = int64_t{1} << 34;

/// Rows of queries searched at once: full blocks of the search, unless the gallery is so large that a report
/// would be long in coming.
int64_t query_rows(const kernels::KnnGallery& gallery) {
  const int64_t work_per_row = std::max<int64_t>(gallery.size() * gallery.dimension(), 1);
  return std::clamp<int64_t>(kWorkPerReport / work_per_row, 256, 8192);
}

/// Stream of the seed from which folds are drawn.
constexpr uint64_t kFoldStream = 0x6b666f6c64;

/// Whether the reference is searched: training vectors, or their centers.
bool searches(ScoreRule rule) {
  return rule == ScoreRule::kKnnSumSq || rule == ScoreRule::kKnnMean || rule == ScoreRule::kKmeans;
}

/// Whether single images can be left out at little cost: of kMahalanobis, with most options.
bool one_by_one(ScoreRule rule) {
  return rule != ScoreRule::kKmeans && rule != ScoreRule::kOneClassSvm;
}

/// The fold of each of n images, folds of (nearly) equal size, drawn by the seed.
std::vector<int64_t> draw_folds(int64_t n, int64_t folds, uint64_t seed) {
  const std::vector<int64_t> order = Random(seed, kFoldStream).permutation(n);
  std::vector<int64_t> fold_of(order.size());
  for (size_t p = 0; p < order.size(); ++p)
    fold_of[static_cast<size_t>(order[p])] = static_cast<int64_t>(p) % folds;
  return fold_of;
}

/// Rows of the reference that a score is made of.
int64_t searched_rows(const ScoreOptions& options) {
  return options.rule == ScoreRule::kKmeans ? 1 : options.k;
}

void check_options(const ScoreOptions& options) {
  if (options.rule == ScoreRule::kKmeans) {
    PANDA_CHECK(options.clusters >= 1, "scoring: clusters=", options.clusters, ", expected clusters >= 1");
  } else if (options.rule == ScoreRule::kMahalanobis) {
    check_whitening(options.whitening);
  } else if (options.rule == ScoreRule::kOneClassSvm) {
    check_one_class_svm(options.svm);
  } else {
    PANDA_CHECK(!searches(options.rule) || options.k >= 1, "scoring: k=", options.k, ", expected k >= 1");
  }
}

void check_features(const ConstTensorView& features) {
  PANDA_CHECK(
      features.shape().rank() == 2 && features.dtype() == DType::kF32 && features.layout() == Layout::kDense,
      "scoring: features are ", features.to_string(), ", expected f32 n,d");
}

Tensor on_host(const ConstTensorView& view) {
  return clone_to(view, host(), "features");
}

/// A view the host may read; `owner` keeps the copy where one is needed.
ConstTensorView host_view(const ConstTensorView& view, Tensor& owner) {
  if (view.device().host_accessible()) return view;
  owner = on_host(view);
  return owner;
}

void check_finite(const ConstTensorView& features) {
  Tensor copy;
  const ConstTensorView rows = host_view(features, copy);
  const auto* x = rows.data<float>();
  for (int64_t i = 0; i < rows.numel(); ++i) {
    PANDA_CHECK(std::isfinite(x[i]), "scoring: feature ", i % rows.shape()[1], " of image ",
                i / rows.shape()[1], " is ", x[i]);
  }
}

struct Neighbours {
  Tensor distances;  ///< f64 nq,k on the host
  Tensor indices;    ///< i64 nq,k on the host
};

Neighbours search(Device& device, const ConstTensorView& queries, const kernels::KnnGallery& gallery,
                  int64_t k) {
  const Shape shape{queries.shape()[0], k};
  Tensor distances(device, DType::kF64, shape, "knn distances");
  Tensor indices(device, DType::kI64, shape, "knn indices");
  kernels::knn_gallery_search(
      device, {.queries = queries, .gallery = &gallery, .k = k, .distances = distances, .indices = indices});
  device.synchronize();
  return {on_host(distances), on_host(indices)};
}

/// Row i of `all` (k + 1 neighbours, in order) without the image `self`: k distances. If copies of the image
/// fill the whole row, it is not in it, and the last one goes: all of them are at the same distance.
void drop_self(const double* all, const int64_t* indices, int64_t k, int64_t self, double* kept) {
  const int64_t* found = std::find(indices, indices + k, self);
  const int64_t position = found - indices;
  std::copy(all, all + position, kept);
  std::copy(all + position + 1, all + k + 1, kept + position);
}

}  // namespace

const char* score_rule_name(ScoreRule rule) {
  switch (rule) {
    case ScoreRule::kKnnSumSq:
      return "knn-sum-sq";
    case ScoreRule::kKnnMean:
      return "knn-mean";
    case ScoreRule::kKmeans:
      return "kmeans";
    case ScoreRule::kMahalanobis:
      return "mahalanobis";
    case ScoreRule::kOneClassSvm:
      return "oc-svm";
    case ScoreRule::kCenter:
      break;
  }
  return "center";
}

ScoreRule score_rule_from_name(const std::string& name) {
  for (const ScoreRule rule : {ScoreRule::kKnnSumSq, ScoreRule::kKnnMean, ScoreRule::kCenter,
                               ScoreRule::kKmeans, ScoreRule::kMahalanobis, ScoreRule::kOneClassSvm}) {
    if (name == score_rule_name(rule)) return rule;
  }
  throw InvalidArgument("unknown score rule '" + printable(name) +
                        "', expected knn-sum-sq, knn-mean, center, kmeans or mahalanobis");
}

int64_t smallest_fit(const ScoreOptions& options) {
  switch (options.rule) {
    case ScoreRule::kCenter:
    case ScoreRule::kOneClassSvm:
      return 1;
    case ScoreRule::kKmeans:
      return options.clusters;
    case ScoreRule::kMahalanobis:
      return std::max<int64_t>(2, options.whitening.components + 1);
    case ScoreRule::kKnnSumSq:
    case ScoreRule::kKnnMean:
      break;
  }
  return options.k;
}

std::string smallest_fit_reason(const ScoreOptions& options) {
  switch (options.rule) {
    case ScoreRule::kCenter:
      return "the 1 that a center needs";
    case ScoreRule::kOneClassSvm:
      return "the 1 that a machine needs";
    case ScoreRule::kKmeans:
      return text("clusters=", options.clusters);
    case ScoreRule::kMahalanobis:
      return options.whitening.components > 0
                 ? text("the ", smallest_fit(options), " that components=", options.whitening.components,
                        " needs")
                 : "the 2 that a covariance needs";
    case ScoreRule::kKnnSumSq:
    case ScoreRule::kKnnMean:
      break;
  }
  return text("k=", options.k);
}

std::vector<double> knn_scores(ScoreRule rule, const ConstTensorView& distances) {
  PANDA_CHECK(searches(rule), "knn_scores: the rule ", score_rule_name(rule), " takes no neighbours");
  PANDA_CHECK(distances.shape().rank() == 2 && distances.shape()[1] >= 1, "knn_scores: distances are ",
              distances.to_string(), ", expected f64 n,k");
  const auto* d = distances.data<double>();
  const int64_t k = distances.shape()[1];
  std::vector<double> scores(static_cast<size_t>(distances.shape()[0]));
  for (double& score : scores) {
    double sum = 0;
    for (int64_t j = 0; j < k; ++j) sum += rule == ScoreRule::kKnnMean ? std::sqrt(d[j]) : d[j];
    score = rule == ScoreRule::kKnnMean ? sum / static_cast<double>(k) : sum;
    d += k;
  }
  return scores;
}

FeatureScorer::FeatureScorer(Device& device, const ConstTensorView& reference, const ScoreOptions& options)
    : FeatureScorer(device, options) {
  check_options(options);
  if (options.rule == ScoreRule::kMahalanobis) {
    whitening_.emplace(clone_to(reference, host(), "whitening"));
    return;
  }
  if (options.rule == ScoreRule::kOneClassSvm) {
    svm_.emplace(clone_to(reference, host(), "support vectors"));
    return;
  }
  const DType dtype = searches(options.rule) ? DType::kF32 : DType::kF64;
  PANDA_CHECK(reference.shape().rank() == 2 && reference.dtype() == dtype, "scoring: the reference is ",
              reference.to_string(), ", expected ", dtype_name(dtype), " n,d");
  const int64_t rows = reference.shape()[0];
  if (options.rule == ScoreRule::kKmeans) {
    PANDA_CHECK(rows == options.clusters, "scoring: ", rows,
                " centers, expected clusters=", options.clusters);
  } else if (searches(options.rule)) {
    PANDA_CHECK(rows >= options.k, "scoring: ", rows, " training images are fewer than k=", options.k);
  } else {
    PANDA_CHECK(rows == 1, "scoring: the center has ", rows, " rows, expected 1");
  }
  set_reference(clone_to(reference, searches(options.rule) ? device : host(), "gallery"));
}

void FeatureScorer::set_reference(Tensor reference) {
  reference_ = std::move(reference);
  if (searches(options_.rule)) gallery_ = kernels::KnnGallery(*device_, reference_);
}

FeatureScorer FeatureScorer::fit(Device& device, const ConstTensorView& features, const ScoreOptions& options,
                                 Progress* progress) {
  check_options(options);
  check_features(features);
  const int64_t n = features.shape()[0];
  PANDA_CHECK(n >= 1, "scoring: there are no training images");
  PANDA_CHECK(n >= smallest_fit(options), "scoring: ", n, " training image", n == 1 ? "" : "s",
              n == 1 ? " is" : " are", " fewer than ", smallest_fit_reason(options));
  check_finite(features);
  FeatureScorer scorer(device, options);
  Tensor reference = scorer.prepared(features);
  if (options.rule == ScoreRule::kMahalanobis) {
    Tensor copy;
    scorer.whitening_ =
        Whitening::fit(host_view(reference, copy), options.whitening, device.threads(), progress);
    return scorer;
  }
  if (options.rule == ScoreRule::kOneClassSvm) {
    Tensor copy;
    scorer.svm_ = OneClassSvm::fit(host_view(reference, copy), options.svm, device.threads(), progress);
    return scorer;
  }
  if (options.rule == ScoreRule::kKmeans)
    reference = clone_to(scorer.centers_of(reference, progress), device, "centers");
  scorer.set_reference(searches(options.rule) ? reference
                                              : mean_of_rows(reference).reshaped({1, reference.shape()[1]}));
  return scorer;
}

Tensor FeatureScorer::centers_of(const ConstTensorView& features, Progress* progress) const {
  return kernels::kmeans(*device_, kernels::KmeansPoints::of(features),
                         {.k = options_.clusters, .seed = options_.seed}, progress)
      .centers;
}

Tensor FeatureScorer::prepared(const ConstTensorView& features) const {
  check_features(features);
  Tensor copy = clone_to(features, *device_, "features");
  if (options_.normalize) kernels::normalize_rows_forward(*device_, {copy, copy});
  return copy;
}

Tensor FeatureScorer::host_features(Device& device, const ConstTensorView& features,
                                    const ScoreOptions& options) {
  return on_host(FeatureScorer(device, options).prepared(features));
}

std::vector<double> FeatureScorer::center_scores(const ConstTensorView& features) const {
  Tensor copy;
  const ConstTensorView rows = host_view(features, copy);
  const auto* x = rows.data<float>();
  const auto* c = reference_.data<double>();
  const int64_t d = feature_width();
  std::vector<double> scores(static_cast<size_t>(rows.shape()[0]));
  for (double& score : scores) {
    for (int64_t j = 0; j < d; ++j) {
      const double difference = double{x[j]} - c[j];
      score += difference * difference;
    }
    x += d;
  }
  return scores;
}

std::vector<double> FeatureScorer::block_scores(const ConstTensorView& features) const {
  if (whitening_) {
    Tensor copy;
    return whitening_->scores(host_view(features, copy), device_->threads());
  }
  if (svm_) {
    Tensor copy;
    return svm_->scores(host_view(features, copy), device_->threads());
  }
  if (!searches(options_.rule)) return center_scores(features);
  return knn_scores(options_.rule, search(*device_, features, gallery_, searched_rows(options_)).distances);
}

std::vector<double> FeatureScorer::score(const ConstTensorView& features, Progress* progress) const {
  check_features(features);
  PANDA_CHECK(features.shape()[1] == feature_width(), "scoring: features have d=", features.shape()[1],
              " but the training features have d=", feature_width());
  const int64_t n = features.shape()[0];
  std::vector<double> scores;
  scores.reserve(static_cast<size_t>(n));
  const int64_t step = searches(options_.rule) ? query_rows(gallery_) : 256;
  for (int64_t begin = 0; begin < n; begin += step) {
    const int64_t end = std::min(n, begin + step);
    const Tensor queries = prepared(features.rows(begin, end));
    const std::vector<double> block = block_scores(queries);
    scores.insert(scores.end(), block.begin(), block.end());
    report_progress(progress, "scoring", end, n);
  }
  return scores;
}

bool FeatureScorer::can_leave_one_out(int64_t n, const ScoreOptions& options) {
  if (!one_by_one(options.rule) || options.rule == ScoreRule::kMahalanobis) {
    const int64_t folds = std::min(n, kFolds);
    return n >= 2 && n - (n + folds - 1) / folds >= smallest_fit(options);
  }
  return n > smallest_fit(options);
}

bool FeatureScorer::leaves_out_folds(int64_t n) const {
  return !one_by_one(options_.rule) || (whitening_ && !whitening_->can_downdate(n));
}

std::vector<double> FeatureScorer::left_out_fold_scores(const ConstTensorView& features,
                                                        Progress* progress) const {
  const int64_t n = features.shape()[0];
  const int64_t d = features.shape()[1];
  const int64_t folds = std::min(n, kFolds);
  const std::vector<int64_t> fold_of = draw_folds(n, folds, options_.seed);
  Tensor copy;
  if (svm_) {
    const Tensor all = prepared(features);
    return OneClassSvm::left_out_scores(host_view(all, copy), fold_of, folds, options_.svm,
                                        device_->threads(), progress);
  }
  const ConstTensorView rows = host_view(features, copy);
  const auto gather = [&](int64_t fold, bool inside) {
    std::vector<int64_t> images;
    for (int64_t i = 0; i < n; ++i) {
      if ((fold_of[static_cast<size_t>(i)] == fold) == inside) images.push_back(i);
    }
    Tensor part(host(), DType::kF32, {static_cast<int64_t>(images.size()), d}, "fold");
    for (size_t i = 0; i < images.size(); ++i)
      std::copy_n(rows.data<float>() + images[i] * d, d, part.data<float>() + static_cast<int64_t>(i) * d);
    return std::pair(std::move(images), std::move(part));
  };
  std::vector<double> scores(static_cast<size_t>(n));
  for (int64_t fold = 0; fold < folds; ++fold) {
    const FeatureScorer others = fit(*device_, gather(fold, false).second, options_);
    const auto [images, queries] = gather(fold, true);
    const std::vector<double> left_out = others.score(queries);
    for (size_t i = 0; i < images.size(); ++i) scores[static_cast<size_t>(images[i])] = left_out[i];
    report_progress(progress, "calibrating", fold + 1, folds);
  }
  return scores;
}

std::vector<double> FeatureScorer::leave_one_out_scores(const ConstTensorView& features,
                                                        Progress* progress) const {
  check_features(features);
  const int64_t n = features.shape()[0];
  PANDA_CHECK(can_leave_one_out(n, options_), "scoring: leaving one of ", n,
              " training images out leaves too few", options_.rule == ScoreRule::kCenter ? "" : " for ",
              options_.rule == ScoreRule::kCenter ? "" : smallest_fit_reason(options_));
  if (leaves_out_folds(n)) return left_out_fold_scores(features, progress);
  if (whitening_) {
    const Tensor all = prepared(features);
    Tensor copy;
    return whitening_->leave_one_out_scores(host_view(all, copy), device_->threads());
  }
  if (!searches(options_.rule)) {
    std::vector<double> scores = score(features, progress);
    const double factor = static_cast<double>(n) / static_cast<double>(n - 1);
    for (double& value : scores) value *= factor * factor;
    return scores;
  }
  const int64_t k = options_.k;
  PANDA_CHECK(reference_.shape() == features.shape(), "scoring: leaving one out of features ",
              features.shape(), " with a gallery of ", reference_.shape());
  std::vector<double> scores;
  scores.reserve(static_cast<size_t>(n));
  const int64_t step = query_rows(gallery_);
  for (int64_t begin = 0; begin < n; begin += step) {
    const int64_t end = std::min(n, begin + step);
    // The gallery holds the prepared training features in the same order.
    const Neighbours found = search(*device_, reference_.view().rows(begin, end), gallery_, k + 1);
    Tensor kept(host(), DType::kF64, {end - begin, k}, "knn distances");
    for (int64_t i = 0; i < end - begin; ++i) {
      drop_self(found.distances.data<double>() + i * (k + 1), found.indices.data<int64_t>() + i * (k + 1), k,
                begin + i, kept.data<double>() + i * k);
    }
    const std::vector<double> block = knn_scores(options_.rule, kept);
    scores.insert(scores.end(), block.begin(), block.end());
    report_progress(progress, "calibrating", end, n);
  }
  return scores;
}

}  // namespace panda::anomaly
