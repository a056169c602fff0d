#include "tools/report.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "kernels/tensor/error.h"
#include "tools/detector.h"
#include "tools/output.h"
#include "tools/report_charts.h"

namespace panda::tools {
namespace {

Evaluation small_evaluation() {
  Evaluation evaluation;
  evaluation.scores = {1, 2, 3, 4};
  evaluation.labels = {0, 0, 1, 1};
  evaluation.files = {"a", "b", "c", "d"};
  evaluation.images = anomaly::rank_scores(evaluation.scores, evaluation.labels);
  evaluation.normal = evaluation.anomalous = 2;
  evaluation.found = 1;
  evaluation.kinds = {{"good", false, 2, 0, std::nullopt, std::nullopt, std::nullopt, 0},
                      {"<b>cut", true, 2, 1, 1.0, std::nullopt, std::nullopt, 0}};
  ShownImage image;
  image.file = "set/<evil> & \"name\".png";
  image.kind = "cut";
  image.score = 3;
  image.anomalous = true;
  image.picture = data::Image(8, 8, 3);
  evaluation.missed = {image};
  return evaluation;
}

int64_t count_of(const std::string& text, const std::string& part) {
  int64_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(Report, EscapesWhatUsersNamed) {
  ReportInput input;
  input.title = "a <title>";
  input.threshold = 3.5;
  input.threshold_text = "at most 5 % & so on";
  const std::string html = report_html(input, small_evaluation());
  EXPECT_EQ(html.find("<evil>"), std::string::npos);
  EXPECT_EQ(html.find("<b>cut"), std::string::npos);
  EXPECT_NE(html.find("&lt;evil&gt; &amp; &quot;name&quot;.png"), std::string::npos);
  EXPECT_NE(html.find("<title>a &lt;title&gt;</title>"), std::string::npos);
  EXPECT_NE(html.find("at most 5 % &amp; so on"), std::string::npos);
  EXPECT_NE(html.find("missed"), std::string::npos);
}

TEST(Report, SaysHowLongAnImageTook) {
  ReportInput input;
  input.seconds = {{"scoring", 2.0}};
  EXPECT_NE(report_html(input, small_evaluation()).find("500.0 ms (2.0 images/s)"), std::string::npos);
  input.seconds = {{"scoring", 4 * 75.0}};
  EXPECT_NE(report_html(input, small_evaluation()).find(duration_text(75)), std::string::npos);
  EXPECT_EQ(rate_text(4, 2), "2.0 images/s");
  EXPECT_EQ(rate_text(4, 4 * 75.0), duration_text(75) + " an image");
  EXPECT_EQ(rate_text(4, 0), "-");
}

TEST(Report, ClosesWhatItOpens) {
  const std::string html = report_html({}, small_evaluation());
  for (const std::string tag :
       {"section", "table", "tr", "td", "th", "figure", "figcaption", "svg", "main", "p", "h2", "div"})
    EXPECT_EQ(count_of(html, "<" + tag + ">") + count_of(html, "<" + tag + " "),
              count_of(html, "</" + tag + ">"))
        << tag;
}

TEST(Report, LeavesOutWhatIsNotThere) {
  const std::string html = report_html({}, small_evaluation());
  EXPECT_EQ(html.find("PRO</span>"), std::string::npos);
  EXPECT_EQ(html.find("pixel ROCAUC"), std::string::npos);
  EXPECT_EQ(html.find("false alarms"), std::string::npos);
  EXPECT_EQ(html.find("Left out"), std::string::npos);
  EXPECT_THROW(static_cast<void>(report_html({}, Evaluation())), InvalidArgument);
}

TEST(Report, WorksWithoutAnomalies) {
  Evaluation evaluation = small_evaluation();
  evaluation.labels = {0, 0, 0, 0};
  evaluation.images = anomaly::rank_scores(evaluation.scores, evaluation.labels);
  evaluation.normal = 4;
  evaluation.anomalous = evaluation.found = 0;
  ReportInput input;
  input.threshold = 2.5;
  const std::string html = report_html(input, evaluation);
  EXPECT_NE(html.find("<b>–</b>"), std::string::npos);
  EXPECT_EQ(html.find("nan"), std::string::npos);
}

TEST(ReportCharts, HistogramCountsEveryImage) {
  const std::string svg = score_histogram_svg({5, 5, 5, 7}, {0, 0, 1, 1}, 6);
  EXPECT_EQ(count_of(svg, "bar-normal"), 1);
  EXPECT_EQ(count_of(svg, "bar-anomalous"), 2);
  EXPECT_EQ(count_of(svg, "class=\"threshold\""), 1);
  EXPECT_EQ(count_of(score_histogram_svg({5}, {0}, std::nullopt), "bar-"), 1);
  EXPECT_EQ(count_of(score_histogram_svg({5}, {0}, std::nullopt), "nan"), 0);
}

TEST(ReportCharts, LinesStayInsideTheirFrame) {
  LineChart chart{
      "t", "x", "y", 0.3, true, {{"s", "line-a", {{0, 0, 9}, {0.3, 1, 1}}}}, {{"here", 0.15, 0.5}}};
  const std::string svg = line_chart_svg(chart);
  // The frame: 50..426 across, 284..26 down.
  EXPECT_NE(svg.find("points=\"50.00,284.00 426.00,26.00\""), std::string::npos) << svg;
  EXPECT_NE(svg.find(">here<"), std::string::npos);
}

}  // namespace
}  // namespace panda::tools
