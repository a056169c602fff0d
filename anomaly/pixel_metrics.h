// How well maps of scores find the anomalous pixels: pixel ROCAUC and PRO, exact and in bounded memory.
//
// All pixels of all images count together, and every distinct score is a threshold. Pixels are sorted once,
// on the device, in runs on disk where they exceed the budget; counts are integers, sums have 106 bits and
// one rounding at the end: the same bits on every device and for every budget.
//
//   pixel ROCAUC  P(score of an anomalous pixel > score of a normal pixel), ties half (PANDA paper, App. E)
//   PRO           the mean over all regions (8-connected components of the masks) of the share of the region
//                 that is flagged, as a function of the share of all normal pixels (of all images, normal
//                 ones too) that is flagged; the area under it from 0 to `fpr_limit`, divided by the limit.
//
// PRO comes in the two definitions of MVTec's evaluation code:
//
//   pro               every distinct score is a threshold, the curve begins at (0, 0), straight lines between
//                     thresholds, also at the limit (MVTec LOCO AD's evaluation, exact)
//   pro_evenly_spaced `threshold_count` thresholds at evenly spaced places among the sorted scores of the
//                     normal pixels, position p_i = trunc(i (N - 1) / (count - 1)); above threshold s_p a
//                     share 1 - (p + 1) / N of the normal pixels counts as flagged, ties notwithstanding, and
//                     of the regions what is strictly above it; the curve begins at (0, y of the highest
//                     threshold) and ends at (1, 1) (MVTec AD's and MVTec 3D-AD's evaluation)
//
// Both agree as the number of distinct scores grows. tests/golden/metrics holds cases that pin them down.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "anomaly/ranking.h"
#include "anomaly/record_sorter.h"
#include "kernels/tensor/progress.h"

namespace panda::anomaly {

struct PixelMetricsOptions {
  double fpr_limit = 0.3;
  int64_t threshold_count = 5000;  ///< of pro_evenly_spaced, at least 2
  int64_t memory_bytes = int64_t{256} << 20;
  std::string scratch_directory = "/tmp";
};

/// The pixels of one kind of defect, against the normal pixels of all images.
struct KindMetrics {
  int64_t images = 0;
  int64_t regions = 0;
  int64_t anomalous_pixels = 0;
  std::optional<double> auroc;
  std::optional<double> pro;
};

struct PixelMetricsResult {
  Ranking pixels;
  int64_t regions = 0;
  // Nothing without a region or without a normal pixel.
  std::optional<double> pro;
  std::optional<double> pro_evenly_spaced;
  std::vector<CurvePoint> pro_curve;  ///< x: false-positive rate up to the limit, y: mean overlap
  std::vector<KindMetrics> kinds;
};

class PixelMetrics {
 public:
  /// `device` sorts, and must outlive this · `kind_count`: kinds of images, 0 .. kind_count - 1. Throws
  /// InvalidArgument for a limit outside (0, 1] or fewer than two thresholds.
  PixelMetrics(Device& device, const PixelMetricsOptions& options, int64_t kind_count = 1);

  /// scores, mask: height x width, row-major; mask: not 0 where anomalous. Throws InvalidArgument for other
  /// sizes, a kind out of range, and a NaN (naming image and pixel).
  void add(std::span<const float> scores, std::span<const uint8_t> mask, int64_t height, int64_t width,
           int64_t kind = 0);

  /// Once, after the last image. O(n log n) time; reports as "ranking pixels".
  [[nodiscard]] PixelMetricsResult finish(Progress* progress = nullptr);

  [[nodiscard]] int64_t image_count() const { return image_count_; }

 private:
  struct Region {
    int64_t size = 0;
    int64_t kind = 0;
  };
  struct Sweep;
  /// Normal pixels whose keys are at least `least`, none of which an anomalous pixel has.
  void pass_normal(int32_t least, Sweep& sweep);

  PixelMetricsOptions options_;
  // Keys rise with scores. A normal pixel is its key alone: there are many of them.
  RecordSorter<int32_t> normal_;
  RecordSorter<int64_t> anomalous_;  // key 2^32 + region, regions from 0
  std::vector<Region> regions_;
  std::vector<KindMetrics> kinds_;
  int64_t normal_pixels_ = 0;
  int64_t anomalous_pixels_ = 0;
  int64_t image_count_ = 0;
};

}  // namespace panda::anomaly
