// What every fitted method offers: scores for images, maps where the method makes them, and thresholds with a
// meaning.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "anomaly/feature_extractor.h"
#include "anomaly/fitted_model.h"
#include "anomaly/score_map.h"
#include "anomaly/threshold.h"

namespace panda::anomaly {

/// The training pixel that an image's most anomalous pixel is nearest to.
struct NearestPixel {
  int64_t training_image = 0;  ///< its place among those of the gallery
  int64_t layer = 0;           ///< whose features were compared
  // Of the pixel and of its neighbour, in the network's input.
  int64_t row = 0;
  int64_t column = 0;
  int64_t training_row = 0;
  int64_t training_column = 0;
};

struct ImageScore {
  int64_t index = 0;  ///< in the image set
  double score = 0;   ///< higher is more anomalous
  /// Of the pixels that the network saw (data::ImageTransform::pixels); absent where the method makes none.
  std::optional<ScoreMap> map;
  std::optional<NearestPixel> nearest;
};
using ScoreSink = std::function<void(const ImageScore&)>;

class Detector {
 public:
  Detector() = default;
  Detector(const Detector&) = delete;
  Detector& operator=(const Detector&) = delete;
  Detector(Detector&&) = default;
  Detector& operator=(Detector&&) = default;
  virtual ~Detector() = default;

  /// "dn2", ...: what `panda fit` takes.
  [[nodiscard]] virtual std::string method() const = 0;
  /// "dn2: knn-sum-sq, k=2; resnet18": for people.
  [[nodiscard]] virtual std::string description() const = 0;
  [[nodiscard]] virtual const data::ImageTransform& transform() const = 0;
  [[nodiscard]] virtual const nn::ResnetConfig& architecture() const = 0;
  [[nodiscard]] virtual int64_t training_count() const = 0;
  [[nodiscard]] virtual bool makes_maps() const { return false; }
  /// Whether scores come with ImageScore::nearest.
  [[nodiscard]] virtual bool finds_training_pixels() const { return false; }
  /// What the gallery's image of this place was called in the data set; "" where the model does not know.
  [[nodiscard]] virtual std::string training_file(int64_t /*place*/) const { return ""; }

  /// Hands each image's score to `sink`, in the order of loading, as soon as its batch is done: memory does
  /// not grow with the number of images. With extract.skip_bad, images that cannot be read are left out and
  /// named in extract.failures. Reports as extract.stage.
  virtual void score_each(const data::ImageSet& images, const ExtractOptions& extract, const ScoreSink& sink,
                          Progress* progress) const = 0;

  /// The threshold of the fit; nothing where there were too few images to calibrate.
  [[nodiscard]] virtual const std::optional<Threshold>& threshold() const = 0;
  /// A threshold for another rate, from the same calibration scores. Throws InvalidArgument as
  /// conformal_threshold, or where there are none.
  [[nodiscard]] virtual Threshold threshold_for(double false_alarm_rate) const = 0;
  /// What a threshold of this model promises, in words.
  [[nodiscard]] virtual std::string threshold_text(const Threshold& threshold) const = 0;

  /// The same for pixels: a normal image has a pixel above it with at most that probability. Nothing where
  /// the method makes no maps.
  [[nodiscard]] virtual std::optional<Threshold> pixel_threshold() const { return std::nullopt; }
  [[nodiscard]] virtual std::string pixel_threshold_text(const Threshold& /*threshold*/) const { return ""; }
  /// The scale of pictures of its maps: the value shown as the brightest colour, the same for every image.
  [[nodiscard]] virtual double map_scale() const { return 0; }
};

/// How a fitted model is opened.
struct LoadOptions {
  /// A gallery larger than this stays on disk and is read part by part; results keep their bits.
  int64_t gallery_bytes = int64_t{4} << 30;
};

/// The detector that `panda fit` wrote. Throws FormatError, also for a method that this build does not have.
[[nodiscard]] std::unique_ptr<Detector> load_detector(Device& device, const std::string& path,
                                                      const LoadOptions& options = {});

}  // namespace panda::anomaly
