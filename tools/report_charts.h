// The charts of a report: inline SVG whose colours come from the page's style sheet (report_style.h); and
// sheets of charts that stand alone.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "anomaly/ranking.h"

namespace panda::tools {

struct ChartSeries {
  std::string label;
  std::string css_class;  ///< "line-a", "line-b" or "line-c"
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
  double x_end = 1;  ///< the axis goes from 0 to here
  bool diagonal = false;
  std::vector<ChartSeries> series;
  std::vector<ChartMarker> markers;
  double y_low = 0;
  double y_high = 1;
};
[[nodiscard]] std::string line_chart_svg(const LineChart& chart);

/// Charts with their titles, two in a row, as a drawing that stands alone: it brings its colours, light and
/// dark. At least one.
[[nodiscard]] std::string chart_sheet_svg(const std::string& title, const std::vector<LineChart>& charts);

/// How many normal and anomalous images have which score, side by side in the same bins, with the threshold;
/// wide: twice as wide as a line chart. At least one score.
[[nodiscard]] std::string score_histogram_svg(const std::vector<double>& scores,
                                              const std::vector<uint8_t>& labels,
                                              std::optional<double> threshold, bool wide = false);

}  // namespace panda::tools
