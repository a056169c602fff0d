// What a threshold that falls from above every score to below them does: ROC and precision-recall curves,
// ROCAUC, average precision, and the threshold of the best F1.
//
// Every distinct score is a threshold: at it, all that score at least as much are flagged. Counts are
// integers, sums have 106 bits and one rounding at the end.
//
//   ROCAUC             as anomaly/auroc.h
//   average precision  sum over the distinct scores of (recall - recall before) * precision, the step
//                      function's area (no interpolation)
//   F1                 2 tp / (2 tp + fp + fn)
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "anomaly/double_double.h"

namespace panda::anomaly {

/// x and y of a curve where the threshold is `score`.
struct CurvePoint {
  double x = 0;
  double y = 0;
  double score = 0;
};

/// Keeps as many of the points of a curve as a picture can show: one that lies less than a step from the last
/// kept one, in x and in y, is left out. The first and the last always stay.
class CurveSampler {
 public:
  explicit CurveSampler(double step) : step_(step) {}
  void add(const CurvePoint& point);
  [[nodiscard]] std::vector<CurvePoint> points() const;

 private:
  double step_;
  std::vector<CurvePoint> kept_;
  std::optional<CurvePoint> skipped_;
};

struct OperatingPoint {
  double threshold = 0;  ///< flagged: score > threshold
  double f1 = 0;
  double precision = 0;
  double recall = 0;
};

struct Ranking {
  int64_t anomalous = 0;
  int64_t normal = 0;
  // Nothing where the data cannot give it: without a normal (auroc), or without an anomalous.
  std::optional<double> auroc;
  std::optional<double> average_precision;
  /// Among equal F1 the one with the highest threshold.
  std::optional<OperatingPoint> best_f1;
  std::vector<CurvePoint> roc;               ///< x: false-positive rate, y: true-positive rate; from (0, 0)
  std::vector<CurvePoint> precision_recall;  ///< x: recall, y: precision
};

/// Takes the distinct scores from the highest to the lowest, with how many anomalous and normal have each.
class RankingSweep {
 public:
  /// How many there are in all. `curve_step`: see CurveSampler.
  RankingSweep(int64_t anomalous, int64_t normal, double curve_step = 1.0 / 512);
  void group(double score, int64_t tied_anomalous, int64_t tied_normal);
  /// After the last group.
  [[nodiscard]] Ranking result() const;

 private:
  int64_t anomalous_;
  int64_t normal_;
  int64_t true_positives_ = 0;
  int64_t false_positives_ = 0;
  int64_t twice_wins_ = 0;
  DoubleDouble precision_sum_;  // sum of tied anomalous * precision
  std::optional<OperatingPoint> best_;
  bool threshold_pending_ = false;  // best_->threshold is the next lower score
  double last_score_ = 0;
  CurveSampler roc_;
  CurveSampler precision_recall_;
};

/// Of all scores at once. Errors as count_pairs.
[[nodiscard]] Ranking rank_scores(std::span<const double> scores, std::span<const uint8_t> labels);

}  // namespace panda::anomaly
