#include "tools/report.h"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>

#include "data/image_write.h"
#include "kernels/tensor/error.h"
#include "tools/detector.h"
#include "tools/output.h"
#include "tools/report_style.h"
#include "tools/svg.h"

namespace panda::tools {

namespace {

constexpr int kJpegQuality = 82;

/// Of this process so far, resident.
int64_t peak_memory_bytes() {
  rusage usage{};
  return ::getrusage(RUSAGE_SELF, &usage) == 0 ? int64_t{usage.ru_maxrss} * 1024 : 0;
}

std::string percent(const std::optional<double>& value, int decimals = 2) {
  return as_percent(value, "–", decimals);
}

std::string share(int64_t part, int64_t whole) {
  return whole == 0 ? std::string("–") : text(part, " of ", whole);
}

std::string element(const std::string& tag, const std::string& content, const std::string& css_class = {}) {
  return text("<", tag, css_class.empty() ? std::string() : text(" class=\"", css_class, "\""), ">", content,
              "</", tag, ">");
}

/// A number on a picture's caption: enough digits to compare with its neighbours.
std::string score_text(double score) {
  if (score == 0) return "0";
  const double magnitude = std::floor(std::log10(std::abs(score)));
  return fixed_number(score, std::clamp(static_cast<int>(3 - magnitude), 0, 12));
}

std::string card(const std::string& name, const std::string& value, const std::string& note) {
  return text("<div><span>", xml_escaped(name), "</span><b>", xml_escaped(value), "</b><small>",
              xml_escaped(note), "</small></div>\n");
}

std::string cards(const ReportInput& input, const Evaluation& evaluation) {
  std::string html = "<section class=\"cards\">\n";
  html += card("image ROCAUC", percent(evaluation.images.auroc),
               "an anomaly scores above a normal image so often");
  if (evaluation.pixels) {
    html += card("pixel ROCAUC", percent(evaluation.pixels->pixels.auroc),
                 "the same for pixels, all images together");
    html += card("PRO", percent(evaluation.pixels->pro),
                 text("mean overlap with ", evaluation.pixels->regions, " regions, false positives up to ",
                      percent(input.fpr_limit, 0)));
  }
  if (input.threshold) {
    html += card("anomalies found", share(evaluation.found, evaluation.anomalous), "above the threshold");
    html += card("false alarms", share(evaluation.false_alarms, evaluation.normal),
                 "normal images above the threshold");
  }
  html += card("images", std::to_string(evaluation.scores.size()),
               text(evaluation.normal, " normal, ", evaluation.anomalous, " anomalous; learnt from ",
                    input.training_count));
  return html + "</section>\n";
}

std::string best_f1_text(const char* what, const anomaly::OperatingPoint& best) {
  return text("With the anomalies of this test split known, the best F1 of ", what, ", ",
              fixed_number(best.f1, 3), ", is at ", score_text(best.threshold), " (precision ",
              percent(best.precision, 1), ", recall ", percent(best.recall, 1), ").");
}

std::string promises(const ReportInput& input, const Evaluation& evaluation) {
  std::string html = "<section class=\"panel\">\n<h3>What the threshold means</h3>\n";
  html += element("p", xml_escaped("Images: " + input.threshold_text + "."));
  if (!input.pixel_threshold_text.empty()) {
    html += element(
        "p", xml_escaped(text("Pixels: ", input.pixel_threshold_text, ". Here ",
                              share(evaluation.false_marks, evaluation.normal), " normal images have one.")));
  }
  if (const auto& best = evaluation.images.best_f1)
    html += element("p", xml_escaped(best_f1_text("images", *best)), "soft");
  if (evaluation.pixels && evaluation.pixels->pixels.best_f1)
    html += element("p", xml_escaped(best_f1_text("pixels", *evaluation.pixels->pixels.best_f1)), "soft");
  return html + "</section>\n";
}

std::string chart_panel(const LineChart& chart) {
  return "<div class=\"panel\">" + element("h3", xml_escaped(chart.title)) + line_chart_svg(chart) +
         "</div>\n";
}

std::vector<LineChart> curves(const ReportInput& input, const Evaluation& evaluation) {
  std::vector<LineChart> all;
  if (evaluation.images.auroc) {
    LineChart roc{"ROC",
                  "false-positive rate",
                  "true-positive rate",
                  1,
                  true,
                  {{"images", "line-a", evaluation.images.roc}},
                  {}};
    if (evaluation.pixels) roc.series.push_back({"pixels", "line-b", evaluation.pixels->pixels.roc});
    if (input.threshold) {
      roc.markers.push_back(
          {"threshold", static_cast<double>(evaluation.false_alarms) / static_cast<double>(evaluation.normal),
           static_cast<double>(evaluation.found) / static_cast<double>(evaluation.anomalous)});
    }
    all.push_back(std::move(roc));
  }
  if (evaluation.pixels && evaluation.pixels->pro) {
    all.push_back({"Per-region overlap (PRO)",
                   "false-positive rate of pixels",
                   "mean overlap of regions",
                   input.fpr_limit,
                   false,
                   {{"", "line-b", evaluation.pixels->pro_curve}},
                   {}});
  }
  if (evaluation.images.best_f1) {
    LineChart precision{"Precision and recall",
                        "recall",
                        "precision",
                        1,
                        false,
                        {{"images", "line-a", evaluation.images.precision_recall}},
                        {}};
    if (evaluation.pixels && evaluation.pixels->pixels.best_f1)
      precision.series.push_back({"pixels", "line-b", evaluation.pixels->pixels.precision_recall});
    precision.markers.push_back(
        {"best F1", evaluation.images.best_f1->recall, evaluation.images.best_f1->precision});
    all.push_back(std::move(precision));
  }
  return all;
}

std::string charts(const ReportInput& input, const Evaluation& evaluation) {
  const std::vector<LineChart> all = curves(input, evaluation);
  std::string html = "<h2>Curves</h2>\n<section class=\"charts\">\n";
  for (const LineChart& chart : all) html += chart_panel(chart);
  // Two panels in a row: what would stand alone in its row takes all of it.
  const bool wide = all.size() % 2 == 0;
  html += text("<div class=\"panel", wide ? " wide" : "",
               "\"><h3>Scores</h3>\n<div class=\"key\"><span><i "
               "style=\"background:var(--normal)\"></i>normal</span><span><i "
               "style=\"background:var(--anomalous)\"></i>anomalous</span></div>\n");
  return html + score_histogram_svg(evaluation.scores, evaluation.labels, input.threshold, wide) +
         "</div>\n</section>\n";
}

std::string training_section(const std::vector<LineChart>& training) {
  if (training.empty()) return "";
  std::string html = "<h2>Training</h2>\n<section class=\"charts\">\n";
  for (const LineChart& chart : training) html += chart_panel(chart);
  return html + "</section>\n";
}

std::string kinds_table(const Evaluation& evaluation, bool with_threshold) {
  std::string html = "<h2>By kind</h2>\n<section class=\"panel\"><table>\n<tr>";
  const bool pixels = evaluation.pixels.has_value();
  for (const char* title : {"kind", "images", "above threshold", "image ROCAUC"})
    html += element("th", title);
  if (pixels) {
    for (const char* title : {"regions", "pixel ROCAUC", "PRO"}) html += element("th", title);
  }
  html += "</tr>\n";
  for (const KindResult& kind : evaluation.kinds) {
    html += "<tr>" + element("td", xml_escaped(kind.name) +
                                       (kind.anomalous ? "" : " <span class=\"soft\">(normal)</span>"));
    html += element("td", std::to_string(kind.images));
    html += element("td", with_threshold ? share(kind.flagged, kind.images) : "–");
    html += element("td", percent(kind.auroc));
    if (pixels) {
      html += element("td", kind.anomalous ? std::to_string(kind.regions) : "–");
      html += element("td", percent(kind.pixel_auroc)) + element("td", percent(kind.pro));
    }
    html += "</tr>\n";
  }
  return html + "</table></section>\n";
}

std::string picture(const data::Image& image, const std::string& description) {
  return text("<img alt=\"", xml_escaped(description), "\" src=\"data:image/jpeg;base64,",
              base64(data::encode_jpeg(image, kJpegQuality)), "\">");
}

std::string figure(const ShownImage& image, const std::optional<double>& threshold) {
  const std::string name = image.file.substr(image.file.find_last_of('/') + 1);
  std::string html = "<figure><div>" + picture(image.picture, name);
  if (!image.overlay.pixels.empty()) html += picture(image.overlay, "score map of " + name);
  if (!image.truth.pixels.empty()) html += picture(image.truth, "ground truth of " + name);
  html += text("</div><figcaption>", xml_escaped(image.kind), image.kind.empty() ? "" : " · ",
               xml_escaped(name), " · <b>", score_text(image.score), "</b>");
  if (threshold) {
    const bool flagged = image.score > *threshold;
    html += text(" · <span class=\"flag ", flagged == image.anomalous ? "right" : "wrong", "\">",
                 image.anomalous ? (flagged ? "found" : "missed") : (flagged ? "false alarm" : "passed"),
                 "</span>");
  }
  return html + "</figcaption></figure>\n";
}

std::string sheet(const std::string& title, const std::string& note, const std::vector<ShownImage>& images,
                  const std::optional<double>& threshold) {
  if (images.empty()) return "";
  const ShownImage& first = images.front();
  const int pictures = 1 + (first.overlay.pixels.empty() ? 0 : 1) + (first.truth.pixels.empty() ? 0 : 1);
  constexpr int kCellPixels[4] = {0, 150, 310, 460};
  std::string html = text("<h2>", xml_escaped(title), "</h2>\n<p class=\"soft\">", xml_escaped(note),
                          "</p>\n<section class=\"sheet\" style=\"--cell:", kCellPixels[pictures], "px\">\n");
  for (const ShownImage& image : images) html += figure(image, threshold);
  return html + "</section>\n";
}

std::string scale_note(const MapScale& scale) {
  std::string stops;
  for (int i = 0; i <= 8; ++i) {
    const std::array<uint8_t, 3> colour = heat_colour(i / 8.0);
    stops += text(i == 0 ? "" : ",", "rgb(", int{colour[0]}, " ", int{colour[1]}, " ", int{colour[2]}, ")");
  }
  std::string html = text(
      "<p class=\"soft\">Beside each picture its map, on one scale for all images: 0 <span class=\"ramp\" "
      "style=\"background:linear-gradient(90deg,",
      stops, ")\"></span> ", score_text(scale.top));
  if (scale.threshold) {
    html += text(". Outlined: above ", score_text(*scale.threshold),
                 ", the pixel threshold; boxed: each part of it. With a ground truth, its outline is in the "
                 "last picture");
  }
  return html + ".</p>\n";
}

std::string pairs_table(const std::vector<std::pair<std::string, std::string>>& pairs, bool code) {
  std::string html = "<section class=\"panel\"><table class=\"pairs\">\n";
  for (const auto& [name, value] : pairs) {
    const std::string escaped = xml_escaped(value);
    html += "<tr>" + element("td", xml_escaped(name)) +
            element("td", code ? element("code", escaped) : escaped) + "</tr>\n";
  }
  return html + "</table></section>\n";
}

std::string time_and_memory(const ReportInput& input, const Evaluation& evaluation) {
  std::vector<std::pair<std::string, std::string>> pairs;
  double scoring = 0;
  for (const auto& [stage, seconds] : input.seconds) {
    pairs.emplace_back(stage, duration_text(seconds));
    if (stage == "scoring") scoring = seconds;
  }
  if (scoring > 0 && !evaluation.scores.empty()) {
    const auto images = static_cast<int64_t>(evaluation.scores.size());
    const double each = scoring / static_cast<double>(images);
    pairs.emplace_back(
        "per image", each < 10 ? text(fixed_number(1000 * each, 1), " ms (", rate_text(images, scoring), ")")
                               : duration_text(each));
  }
  pairs.emplace_back("peak memory",
                     fixed_number(static_cast<double>(input.peak_memory_bytes) / (1 << 20), 0) + " MiB");
  return "<h2>Time and memory</h2>\n" + pairs_table(pairs, false);
}

}  // namespace

ReportInput report_of(const anomaly::Detector& model, const StageTimes& times) {
  ReportInput input;
  input.method = model.description();
  input.threshold_text = kNoThreshold;
  if (const auto& threshold = model.threshold()) {
    input.threshold = threshold->value;
    input.threshold_text = model.threshold_text(*threshold);
  }
  if (const auto pixels = model.pixel_threshold())
    input.pixel_threshold_text = model.pixel_threshold_text(*pixels);
  input.scale = fitted_map_scale(model);
  input.training_count = model.training_count();
  input.seconds = times.stages();
  input.peak_memory_bytes = peak_memory_bytes();
  return input;
}

std::string report_html(const ReportInput& input, const Evaluation& evaluation) {
  PANDA_CHECK(!evaluation.scores.empty(), "report: no images");
  std::string html = text("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
                          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n",
                          "<link rel=\"icon\" href=\"data:,\">\n<title>", xml_escaped(input.title),
                          "</title>\n<style>", kReportStyle, "</style>\n</head>\n<body>\n<main>\n");
  html += text("<header><h1>", xml_escaped(input.title), "</h1>\n<p class=\"soft\">",
               xml_escaped(input.method), "<br>", xml_escaped(input.data), "</p></header>\n");
  html += cards(input, evaluation) + promises(input, evaluation) + charts(input, evaluation);
  html += kinds_table(evaluation, input.threshold.has_value());
  if (input.scale) html += "<h2>Pictures</h2>\n" + scale_note(*input.scale);
  html += sheet("Anomalies with the lowest scores", "Most likely to be missed; the lowest first.",
                evaluation.missed, input.threshold);
  html += sheet("Normal images with the highest scores", "Most likely to be false alarms; the highest first.",
                evaluation.alarms, input.threshold);
  html += sheet("Anomalies with the highest scores", "The clearest; the highest first.", evaluation.clearest,
                input.threshold);
  if (!evaluation.left_out.empty()) {
    html += "<h2>Left out</h2>\n<section class=\"panel\">\n";
    for (const std::string& failure : evaluation.left_out) html += element("p", xml_escaped(failure));
    html += "</section>\n";
  }
  html += training_section(input.training) + time_and_memory(input, evaluation);
  html += "<h2>To do it again</h2>\n" + pairs_table(input.manifest, true);
  return html + "</main>\n</body>\n</html>\n";
}

}  // namespace panda::tools
