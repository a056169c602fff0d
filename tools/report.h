// The report of a test run: one HTML file that holds everything it shows. It loads nothing, runs no script,
// follows the reader's light or dark mode, and prints.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tools/evaluation.h"
#include "tools/report_charts.h"
#include "tools/stage_times.h"

namespace panda::tools {

struct ReportInput {
  std::string title;
  std::string data;    ///< the data set in words
  std::string method;  ///< the detector in words
  std::optional<double> threshold;
  std::string threshold_text;        ///< what it promises, or that there is none
  std::string pixel_threshold_text;  ///< "" without maps
  std::optional<MapScale> scale;     ///< of the overlays
  double fpr_limit = 0.3;
  int64_t training_count = 0;
  std::vector<LineChart> training;                      ///< curves of the fit, if there is a log
  std::vector<std::pair<std::string, double>> seconds;  ///< by stage
  int64_t peak_memory_bytes = 0;
  std::vector<std::pair<std::string, std::string>> manifest;  ///< what it takes to do it again
};

/// ReportInput::threshold_text where there is none.
inline constexpr const char* kNoThreshold = "there is no threshold";

/// What a report says of the model (method, thresholds and scale of its fit) and of this process (times, peak
/// memory); title, data and manifest are the caller's.
[[nodiscard]] ReportInput report_of(const anomaly::Detector& model, const StageTimes& times);

/// The document. All text is escaped; pictures are JPEG inside data: addresses.
[[nodiscard]] std::string report_html(const ReportInput& input, const Evaluation& evaluation);

}  // namespace panda::tools
