#include "tools/report_charts.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/tensor/error.h"
#include "tools/axis_ticks.h"
#include "tools/output.h"
#include "tools/svg.h"

namespace panda::tools {

namespace {

// Pixels of a chart.
constexpr double kWidth = 440;
constexpr double kHeight = 330;
constexpr double kLeft = 50;
constexpr double kRight = 14;
constexpr double kTop = 26;
constexpr double kBottom = 46;
constexpr int kMostTicks = 6;

/// Colours of a sheet that stands alone, as report_style.h has them for pages; without variables, which not
/// every viewer of SVG knows.
constexpr const char* kSheetStyle =
    "svg{font-family:system-ui,'DejaVu Sans',sans-serif}.page{fill:#fff}"
    ".title{font-size:22px;font-weight:600;fill:#15181d}.heading{font-size:14px;font-weight:600;fill:#15181d}"
    ".grid{stroke:#e9ecf0}.axis{stroke:#5b6370}.tick{font-size:11.5px;fill:#5b6370}"
    ".axis-label{font-size:12px;fill:#5b6370}.legend,.note{font-size:12px;fill:#15181d}"
    ".line-a,.line-b,.line-c{fill:none;stroke-width:2.2;stroke-linejoin:round}.line-a{stroke:#2563eb}"
    ".line-b{stroke:#ea580c;stroke-dasharray:7 3}.line-c{stroke:#15803d;stroke-dasharray:2 3}"
    ".dot{stroke-dasharray:none}"
    "@media(prefers-color-scheme:dark){.page{fill:#191c22}.title,.heading,.legend,.note{fill:#eceef2}"
    ".grid{stroke:#262b34}.axis{stroke:#9aa3b2}.tick,.axis-label{fill:#9aa3b2}.line-a{stroke:#6ea0ff}"
    ".line-b{stroke:#ff9350}.line-c{stroke:#5fd38d}}";

/// The frame of a plot, and the way from values to pixels.
class Plot {
 public:
  Plot(double width, double height, double x_low, double x_high, double y_low, double y_high)
      : width_(width), height_(height), x_low_(x_low), x_high_(x_high), y_low_(y_low), y_high_(y_high) {}

  [[nodiscard]] double x(double value) const {
    return kLeft + (value - x_low_) / (x_high_ - x_low_) * (width_ - kLeft - kRight);
  }
  [[nodiscard]] double y(double value) const {
    return height_ - kBottom - (value - y_low_) / (y_high_ - y_low_) * (height_ - kTop - kBottom);
  }
  void axes(Svg& svg, const std::string& x_label, const std::string& y_label) const {
    const double x_step = tick_step(x_high_ - x_low_, kMostTicks);
    for (const double tick : ticks(x_low_, x_high_, x_step)) {
      svg.line(x(tick), y(y_low_), x(tick), kTop, "grid");
      svg.text(x(tick), y(y_low_) + 17, tick_text(tick, x_step), "tick", Svg::Anchor::kMiddle);
    }
    const double y_step = tick_step(y_high_ - y_low_, kMostTicks);
    for (const double tick : ticks(y_low_, y_high_, y_step)) {
      svg.line(kLeft, y(tick), width_ - kRight, y(tick), "grid");
      svg.text(kLeft - 7, y(tick) + 4, tick_text(tick, y_step), "tick", Svg::Anchor::kEnd);
    }
    svg.line(kLeft, y(y_low_), width_ - kRight, y(y_low_), "axis");
    svg.text((kLeft + width_ - kRight) / 2, height_ - 8, x_label, "axis-label", Svg::Anchor::kMiddle);
    svg.text(kLeft, kTop - 10, y_label, "axis-label");
  }

 private:
  double width_;
  double height_;
  double x_low_;
  double x_high_;
  double y_low_;
  double y_high_;
};

/// In the lower right corner, which rising curves leave free; without a y label, above the frame.
void draw_legend(Svg& svg, const Plot& plot, const LineChart& chart) {
  constexpr double kLineHeight = 17;
  constexpr double kLetter = 6.6;  // some pixels wide
  double line = plot.y(chart.y_low) - 12 - kLineHeight * (static_cast<double>(chart.series.size()) - 1);
  double end = kWidth - kRight - 10;
  if (chart.y_label.empty()) line = kTop - 10;
  for (auto series = chart.series.rbegin(); series != chart.series.rend(); ++series) {
    if (series->label.empty()) continue;
    const double y = chart.y_label.empty()
                         ? line
                         : line + kLineHeight * static_cast<double>(chart.series.rend() - series - 1);
    svg.text(end - 26, y, series->label, "legend", Svg::Anchor::kEnd);
    svg.line(end - 20, y - 4, end, y - 4, series->css_class);
    if (chart.y_label.empty()) end -= 44 + kLetter * static_cast<double>(series->label.size());
  }
}

void draw_line_chart(Svg& svg, const LineChart& chart) {
  const Plot plot(kWidth, kHeight, 0, chart.x_end, chart.y_low, chart.y_high);
  plot.axes(svg, chart.x_label, chart.y_label);
  if (chart.diagonal) svg.line(plot.x(0), plot.y(0), plot.x(chart.x_end), plot.y(1), "diagonal");
  for (const ChartSeries& series : chart.series) {
    std::vector<std::pair<double, double>> points;
    for (const anomaly::CurvePoint& point : series.points)
      points.emplace_back(plot.x(point.x), plot.y(point.y));
    svg.polyline(points, series.css_class);
    if (points.size() == 1)  // a line of one point would not be seen
      svg.circle(points[0].first, points[0].second, 3, series.css_class + " dot");
  }
  for (const ChartMarker& marker : chart.markers) {
    svg.circle(plot.x(marker.x), plot.y(marker.y), 5, "marker", marker.label);
    const bool right_half = marker.x > 0.55 * chart.x_end;
    const double y = marker.y > 0.9 ? plot.y(marker.y) + 20 : plot.y(marker.y) - 10;
    svg.text(plot.x(marker.x) + (right_half ? -9 : 9), y, marker.label, "note",
             right_half ? Svg::Anchor::kEnd : Svg::Anchor::kStart);
  }
  draw_legend(svg, plot, chart);
}

}  // namespace

std::string line_chart_svg(const LineChart& chart) {
  Svg svg(kWidth, kHeight, chart.title, "");
  draw_line_chart(svg, chart);
  return svg.document();
}

std::string chart_sheet_svg(const std::string& title, const std::vector<LineChart>& charts) {
  PANDA_CHECK(!charts.empty(), "chart sheet: no charts");
  constexpr double kMargin = 24;
  constexpr double kHeading = 64;
  constexpr double kCellHeight = kHeight + 34;
  const auto columns = std::min<double>(2, static_cast<double>(charts.size()));
  const double rows = std::ceil(static_cast<double>(charts.size()) / columns);
  const double width = 2 * kMargin + columns * kWidth + (columns - 1) * kMargin;
  const double height = kHeading + rows * kCellHeight + kMargin;
  Svg svg(width, height, title, kSheetStyle);
  svg.rect(0, 0, width, height, "page");
  svg.text(kMargin, 40, title, "title");
  for (size_t i = 0; i < charts.size(); ++i) {
    const double column = static_cast<double>(i % 2);
    const auto row = static_cast<double>(i / 2);
    svg.begin_group(kMargin + column * (kWidth + kMargin), kHeading + row * kCellHeight);
    svg.text(0, 16, charts[i].title, "heading");
    svg.begin_group(0, 16);
    draw_line_chart(svg, charts[i]);
    svg.end_group();
    svg.end_group();
  }
  return svg.document();
}

std::string score_histogram_svg(const std::vector<double>& scores, const std::vector<uint8_t>& labels,
                                std::optional<double> threshold, bool wide) {
  PANDA_CHECK(!scores.empty() && scores.size() == labels.size(), "histogram: ", scores.size(), " scores, ",
              labels.size(), " labels");
  double low = *std::min_element(scores.begin(), scores.end());
  double high = *std::max_element(scores.begin(), scores.end());
  if (threshold) {
    low = std::min(low, *threshold);
    high = std::max(high, *threshold);
  }
  const double room = high > low ? 0.02 * (high - low) : std::max(1e-6, 0.1 * std::abs(high));
  low -= room;
  high += room;
  const auto bins = static_cast<size_t>(
      std::clamp<int64_t>(2 * std::llround(std::sqrt(static_cast<double>(scores.size()))), 12, 40));
  std::array<std::vector<int64_t>, 2> counts = {std::vector<int64_t>(bins), std::vector<int64_t>(bins)};
  int64_t largest = 1;
  for (size_t i = 0; i < scores.size(); ++i) {
    const auto bin =
        std::min(bins - 1, static_cast<size_t>((scores[i] - low) / (high - low) * static_cast<double>(bins)));
    largest = std::max(largest, ++counts[labels[i]][bin]);
  }
  const double width = wide ? 2 * kWidth : kWidth;
  Svg svg(width, kHeight, "Scores of normal and anomalous images", "");
  const Plot plot(width, kHeight, low, high, 0, static_cast<double>(largest));
  plot.axes(svg, "score", "images");
  const double bin_width = (plot.x(high) - plot.x(low)) / static_cast<double>(bins);
  for (size_t kind = 0; kind < 2; ++kind) {
    for (size_t bin = 0; bin < bins; ++bin) {
      if (counts[kind][bin] == 0) continue;
      const double top = plot.y(static_cast<double>(counts[kind][bin]));
      const double left =
          plot.x(low) + static_cast<double>(bin) * bin_width + (kind == 0 ? 1 : bin_width / 2);
      svg.rect(left, top, std::max(1.0, bin_width / 2 - 1), plot.y(0) - top,
               kind == 0 ? "bar-normal" : "bar-anomalous");
    }
  }
  if (threshold) {
    const double x = plot.x(*threshold);
    const bool right_half = x > width / 2;
    svg.line(x, kTop, x, plot.y(0), "threshold");
    svg.text(right_half ? x - 6 : x + 6, kTop + 12, "threshold", "note",
             right_half ? Svg::Anchor::kEnd : Svg::Anchor::kStart);
  }
  return svg.document();
}

}  // namespace panda::tools
