#include "tools/svg.h"

#include <gtest/gtest.h>

#include "kernels/tensor/error.h"
#include "tools/score_figure.h"

namespace panda::tools {
namespace {

std::vector<uint8_t> bytes_of(const std::string& text) {
  return {text.begin(), text.end()};
}

// The vectors of RFC 4648, section 10.
TEST(Base64, EncodesThePublishedVectors) {
  EXPECT_EQ(base64(bytes_of("")), "");
  EXPECT_EQ(base64(bytes_of("f")), "Zg==");
  EXPECT_EQ(base64(bytes_of("fo")), "Zm8=");
  EXPECT_EQ(base64(bytes_of("foo")), "Zm9v");
  EXPECT_EQ(base64(bytes_of("foob")), "Zm9vYg==");
  EXPECT_EQ(base64(bytes_of("fooba")), "Zm9vYmE=");
  EXPECT_EQ(base64(bytes_of("foobar")), "Zm9vYmFy");
  EXPECT_EQ(base64({0xff, 0xfe, 0xfb}), "//77");
}

TEST(Svg, EscapesWhatAFileNameMayHold) {
  EXPECT_EQ(xml_escaped("<a & \"b\">\n"), "&lt;a &amp; &quot;b&quot;&gt;\\x0a");
}

ScoreFigure small_figure() {
  ScoreFigure figure;
  figure.title = "<title>";
  figure.threshold = 1.5;
  data::Image thumbnail(2, 2, 3);
  figure.pictures = {{"a.png", "good", 1, false, thumbnail},
                     {"b.png", "hole", 2, true, thumbnail},
                     {"c.png", "hole", 1.25, true, thumbnail}};
  return figure;
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(ScoreFigure, ShowsEveryPictureOnceAndFlagsThoseAboveTheThreshold) {
  const std::string svg = score_figure_svg(small_figure());
  EXPECT_EQ(count(svg, "<image "), 3u);
  EXPECT_EQ(count(svg, "frame-anomalous flagged\""), 1u);
  EXPECT_EQ(count(svg, "class=\"frame-anomalous\""), 1u);
  EXPECT_EQ(count(svg, "class=\"frame-normal\""), 1u);
  EXPECT_EQ(count(svg, "class=\"threshold\""), 1u);
  EXPECT_EQ(count(svg, "&lt;title&gt;"), 2u);
  EXPECT_EQ(count(svg, "nan"), 0u);
  // The most anomalous comes first.
  EXPECT_LT(svg.find(">2.000<"), svg.find(">1.250<"));
  EXPECT_LT(svg.find(">1.250<"), svg.find(">1.000<"));
}

TEST(ScoreFigure, DrawsOnePictureAndEqualScores) {
  ScoreFigure figure = small_figure();
  figure.threshold.reset();
  for (ScoredPicture& picture : figure.pictures) picture.score = 3;
  EXPECT_EQ(count(score_figure_svg(figure), "nan"), 0u);
  EXPECT_EQ(count(score_figure_svg(figure), "class=\"threshold\""), 0u);
  figure.pictures.resize(1);
  EXPECT_EQ(count(score_figure_svg(figure), "<image "), 1u);
  figure.pictures.clear();
  EXPECT_THROW((void)score_figure_svg(figure), InvalidArgument);
}

}  // namespace
}  // namespace panda::tools
