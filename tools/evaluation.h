// A test run: every image scored, what the scores are worth, and the pictures worth looking at.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "anomaly/detector.h"
#include "anomaly/pixel_metrics.h"
#include "tools/map_pictures.h"

namespace panda::tools {

/// One image for people: the picture as the network saw it (at most 640 pixels along a side), beside what the
/// detector says.
struct ShownImage {
  std::string file;
  std::string kind;
  double score = 0;
  bool anomalous = false;  ///< the truth
  data::Image picture;     ///< RGB
  data::Image overlay;     ///< empty without a map
  data::Image truth;       ///< with the mask's outline; empty without one
};

/// The test images of one kind ("good", "scratch", ...).
struct KindResult {
  std::string name;
  bool anomalous = false;
  int64_t images = 0;
  int64_t flagged = 0;          ///< above the threshold
  std::optional<double> auroc;  ///< of images: this kind against all normal ones
  std::optional<double> pixel_auroc;
  std::optional<double> pro;
  int64_t regions = 0;
};

struct Evaluation {
  std::vector<std::string> files;  ///< of the images that were scored
  std::vector<double> scores;
  std::vector<uint8_t> labels;
  std::vector<std::string> maps;  ///< what MapWriter wrote, or empty
  anomaly::Ranking images;
  std::optional<anomaly::PixelMetricsResult> pixels;  ///< nothing without maps or masks
  std::vector<KindResult> kinds;                      ///< sorted by name
  int64_t normal = 0;
  int64_t anomalous = 0;
  // Against the threshold, if there is one.
  int64_t false_alarms = 0;
  int64_t found = 0;
  int64_t false_marks = 0;  ///< normal images with a pixel above the pixel threshold
  // Pictures: anomalies with the lowest scores, normal images with the highest, and of the anomalies that are
  // not among the former those with the highest.
  std::vector<ShownImage> missed;
  std::vector<ShownImage> alarms;
  std::vector<ShownImage> clearest;
  std::vector<std::string> left_out;  ///< why, for each image that could not be read
};

struct EvaluationOptions {
  std::optional<double> threshold;
  std::optional<double> pixel_threshold;
  std::optional<MapScale> scale;  ///< of overlays; nothing: none are made
  int64_t shown = 0;              ///< pictures of each sort to keep
  MapWriter* maps = nullptr;
  anomaly::PixelMetricsOptions pixels;
};

/// `device` ranks pixels. Memory grows with the images' scores and the kept pictures only (and the pixel
/// metrics' budget). Throws what scoring throws, and InvalidArgument naming a mask that does not fit its
/// image.
[[nodiscard]] Evaluation evaluate(Device& device, const anomaly::Detector& model,
                                  const data::ImageSet& images, const anomaly::ExtractOptions& extract,
                                  const EvaluationOptions& options, Progress* progress);

}  // namespace panda::tools
