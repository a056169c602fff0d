#include "anomaly/ranking.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "anomaly/auroc.h"
#include "kernels/tensor/checked_math.h"

namespace panda::anomaly {

void CurveSampler::add(const CurvePoint& point) {
  if (kept_.empty() || std::abs(point.x - kept_.back().x) >= step_ ||
      std::abs(point.y - kept_.back().y) >= step_) {
    kept_.push_back(point);
    skipped_.reset();
  } else {
    skipped_ = point;
  }
}

std::vector<CurvePoint> CurveSampler::points() const {
  std::vector<CurvePoint> all = kept_;
  if (skipped_) all.push_back(*skipped_);
  return all;
}

RankingSweep::RankingSweep(int64_t anomalous, int64_t normal, double curve_step)
    : anomalous_(anomalous), normal_(normal), roc_(curve_step), precision_recall_(curve_step) {
  // Bounds every sum below.
  static_cast<void>(checked_mul(2, checked_mul(anomalous, normal)));
  roc_.add({0, 0, std::numeric_limits<double>::infinity()});
}

void RankingSweep::group(double score, int64_t tied_anomalous, int64_t tied_normal) {
  if (threshold_pending_) best_->threshold = score;
  threshold_pending_ = false;
  last_score_ = score;
  const int64_t normal_below = normal_ - false_positives_ - tied_normal;
  twice_wins_ += tied_anomalous * (2 * normal_below + tied_normal);
  true_positives_ += tied_anomalous;
  false_positives_ += tied_normal;

  const auto found = static_cast<double>(true_positives_);
  const double precision = found / static_cast<double>(true_positives_ + false_positives_);
  if (normal_ > 0 && anomalous_ > 0) {
    roc_.add({static_cast<double>(false_positives_) / static_cast<double>(normal_),
              found / static_cast<double>(anomalous_), score});
  }
  if (anomalous_ == 0) return;
  const double recall = found / static_cast<double>(anomalous_);
  precision_recall_.add({recall, precision, score});
  if (tied_anomalous > 0) {
    precision_sum_ =
        precision_sum_ + DoubleDouble(static_cast<double>(tied_anomalous)) * DoubleDouble(found) /
                             DoubleDouble(static_cast<double>(true_positives_ + false_positives_));
  }
  const double f1 = 2 * found / static_cast<double>(true_positives_ + false_positives_ + anomalous_);
  if (!best_ || f1 > best_->f1) {
    best_ = {score, f1, precision, recall};
    threshold_pending_ = true;
  }
}

Ranking RankingSweep::result() const {
  PANDA_INTERNAL_ASSERT(true_positives_ == anomalous_ && false_positives_ == normal_,
                        "ranking: ", true_positives_, " + ", false_positives_, " of ", anomalous_, " + ",
                        normal_);
  Ranking ranking;
  ranking.anomalous = anomalous_;
  ranking.normal = normal_;
  ranking.roc = roc_.points();
  ranking.precision_recall = precision_recall_.points();
  if (anomalous_ == 0) return ranking;
  const auto anomalous = static_cast<double>(anomalous_);
  ranking.average_precision = (precision_sum_ / DoubleDouble(anomalous)).rounded();
  ranking.best_f1 = best_;
  if (threshold_pending_) {
    ranking.best_f1->threshold = std::nextafter(last_score_, -std::numeric_limits<double>::infinity());
  }
  if (normal_ > 0) {
    ranking.auroc = static_cast<double>(twice_wins_) / (2.0 * anomalous * static_cast<double>(normal_));
  }
  return ranking;
}

Ranking rank_scores(std::span<const double> scores, std::span<const uint8_t> labels) {
  const PairCounts counts = count_pairs(scores, labels);  // checks the input
  std::vector<std::pair<double, uint8_t>> ranked(scores.size());
  for (size_t i = 0; i < scores.size(); ++i) ranked[i] = {scores[i], labels[i]};
  std::sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  RankingSweep sweep(counts.anomalous, counts.normal);
  for (size_t begin = 0; begin < ranked.size();) {
    size_t end = begin;
    int64_t tied[2] = {0, 0};
    for (; end < ranked.size() && ranked[end].first == ranked[begin].first; ++end) ++tied[ranked[end].second];
    sweep.group(ranked[begin].first, tied[1], tied[0]);
    begin = end;
  }
  return sweep.result();
}

}  // namespace panda::anomaly
