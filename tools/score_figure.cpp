#include "tools/score_figure.h"

#include <algorithm>
#include <cmath>

#include "kernels/tensor/error.h"
#include "tools/axis_ticks.h"
#include "tools/output.h"
#include "tools/svg.h"

namespace panda::tools {

namespace {

// Pixels of the drawing.
constexpr double kWidth = 960;
constexpr double kMargin = 32;
constexpr double kPlotTop = 92;
constexpr double kPlotHeight = 84;
constexpr double kSheetTop = kPlotTop + kPlotHeight + 78;
constexpr int kColumns = 8;
constexpr double kThumbnail = 104;
constexpr double kCellWidth = (kWidth - 2 * kMargin) / kColumns;
constexpr double kCellHeight = kThumbnail + 44;
constexpr int kMostTicks = 5;

// Blue and orange are told apart by people who do not tell red from green, and by shape besides.
constexpr const char* kStyle =
    "svg{font-family:system-ui,'DejaVu Sans',sans-serif;background:#fff}"
    ".title{font-size:22px;font-weight:600;fill:#111}.sub,.label{font-size:13px;fill:#555}.kind{font-size:"
    "12px;fill:#222}"
    ".score{font-size:11px;fill:#666}.axis{stroke:#999;stroke-width:1}.grid{stroke:#e3e3e3;stroke-width:1}"
    ".normal{fill:#2563eb;fill-opacity:.75}.anomalous{fill:#ea580c;fill-opacity:.8}"
    ".threshold{stroke:#111;stroke-width:1.5;stroke-dasharray:5 4}"
    ".frame-normal{fill:none;stroke:#2563eb;stroke-width:1.5}.frame-anomalous{fill:none;stroke:#ea580c;"
    "stroke-width:1.5}"
    ".flagged{stroke-width:5}"
    "@media(prefers-color-scheme:dark){svg{background:#14161a}.title{fill:#eee}.sub,.label,.score{fill:#aaa}."
    "kind{fill:#ddd}"
    ".grid{stroke:#2c3036}.axis{stroke:#777}.threshold{stroke:#eee}}";

class ScoreAxis {
 public:
  explicit ScoreAxis(const ScoreFigure& figure) {
    low_ = high_ = figure.pictures.front().score;
    for (const ScoredPicture& picture : figure.pictures) {
      low_ = std::min(low_, picture.score);
      high_ = std::max(high_, picture.score);
    }
    if (figure.threshold) {
      low_ = std::min(low_, *figure.threshold);
      high_ = std::max(high_, *figure.threshold);
    }
    const double room = high_ > low_ ? 0.04 * (high_ - low_) : std::max(1.0, std::abs(high_)) * 0.1;
    low_ -= room;
    high_ += room;
  }
  [[nodiscard]] double x(double score) const {
    return kMargin + (score - low_) / (high_ - low_) * (kWidth - 2 * kMargin);
  }
  [[nodiscard]] double low() const { return low_; }
  [[nodiscard]] double high() const { return high_; }

 private:
  double low_;
  double high_;
};

void draw_axis(Svg& svg, const ScoreFigure& figure, const ScoreAxis& axis) {
  const double bottom = kPlotTop + kPlotHeight;
  const double step = tick_step(axis.high() - axis.low(), kMostTicks);
  for (const double tick : ticks(axis.low(), axis.high(), step)) {
    svg.line(axis.x(tick), kPlotTop, axis.x(tick), bottom, "grid");
    svg.text(axis.x(tick), bottom + 17, tick_text(tick, step), "label", Svg::Anchor::kMiddle);
  }
  svg.line(kMargin, bottom, kWidth - kMargin, bottom, "axis");
  svg.text(kMargin, bottom + 38, figure.score_label, "label");
  const double legend = kWidth - kMargin - 190;
  svg.circle(legend, bottom + 34, 5, "normal");
  svg.text(legend + 10, bottom + 38, "normal", "label");
  svg.triangle(legend + 90, bottom + 34, 11, "anomalous");
  svg.text(legend + 102, bottom + 38, "anomalous", "label");
}

void draw_scores(Svg& svg, const ScoreFigure& figure, const ScoreAxis& axis) {
  // Two rows, one a kind, with a small fixed stagger so that equal scores stay visible.
  int counts[2] = {0, 0};
  for (const ScoredPicture& picture : figure.pictures) {
    const int row = picture.anomalous ? 0 : 1;
    const double y = kPlotTop + kPlotHeight * (row == 0 ? 0.28 : 0.72) + (counts[row]++ % 3 - 1) * 6;
    const std::string tooltip = text(picture.name, ": ", shortest_number(picture.score));
    if (picture.anomalous) {
      svg.triangle(axis.x(picture.score), y, 11, "anomalous", tooltip);
    } else {
      svg.circle(axis.x(picture.score), y, 5, "normal", tooltip);
    }
  }
  if (!figure.threshold) return;
  const double x = axis.x(*figure.threshold);
  svg.line(x, kPlotTop - 8, x, kPlotTop + kPlotHeight, "threshold");
  const bool right_half = x > kWidth / 2;
  svg.text(right_half ? x - 6 : x + 6, kPlotTop - 2, "threshold", "label",
           right_half ? Svg::Anchor::kEnd : Svg::Anchor::kStart);
}

void draw_pictures(Svg& svg, const ScoreFigure& figure) {
  std::vector<const ScoredPicture*> order;
  for (const ScoredPicture& picture : figure.pictures) order.push_back(&picture);
  std::stable_sort(order.begin(), order.end(),
                   [](const ScoredPicture* a, const ScoredPicture* b) { return a->score > b->score; });
  for (size_t i = 0; i < order.size(); ++i) {
    const ScoredPicture& picture = *order[i];
    const double x = kMargin + static_cast<double>(i % kColumns) * kCellWidth;
    const double y = kSheetTop + static_cast<double>(i / kColumns) * kCellHeight;
    const bool flagged = figure.threshold && picture.score > *figure.threshold;
    svg.picture(x, y, kThumbnail, kThumbnail, picture.thumbnail);
    svg.rect(x, y, kThumbnail, kThumbnail,
             text(picture.anomalous ? "frame-anomalous" : "frame-normal", flagged ? " flagged" : ""));
    svg.text(x, y + kThumbnail + 17, picture.kind, "kind");
    svg.text(x, y + kThumbnail + 31, fixed_number(picture.score, 3), "score");
  }
}

}  // namespace

std::string score_figure_svg(const ScoreFigure& figure) {
  PANDA_CHECK(!figure.pictures.empty(), "score figure: no pictures");
  const auto rows = static_cast<double>((figure.pictures.size() + kColumns - 1) / kColumns);
  Svg svg(kWidth, kSheetTop + rows * kCellHeight + kMargin / 2, figure.title, kStyle);
  svg.text(kMargin, 40, figure.title, "title");
  svg.text(kMargin, 62, figure.subtitle, "sub");
  const ScoreAxis axis(figure);
  draw_axis(svg, figure, axis);
  draw_scores(svg, figure, axis);
  svg.text(kMargin, kSheetTop - 14,
           "All test images, most anomalous first. Colour: what is true. Heavy frame: above the threshold.",
           "sub");
  draw_pictures(svg, figure);
  return svg.document();
}

}  // namespace panda::tools
