// The charts of a report: inline SVG whose colours come from the page's style sheet (report_style.h).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "anomaly/ranking.h"

namespace panda::tools {

struct ChartSeries {
  std::string label;
  std::string css_class;  ///< "line-a" or "line-b"
  std::vector<anomaly::CurvePoint> points;
};

struct ChartMarker {
  std::string label;
  double x = 0;
  double y = 0;
};

struct LineChart {
  std::string title;
  std::string x_label;
  std::string y_label;
  double x_end = 1;  ///< the axis goes from 0 to here; y from 0 to 1
  bool diagonal = false;
  std::vector<ChartSeries> series;
  std::vector<ChartMarker> markers;
};
[[nodiscard]] std::string line_chart_svg(const LineChart& chart);

/// How many normal and anomalous images have which score, side by side in the same bins, with the threshold.
/// At least one score.
[[nodiscard]] std::string score_histogram_svg(const std::vector<double>& scores,
                                              const std::vector<uint8_t>& labels,
                                              std::optional<double> threshold);

}  // namespace panda::tools
