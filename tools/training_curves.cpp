#include "tools/training_curves.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>

#include "kernels/tensor/error.h"
#include "kernels/tensor/file.h"

namespace panda::tools {

namespace {

/// A chart is some 370 pixels wide: more points than this are noise.
constexpr size_t kMostPoints = 240;

struct Log {
  std::vector<std::string> names;
  std::vector<std::vector<double>> columns;  // NaN: empty
};

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> fields(1);
  for (const char c : line) {
    if (c == ',') {
      fields.emplace_back();
    } else if (c != '\r') {
      fields.back() += c;
    }
  }
  return fields;
}

double number(const std::string& field, const std::string& source, int64_t line) {
  if (field.empty()) return std::numeric_limits<double>::quiet_NaN();
  char* end = nullptr;
  const double value = std::strtod(field.c_str(), &end);
  if (end != field.c_str() + field.size() || !std::isfinite(value)) {
    throw FormatError(source,
                      text("line ", line, ": '", printable(field), "', expected a number or an empty field"));
  }
  return value;
}

Log parse(const std::string& csv, const std::string& source) {
  Log log;
  int64_t line_number = 0;
  for (size_t at = 0; at < csv.size();) {
    const size_t end = std::min(csv.find('\n', at), csv.size());
    const std::vector<std::string> fields = split(csv.substr(at, end - at));
    at = end + 1;
    if (++line_number == 1) {
      log.names = fields;
      log.columns.resize(fields.size());
      if (fields[0] != "minibatch" && fields[0] != "epoch") {
        throw FormatError(source, text("the first column is '", printable(fields[0]),
                                       "', expected minibatch or epoch: is this a training's log?"));
      }
      continue;
    }
    if (fields.size() != log.names.size()) {
      throw FormatError(
          source, text("line ", line_number, " has ", fields.size(), " fields, expected ", log.names.size()));
    }
    for (size_t i = 0; i < fields.size(); ++i)
      log.columns[i].push_back(number(fields[i], source, line_number));
    if (std::isnan(log.columns[0].back())) {
      throw FormatError(source,
                        text("line ", line_number, " has no ", log.names[0], ", expected one in every row"));
    }
  }
  if (log.names.empty()) throw FormatError(source, "is empty, expected the heading of a training's log");
  return log;
}

std::vector<anomaly::CurvePoint> points_of(const std::vector<double>& x, const std::vector<double>& y) {
  std::vector<anomaly::CurvePoint> all;
  for (size_t i = 0; i < y.size(); ++i) {
    if (!std::isnan(y[i])) all.push_back({x[i], y[i]});
  }
  const size_t together = (all.size() + kMostPoints - 1) / kMostPoints;
  if (together <= 1) return all;
  std::vector<anomaly::CurvePoint> means;
  for (size_t first = 0; first < all.size(); first += together) {
    const size_t count = std::min(together, all.size() - first);
    anomaly::CurvePoint mean;
    for (size_t i = first; i < first + count; ++i) {
      mean.x += all[i].x / static_cast<double>(count);
      mean.y += all[i].y / static_cast<double>(count);
    }
    means.push_back(mean);
  }
  return means;
}

bool worth_a_chart(const std::vector<anomaly::CurvePoint>& points) {
  return std::any_of(points.begin(), points.end(),
                     [](const anomaly::CurvePoint& point) { return point.y != 0; });
}

/// The axis: from 0 where the values come near it, else around them, so wide that a change of a hundredth
/// does not look like one of everything.
void set_range(LineChart& chart) {
  constexpr double kLeastRange = 0.02;
  double low = std::numeric_limits<double>::infinity();
  double high = -low;
  for (const ChartSeries& series : chart.series) {
    for (const anomaly::CurvePoint& point : series.points) {
      low = std::min(low, point.y);
      high = std::max(high, point.y);
    }
  }
  if (low >= 0 && low < 0.4 * high) low = 0;
  const double room =
      std::max({0.06 * (high - low), (kLeastRange * std::abs(high) - (high - low)) / 2, 1e-9});
  chart.y_low = low == 0 ? 0 : low - room;
  chart.y_high = high + room;
}

std::string title_of(const std::string& column) {
  static const std::map<std::string, std::string> kTitles = {
      {"loss", "Loss"},
      {"penalty", "Penalty on changed weights"},
      {"gradient_norm", "Norm of the gradient"},
      {"s", "Mean squared distance to the center"},
      {"effective_rank", "Effective rank of the features"},
      {"auroc", "ROCAUC of the test split"},
      {"rate", "Learning rate"},
      {"top1", "Images classified right"}};
  const auto found = kTitles.find(column);
  return found == kTitles.end() ? "Part of the loss: " + column : found->second;
}

/// Columns with a chart of their own; the others are parts of the loss.
bool is_part_of_loss(const std::string& column) {
  return title_of(column).rfind("Part of", 0) == 0;
}

}  // namespace

std::vector<LineChart> training_charts(const std::string& csv, const std::string& source) {
  const Log log = parse(csv, source);
  const auto parts = std::count_if(log.names.begin() + 1, log.names.end(), is_part_of_loss);
  std::vector<LineChart> charts;
  for (size_t i = 1; i < log.names.size(); ++i) {
    const std::string& name = log.names[i];
    ChartSeries series{"", "line-a", points_of(log.columns[0], log.columns[i])};
    if (!worth_a_chart(series.points)) continue;
    // A single part is the loss but for the penalty, which has its own chart.
    if (is_part_of_loss(name) && parts == 1 && !charts.empty()) continue;
    if (is_part_of_loss(name) && !charts.empty() && charts[0].title == title_of("loss") &&
        charts[0].series.size() < 3) {
      charts[0].series[0].label = "loss";
      series.label = name;
      series.css_class = charts[0].series.size() == 1 ? "line-b" : "line-c";
      charts[0].series.push_back(std::move(series));
      continue;
    }
    const double end = *std::max_element(log.columns[0].begin(), log.columns[0].end());
    charts.push_back({title_of(name), log.names[0], "", end, false, {std::move(series)}, {}});
  }
  for (LineChart& chart : charts) set_range(chart);
  return charts;
}

void write_training_curves(const std::string& path, const std::string& title, const std::string& csv) {
  const std::vector<LineChart> charts = training_charts(csv, "the log of " + title);
  if (charts.empty()) throw FormatError("the log of " + title, "has no number, expected one at least");
  AtomicFile file(path);
  file.write(chart_sheet_svg(title, charts));
  file.commit();
}

}  // namespace panda::tools
