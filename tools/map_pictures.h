// Pictures of score maps, on a scale that is the same for every image and is stated.
//
// A map's own minimum and maximum are never used: a normal image must look normal. `scale` is the score that
// gets the brightest colour; scores below 0 are shown as 0, above it as the brightest.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "anomaly/detector.h"
#include "anomaly/score_map.h"
#include "data/dataset.h"
#include "data/image.h"

namespace panda::tools {

struct MapScale {
  double top = 1;                   ///< the score of the brightest colour, > 0
  std::optional<double> threshold;  ///< of pixels: where the contour is drawn
};

/// The scale that the model's fit gives; nothing where it makes no maps or has none.
[[nodiscard]] std::optional<MapScale> fitted_map_scale(const anomaly::Detector& model);

/// The colour of t in 0..1: dark violet, red, orange, pale yellow; lightness rises all the way, so that it
/// also works in gray and for those who do not tell red from green.
[[nodiscard]] std::array<uint8_t, 3> heat_colour(double t);

/// The map alone, in colours.
[[nodiscard]] data::Image heat_picture(const anomaly::ScoreMap& map, const MapScale& scale);

/// The map over the picture (RGB, of its size): the more anomalous, the less of the picture shows through.
/// With a threshold, the outline of what is above it (white on black, so that it shows on anything), and a
/// box around each of its parts.
[[nodiscard]] data::Image overlay_picture(const data::Image& picture, const anomaly::ScoreMap& map,
                                          const MapScale& scale);

/// The picture with the mask's outline.
[[nodiscard]] data::Image outlined_picture(const data::Image& picture, const std::vector<uint8_t>& mask);

/// 16-bit gray: round(65535 * score / top), clamped to 0..65535.
[[nodiscard]] std::vector<uint16_t> raw_samples(const anomaly::ScoreMap& map, const MapScale& scale);

/// Writes the maps of a run into a directory, and says in DIR/scale.json how to read them. Of an image whose
/// name is N (its folder and its name without extension):
///   N.npy          the scores, f32, height x width
///   N_raw.png      16-bit gray: score = sample / 65535 * top
///   N_heat.png     in colours
///   N_overlay.png  over the picture, with contour and boxes
class MapWriter {
 public:
  /// Makes the directory; throws IoError.
  MapWriter(std::string directory, const MapScale& scale);

  /// `file` is the image's path as the user gave it; `folder` ("" for none) keeps images of one name in
  /// different folders apart, a number does it within one. Returns the path of the .npy.
  std::string write(const std::string& file, const std::string& folder, const data::Image& picture,
                    const anomaly::ScoreMap& map);

 private:
  std::string directory_;
  MapScale scale_;
  std::vector<std::string> names_;  // sorted
};

/// The boxes of the parts above the threshold, in pixels of the map.
[[nodiscard]] std::vector<anomaly::Box> defect_boxes(const anomaly::ScoreMap& map, double threshold);

}  // namespace panda::tools
