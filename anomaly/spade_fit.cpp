// Spade's fit: galleries, K-means of them if so asked, then calibration.
#include <algorithm>
#include <utility>

#include "anomaly/spade.h"
#include "kernels/tensor/checked_math.h"
#include "kernels/tensor/random.h"
#include "kernels/tensor/scratch_file.h"

namespace panda::anomaly {

namespace {

/// Stream of the seed from which calibration images are drawn.
constexpr uint64_t kCalibrationStream = 0x73706164;

/// `chosen` of n, drawn by the seed, rising.
std::vector<int64_t> draw(int64_t n, int64_t chosen, uint64_t seed) {
  std::vector<int64_t> order = Random(seed, kCalibrationStream).permutation(n);
  order.resize(static_cast<size_t>(std::min(n, chosen)));
  std::sort(order.begin(), order.end());
  return order;
}

/// The images' names below the directory that holds them all.
std::vector<std::string> names_of(const data::ImageSet& images, const std::vector<int64_t>& indices) {
  std::vector<std::string> names;
  for (const int64_t i : indices) names.push_back(images.sample(i).file);
  const auto [low, high] = std::minmax_element(names.begin(), names.end());
  const std::string first = *low;
  const auto differ = std::mismatch(first.begin(), first.end(), high->begin(), high->end()).first;
  const size_t shared = std::string(first.begin(), differ).rfind('/');
  if (shared == std::string::npos) return names;
  for (std::string& name : names) name.erase(0, shared + 1);
  return names;
}

}  // namespace

void Spade::check_options(const SpadeOptions& options, int64_t n) {
  options.pyramid.check();
  options.tiling.check();
  PANDA_CHECK(options.transform.crop == 0 || options.tiling.tile == 0, "spade: tiles of ",
              options.tiling.tile, " pixels are for whole pictures, not for a crop of ",
              options.transform.crop);
  PANDA_CHECK(options.pixel.rule != ScoreRule::kCenter, "spade: pixels have no center, expected a kNN score");
  PANDA_CHECK(options.pixel.k >= 1 && options.image.k >= 1, "spade: k=", options.pixel.k, " and ",
              options.image.k, ", expected at least 1");
  PANDA_CHECK(options.nearest_images >= 0 && options.held_out_images >= 0 && options.calibration_images >= 0,
              "spade: a negative number of images");
  const int64_t gallery = n - options.held_out_images;
  PANDA_CHECK(options.clusters >= 0, "spade: clusters=", options.clusters, ", expected 0 or more");
  PANDA_CHECK(options.clusters == 0 || options.nearest_images == 0,
              "spade: centers are of the pixels of all images, so clusters=", options.clusters,
              " excludes a gallery of the ", options.nearest_images, " nearest images");
  PANDA_CHECK(options.clusters == 0 || options.clusters >= options.pixel.k, "spade: ", options.clusters,
              " centers are fewer than the k=", options.pixel.k, " of pixels");
  PANDA_CHECK(!options.same_place || (options.clusters == 0 && options.nearest_images == 0),
              "spade: pixels at the same place are those of all images, so they exclude clusters=",
              options.clusters, " and the ", options.nearest_images, " nearest images");
  const bool leaves_out = options.held_out_images == 0 && options.clusters == 0;
  const int64_t left_out = leaves_out && options.calibration_images > 0 ? 1 : 0;
  const int64_t needed = std::max({options.same_place ? options.pixel.k : 1, options.nearest_images,
                                   options.image_rule == ImageRule::kPooledKnn ? options.image.k : 1});
  PANDA_CHECK(
      gallery >= needed, "spade: ", n, " training images",
      options.held_out_images > 0 ? text(", ", options.held_out_images, " of them held out,") : std::string(),
      " are fewer than the ", needed, " that the options ask for");
  if (!options.false_alarm_rate) return;
  const int64_t calibration = options.held_out_images > 0 ? options.held_out_images
                              : leaves_out && gallery - left_out >= needed
                                  ? std::min(n, options.calibration_images)
                                  : 0;
  PANDA_CHECK(options.clusters == 0 || calibration >= 1,
              "spade: with clusters there is a threshold only from images that are held out");
  PANDA_CHECK(calibration >= 1, "spade: ", n, " training images are too few for a threshold");
  static_cast<void>(
      conformal_threshold(std::vector<double>(static_cast<size_t>(calibration)), *options.false_alarm_rate));
}

/// The steps of a fit.
class SpadeFit {
 public:
  SpadeFit(Device& device, const NamedTensors& weights, const data::ImageSet& training,
           const SpadeOptions& options, const ExtractOptions& extract, const SpadeFitRuntime& runtime,
           Progress* progress)
      : training_(training), extract_(extract), runtime_(runtime), progress_(progress) {
    Spade::check_options(options, training.size());
    model_.options_ = options;
    model_.device_ = &device;
    model_.training_count_ = training.size();
    model_.network_ =
        std::make_unique<nn::Resnet>(device, feature_config(weights, options.transform), weights);
    held_out_ = draw(training.size(), options.held_out_images, options.seed);
    for (int64_t i = 0; i < training.size(); ++i) {
      if (!std::binary_search(held_out_.begin(), held_out_.end(), i)) gallery_images_.push_back(i);
    }
    if (options.clusters == 0) model_.gallery_files_ = names_of(training, gallery_images_);
    const data::Extent extent = training_extent();
    model_.training_ = model_.grid_of(extent.height, extent.width);
    for (size_t l = 0; l < model_.training_.levels.size(); ++l) {
      const PyramidLevel& level = model_.training_.levels[l];
      const int64_t pixels =
          checked_mul(static_cast<int64_t>(gallery_images_.size()), model_.training_.rows(l));
      PANDA_CHECK(options.clusters <= pixels, "spade: ", options.clusters, " clusters of the ", pixels,
                  " pixels of ", gallery_images_.size(), " images at layer ", level.layer,
                  ", expected no more than pixels");
    }
  }

  Spade run() {
    make_galleries();
    fill_galleries();
    if (model_.options_.clusters > 0) {
      cluster_galleries();
    } else {
      for (PixelGallery& gallery : model_.galleries_) model_.prepare(gallery);
    }
    if (model_.options_.image_rule == ImageRule::kPooledKnn) {
      model_.scorer_ = FeatureScorer::fit(*model_.device_, model_.pooled_, model_.options_.image);
    }
    if (!held_out_.empty()) {
      calibrate_on_held_out();
    } else if (model_.options_.clusters == 0) {
      calibrate_leaving_out();
    }
    std::sort(model_.calibration_scores_.begin(), model_.calibration_scores_.end());
    std::sort(model_.calibration_maxima_.begin(), model_.calibration_maxima_.end());
    model_.set_thresholds();
    model_.network_->release_activations();
    return std::move(model_);
  }

 private:
  /// The extents of the pictures that the gallery is made of: without a crop, those of the first.
  [[nodiscard]] data::Extent training_extent() const {
    const data::ImageTransform& transform = model_.options_.transform;
    if (transform.crop > 0) return {transform.crop, transform.crop};
    const data::Image first = training_.load(gallery_images_.front());
    return transform.extent(first.height, first.width);
  }

  void check_extent(const data::Batch& batch) const {
    const int64_t height = batch.images.shape()[2];
    const int64_t width = batch.images.shape()[3];
    const PictureGrid& grid = model_.training_;
    PANDA_CHECK(height == grid.height && width == grid.width,
                printable(training_.sample(batch.indices.front()).file), ": a picture of ", width, " x ",
                height, ", but ", printable(training_.sample(gallery_images_.front()).file), " makes one of ",
                grid.width, " x ", grid.height, "; without a crop the training images share one size");
  }

  void make_galleries() {
    const auto n = static_cast<int64_t>(gallery_images_.size());
    const PictureGrid& grid = model_.training_;
    int64_t bytes = 0;
    for (size_t l = 0; l < grid.levels.size(); ++l)
      bytes = checked_add(bytes, checked_mul(n, checked_mul(grid.rows(l), grid.levels[l].channels * 4)));
    in_memory_ = bytes <= runtime_.gallery_bytes;
    for (size_t l = 0; l < grid.levels.size(); ++l) {
      const int64_t pixels = grid.rows(l);
      const int64_t channels = grid.levels[l].channels;
      if (in_memory_) {
        model_.galleries_.emplace_back(*model_.device_, n, pixels, channels);
        continue;
      }
      // One file per level, in which the images follow one another.
      const auto file = std::make_shared<ScratchFile>(runtime_.scratch_directory);
      files_.push_back(file);
      const auto read = [file, pixels, channels](int64_t begin, int64_t end) {
        Tensor rows(host(), DType::kF32, {(end - begin) * pixels, channels}, "gallery block");
        file->read(begin * pixels * channels * 4, rows.data<float>(), rows.bytes());
        return rows;
      };
      model_.galleries_.emplace_back(*model_.device_, n, pixels, channels, read, runtime_.gallery_bytes);
    }
    if (model_.needs_pooled()) {
      model_.pooled_ =
          Tensor(*model_.device_, DType::kF32, {n, model_.network_->config().feature_channels()}, "features");
    }
  }

  void fill_galleries() {
    ExtractOptions extract = model_.loading(extract_);
    extract.order = gallery_images_;
    for_each_batch(training_, model_.options_.transform, extract, progress_, [&](const data::Batch& batch) {
      const auto count = static_cast<int64_t>(batch.indices.size());
      check_extent(batch);
      const PyramidFeatures features =
          extract_pictures(*model_.network_, batch.images, model_.training_, model_.options_.pyramid,
                           model_.needs_pooled(), extract_.batch_size);
      for (size_t l = 0; l < features.levels.size(); ++l) {
        if (in_memory_) {
          model_.galleries_[l].set(batch.first, features.levels[l]);
        } else {
          files_[l]->append(features.levels[l].data<float>(), features.levels[l].bytes());
        }
      }
      if (model_.needs_pooled())
        copy(features.pooled, model_.pooled_.view().rows(batch.first, batch.first + count));
    });
  }

  void cluster_galleries() {
    for (PixelGallery& gallery : model_.galleries_)
      gallery = gallery.clustered(model_.options_.clusters, model_.options_.seed, progress_);
    files_.clear();
  }

  void calibrate_on_held_out() {
    ExtractOptions extract = extract_;
    extract.order = held_out_;
    extract.stage = "calibrating";
    model_.score_each(
        training_, extract,
        [this](const ImageScore& result) {
          model_.calibration_scores_.push_back(result.score);
          model_.calibration_maxima_.push_back(double{map_maximum(*result.map)});
        },
        progress_);
  }

  void calibrate_leaving_out() {
    const SpadeOptions& options = model_.options_;
    const int64_t n = model_.galleries_[0].images();
    const bool image_scores_possible = !model_.scorer_ || FeatureScorer::can_leave_one_out(n, options.image);
    if (n < 2 || !image_scores_possible || n - 1 < options.nearest_images) return;
    if (options.same_place && n - 1 < options.pixel.k) return;
    std::vector<double> image_scores;
    if (model_.scorer_) image_scores = model_.scorer_->leave_one_out_scores(model_.pooled_);
    const std::vector<int64_t> chosen = draw(n, options.calibration_images, options.seed);
    const auto total = static_cast<int64_t>(chosen.size());
    // On disk the gallery is read once per batch; in memory single images keep progress smooth.
    const int64_t step = in_memory_ ? 1 : std::max<int64_t>(1, extract_.batch_size);
    for (int64_t first = 0; first < total; first += step) {
      const int64_t last = std::min(total, first + step);
      const std::vector<int64_t> images(chosen.begin() + first, chosen.begin() + last);
      const std::vector<ScoreMap> maps = left_out_maps(images);
      for (size_t i = 0; i < images.size(); ++i) {
        const double maximum = map_maximum(maps[i]);
        model_.calibration_maxima_.push_back(maximum);
        model_.calibration_scores_.push_back(model_.scorer_ ? image_scores[static_cast<size_t>(images[i])]
                                                            : maximum);
      }
      report_progress(progress_, "calibrating", last, total);
    }
  }

  std::vector<ScoreMap> left_out_maps(const std::vector<int64_t>& images) const {
    const auto count = static_cast<int64_t>(images.size());
    std::vector<Tensor> features;
    for (size_t l = 0; l < model_.training_.levels.size(); ++l) {
      const int64_t pixels = model_.training_.rows(l);
      Tensor rows(host(), DType::kF32, {count * pixels, model_.training_.levels[l].channels},
                  "pixel features");
      for (int64_t i = 0; i < count; ++i) {
        const int64_t image = images[static_cast<size_t>(i)];
        copy(model_.galleries_[l].read(image, image + 1), rows.view().rows(i * pixels, (i + 1) * pixels));
      }
      features.push_back(std::move(rows));
    }
    Tensor pooled;
    if (model_.options_.nearest_images > 0) {
      pooled = Tensor(*model_.device_, DType::kF32, {count, model_.pooled_.shape()[1]}, "features");
      for (int64_t i = 0; i < count; ++i) {
        const int64_t image = images[static_cast<size_t>(i)];
        copy(model_.pooled_.view().rows(image, image + 1), pooled.view().rows(i, i + 1));
      }
    }
    const std::vector<ConstTensorView> views(features.begin(), features.end());
    return model_.make_maps(model_.training_, views, count, model_.images_for(pooled, count, images)).maps;
  }

  const data::ImageSet& training_;
  ExtractOptions extract_;
  SpadeFitRuntime runtime_;
  Progress* progress_;
  Spade model_;
  std::vector<int64_t> held_out_;
  std::vector<int64_t> gallery_images_;  // in the training set
  bool in_memory_ = true;
  std::vector<std::shared_ptr<ScratchFile>> files_;
};

Spade Spade::fit(Device& device, const NamedTensors& weights, const data::ImageSet& training,
                 const SpadeOptions& options, const ExtractOptions& extract, const SpadeFitRuntime& runtime,
                 Progress* progress) {
  return SpadeFit(device, weights, training, options, extract, runtime, progress).run();
}

}  // namespace panda::anomaly
