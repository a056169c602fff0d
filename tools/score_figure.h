// The picture of a test run: every image's score on one axis with the threshold, and the images themselves in
// the order of their scores.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/image.h"

namespace panda::tools {

struct ScoredPicture {
  std::string name;  ///< "scratch/003.png"
  std::string kind;  ///< "good", "scratch"
  double score = 0;
  bool anomalous = false;  ///< the truth
  data::Image thumbnail;   ///< square
};

struct ScoreFigure {
  std::string title;
  std::string subtitle;
  std::string score_label;  ///< of the axis
  std::optional<double> threshold;
  std::vector<ScoredPicture> pictures;  ///< at least one
};

/// One SVG document, complete in itself. Normal images are blue circles, anomalous ones orange triangles; a
/// picture above the threshold has a heavy frame.
[[nodiscard]] std::string score_figure_svg(const ScoreFigure& figure);

}  // namespace panda::tools
