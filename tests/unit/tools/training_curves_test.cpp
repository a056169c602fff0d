#include "tools/training_curves.h"

#include <gtest/gtest.h>

#include <functional>

#include "kernels/tensor/error.h"
#include "kernels/tensor/file.h"
#include "tests/support/temporary_directory.h"

namespace panda::tools {
namespace {

std::string message_of(const std::string& csv) {
  try {
    static_cast<void>(training_charts(csv, "log.csv"));
  } catch (const FormatError& error) {
    return error.what();
  }
  return "no error";
}

TEST(TrainingCurves, DrawsWhatWasLogged) {
  // The first row is before the training; penalty and ROCAUC were not logged.
  const std::vector<LineChart> charts = training_charts(
      "minibatch,loss,compactness,penalty,gradient_norm,s,effective_rank,auroc\n"
      "0,,,,,8,20,\n1,4,4,0,2,,,\n2,3,3,0,1,7,19,\n",
      "log.csv");
  ASSERT_EQ(charts.size(), 4U);
  EXPECT_EQ(charts[0].title, "Loss");
  EXPECT_EQ(charts[0].x_label, "minibatch");
  ASSERT_EQ(charts[0].series.size(), 1U);  // its only part is the loss itself
  ASSERT_EQ(charts[0].series[0].points.size(), 2U);
  EXPECT_EQ(charts[0].series[0].points[1].x, 2);
  EXPECT_EQ(charts[0].series[0].points[1].y, 3);
  EXPECT_EQ(charts[1].title, "Norm of the gradient");
  EXPECT_EQ(charts[2].title, "Mean squared distance to the center");
  EXPECT_EQ(charts[2].series[0].points[0].x, 0);
  EXPECT_EQ(charts[3].title, "Effective rank of the features");
  for (const LineChart& chart : charts) {
    EXPECT_EQ(chart.x_end, 2);
    for (const anomaly::CurvePoint& point : chart.series[0].points)
      EXPECT_TRUE(point.y > chart.y_low && point.y < chart.y_high) << chart.title;
  }
}

TEST(TrainingCurves, ShowsThePartsOfALossBesideIt) {
  const std::vector<LineChart> charts =
      training_charts("minibatch,loss,cross_entropy,compactness,penalty\n1,5,4,1,0\n2,3,2,1,0\n", "log.csv");
  ASSERT_EQ(charts.size(), 1U);
  ASSERT_EQ(charts[0].series.size(), 3U);
  EXPECT_EQ(charts[0].series[0].label, "loss");
  EXPECT_EQ(charts[0].series[1].label, "cross_entropy");
  EXPECT_EQ(charts[0].series[2].label, "compactness");
  EXPECT_EQ(charts[0].y_low, 0);
}

TEST(TrainingCurves, MeansOfALongLogKeepItsArea) {
  std::string csv = "epoch,loss\n";
  for (int i = 1; i <= 1000; ++i) csv += std::to_string(i) + "," + std::to_string(i % 2) + "\n";
  const std::vector<LineChart> charts = training_charts(csv, "log.csv");
  const std::vector<anomaly::CurvePoint>& points = charts.at(0).series.at(0).points;
  ASSERT_EQ(points.size(), 200U);  // of five rows each
  double sum = 0;
  for (const anomaly::CurvePoint& point : points) sum += 5 * point.y;
  EXPECT_NEAR(sum, 500, 1e-9);
  EXPECT_NEAR(points[0].x, 3, 1e-12);
}

TEST(TrainingCurves, RefusesWhatIsNoLog) {
  EXPECT_EQ(message_of(""), "log.csv: is empty, expected the heading of a training's log");
  EXPECT_EQ(message_of("file,score\n"),
            "log.csv: the first column is 'file', expected minibatch or epoch: is this a training's log?");
  EXPECT_EQ(message_of("epoch,loss\n1,2\n2\n"), "log.csv: line 3 has 1 fields, expected 2");
  EXPECT_EQ(message_of("epoch,loss\n1,2x\n"), "log.csv: line 2: '2x', expected a number or an empty field");
  EXPECT_EQ(message_of("epoch,loss\n1,inf\n"), "log.csv: line 2: 'inf', expected a number or an empty field");
  EXPECT_EQ(message_of("epoch,loss\n,2\n"), "log.csv: line 2 has no epoch, expected one in every row");
  EXPECT_EQ(training_charts("epoch,loss\n", "log.csv").size(), 0U);
}

TEST(TrainingCurves, WritesOneDrawingThatStandsAlone) {
  const test::TemporaryDirectory folder;
  const std::string path = folder.path("c.svg");
  write_training_curves(path, "Training of <a>",
                        "epoch,rate,loss,gradient_norm,top1\n1,1e-9,2,3,\n2,2e-9,1,3,0.5\n");
  const std::vector<uint8_t> bytes = read_file(path);
  const std::string svg(bytes.begin(), bytes.end());
  EXPECT_NE(svg.find("Training of &lt;a&gt;"), std::string::npos);
  for (const char* part :
       {"Learning rate", "Loss", "Norm of the gradient", "Images classified right", "2.0e-9"})
    EXPECT_NE(svg.find(part), std::string::npos) << part;
  for (const char* part : {"nan", "inf", "var("}) EXPECT_EQ(svg.find(part), std::string::npos) << part;
  const auto count = [&](const std::string& part) {
    int64_t times = 0;
    for (size_t at = svg.find(part); at != std::string::npos; at = svg.find(part, at + 1)) ++times;
    return times;
  };
  EXPECT_EQ(count("<g "), count("</g>"));
  EXPECT_EQ(count("<polyline "), 4);
  EXPECT_EQ(count(" dot\""), 1);  // a single value would be an invisible line
  EXPECT_THROW(write_training_curves(path, "t", "epoch,loss\n1,\n"), FormatError);
}

}  // namespace
}  // namespace panda::tools
