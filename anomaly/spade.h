// SPADE: a pixel is as anomalous as its pretrained features are far from those of normal pixels.
//
// PANDA paper, section 2.3 and appendix B.3 (after Cohen and Hoshen, arXiv 2005.02357): features after layers
// 1-3; per layer the distance to the kappa nearest pixels of the training images; the layers' scores are
// interpolated to the picture's size and summed with equal weights ("ensemble", what the paper reports), or
// the features are first concatenated ("concatenate", its section 2.3); then a Gaussian of sigma 5. The image
// score is DN2's (anomaly/dn2.h), or the map's maximum.
//
//   map(x) = G_sigma * sum_l up(s_l),  s_l(p) = 1/kappa sum_j |f_l(p) - n_j|   (knn-mean)
//                                      s_l(p) = sum_j |f_l(p) - n_j|^2         (knn-sum-sq)
//
// over the kappa nearest n_j of all training pixels, or of the pixels of the K training images whose pooled
// features are nearest (arXiv 2005.02357), or of N centers per layer that K-means (kernels/kmeans.h) makes of
// all training pixels (the paper's section 4.3.3, with N = 50): scoring then costs the same for any number of
// training images, and no longer knows which training pixel was nearest. Or over those n_j that lie at the
// same place of their image (not in the paper; for parts that always lie alike).
//
// Calibration: training images drawn by the seed are left out in turn, or held out of the gallery for good.
// With the gallery of all images the former keeps the promise exactly, as docs/decisions/threshold.md argues:
// one image more can only bring the nearest pixels nearer, and map and maximum rise with every distance.
// Centers would have to be found anew for every image that is left out: with them there is a threshold only
// from images that are held out.
//
// Pictures: the square that options.transform crops; or, with a crop of 0, whole pictures of any shape, in
// one window or in tiles (anomaly/tiling.h), where G_sigma follows the blend. The gallery's pictures then
// share one size; what is scored may have another.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "anomaly/detector.h"
#include "anomaly/pixel_gallery.h"
#include "anomaly/pyramid.h"
#include "anomaly/scoring.h"
#include "anomaly/tiling.h"

namespace panda::anomaly {

enum class ImageRule : uint8_t { kPooledKnn, kMapMaximum };
/// "knn", "map-max": what --image-score takes.
[[nodiscard]] const char* image_rule_name(ImageRule rule);
/// Inverse of image_rule_name; throws InvalidArgument.
[[nodiscard]] ImageRule image_rule_from_name(const std::string& name);

struct SpadeOptions {
  PyramidOptions pyramid;
  /// Of pixels; kCenter is refused, and normalize is not looked at.
  ScoreOptions pixel{.rule = ScoreRule::kKnnMean, .k = 1};
  /// Of images: DN2's options.
  ScoreOptions image;
  ImageRule image_rule = ImageRule::kPooledKnn;
  int64_t nearest_images = 0;  ///< K; 0: pixels of all training images
  bool same_place = false;     ///< only the pixels at the same place
  int64_t clusters = 0;        ///< N; 0: the pixels themselves
  double sigma = 5;            ///< in pixels of the map
  data::ImageTransform transform;
  Tiling tiling;  ///< for whole pictures (transform.crop 0)
  /// Nothing: 5 %, or the smallest rate that the calibration can promise.
  std::optional<double> false_alarm_rate;
  /// At most so many training images are left out in turn (each costs what scoring an image costs); 0: no
  /// threshold.
  int64_t calibration_images = 100;
  /// So many training images are kept out of the gallery and used for calibration alone.
  int64_t held_out_images = 0;
  uint64_t seed = 0;  ///< of the draw of calibration images, and of K-means
};

/// Where a fit may put what it works with.
struct SpadeFitRuntime {
  int64_t gallery_bytes = int64_t{4} << 30;  ///< a larger gallery goes to a working file
  std::string scratch_directory = "/tmp";
};

class Spade final : public Detector {
 public:
  /// As Dn2::fit. Throws InvalidArgument, before the work, for too few images, a rate that the calibration
  /// cannot promise, and options that exclude each other.
  [[nodiscard]] static Spade fit(Device& device, const NamedTensors& weights, const data::ImageSet& training,
                                 const SpadeOptions& options, const ExtractOptions& extract = {},
                                 const SpadeFitRuntime& runtime = {}, Progress* progress = nullptr);
  /// Of a file that `save` wrote; it stays open where the gallery stays on disk. Throws FormatError.
  [[nodiscard]] static Spade load(Device& device, std::shared_ptr<const FittedModelFile> file,
                                  const LoadOptions& options = {});
  /// As Dn2::save. One image's pixels at a time are in memory beside the model.
  void save(const std::string& path, const NamedTensors& weights, const FitManifest& manifest) const;

  [[nodiscard]] std::string method() const override { return "spade"; }
  [[nodiscard]] std::string description() const override;
  [[nodiscard]] const data::ImageTransform& transform() const override { return options_.transform; }
  [[nodiscard]] const nn::ResnetConfig& architecture() const override { return network_->config(); }
  [[nodiscard]] int64_t training_count() const override { return training_count_; }
  [[nodiscard]] bool makes_maps() const override { return true; }
  [[nodiscard]] bool finds_training_pixels() const override { return options_.clusters == 0; }
  [[nodiscard]] std::string training_file(int64_t place) const override;
  void score_each(const data::ImageSet& images, const ExtractOptions& extract, const ScoreSink& sink,
                  Progress* progress) const override;
  [[nodiscard]] const std::optional<Threshold>& threshold() const override { return threshold_; }
  [[nodiscard]] Threshold threshold_for(double false_alarm_rate) const override;
  [[nodiscard]] std::string threshold_text(const Threshold& threshold) const override;
  [[nodiscard]] std::optional<Threshold> pixel_threshold() const override { return pixel_threshold_; }
  [[nodiscard]] std::string pixel_threshold_text(const Threshold& threshold) const override;
  /// Twice the pixel threshold: half the scale is what normal images reach.
  [[nodiscard]] double map_scale() const override;

  [[nodiscard]] const SpadeOptions& options() const { return options_; }
  /// Of a training picture's window.
  [[nodiscard]] const std::vector<PyramidLevel>& levels() const { return training_.levels; }
  /// How the gallery's pictures were cut.
  [[nodiscard]] const PictureGrid& training_grid() const { return training_; }
  /// Training pixels in all levels, or centers.
  [[nodiscard]] int64_t gallery_pixels() const;
  /// Bytes of the gallery's features.
  [[nodiscard]] int64_t gallery_bytes() const;
  [[nodiscard]] bool gallery_in_memory() const { return galleries_.empty() || galleries_[0].resident(); }
  [[nodiscard]] const std::vector<double>& calibration_scores() const { return calibration_scores_; }
  [[nodiscard]] const std::vector<double>& calibration_maxima() const { return calibration_maxima_; }

 private:
  friend class SpadeFit;
  struct Scored {
    std::vector<ScoreMap> maps;
    std::vector<NearestPixel> nearest;
  };
  Spade() = default;
  /// Of a fit on n training images. Throws InvalidArgument.
  static void check_options(const SpadeOptions& options, int64_t n);
  [[nodiscard]] bool needs_pooled() const;
  [[nodiscard]] PictureGrid grid_of(int64_t height, int64_t width) const {
    return picture_grid(network_->config(), options_.pyramid, options_.tiling, height, width);
  }
  /// Images per batch of the loader: pictures without a crop come one by one.
  [[nodiscard]] ExtractOptions loading(const ExtractOptions& extract) const;
  /// Of a gallery of all pixels: makes it ready to be searched.
  void prepare(PixelGallery& gallery) const {
    if (!options_.same_place) gallery.prepare();
  }
  /// Throws InvalidArgument where the places of this grid are not those of the training pictures.
  void check_place(const PictureGrid& grid) const;
  /// Maps of `count` images of this grid from their features, each against the pixels of its own images.
  [[nodiscard]] Scored make_maps(const PictureGrid& grid, const std::vector<ConstTensorView>& levels,
                                 int64_t count, const std::vector<std::vector<ImageRange>>& images) const;
  [[nodiscard]] ScoreMap make_map(const PictureGrid& grid, const std::vector<Tensor>& distances,
                                  int64_t image) const;
  /// The gallery images for each row of pooled features; `left_out`: gallery images not to use, one per row,
  /// or empty.
  [[nodiscard]] std::vector<std::vector<ImageRange>> images_for(const Tensor& pooled, int64_t count,
                                                                const std::vector<int64_t>& left_out) const;
  [[nodiscard]] NearestPixel nearest_pixel(const PictureGrid& grid, const ScoreMap& map,
                                           const std::vector<Tensor>& distances,
                                           const std::vector<Tensor>& indices, int64_t image) const;
  void set_thresholds();
  [[nodiscard]] std::string promise_source() const;

  SpadeOptions options_;
  std::unique_ptr<nn::Resnet> network_;
  Device* device_ = nullptr;
  PictureGrid training_;
  std::vector<PixelGallery> galleries_;     // one per level
  Tensor pooled_;                           // f32 n,D of the gallery's images, on the device, if needed
  std::optional<FeatureScorer> scorer_;     // of images, if kPooledKnn
  int64_t training_count_ = 0;              // held-out images included
  std::vector<std::string> gallery_files_;  // names; none in models of older versions
  std::vector<double> calibration_scores_;  // rising
  std::vector<double> calibration_maxima_;  // rising
  std::optional<Threshold> threshold_;
  std::optional<Threshold> pixel_threshold_;
};

}  // namespace panda::anomaly
