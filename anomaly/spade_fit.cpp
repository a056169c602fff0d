// Spade's fit: galleries, then calibration.
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

}  // namespace

void Spade::check_options(const SpadeOptions& options, int64_t n) {
  options.pyramid.check();
  PANDA_CHECK(options.pixel.rule != ScoreRule::kCenter, "spade: pixels have no center, expected a kNN score");
  PANDA_CHECK(options.pixel.k >= 1 && options.image.k >= 1, "spade: k=", options.pixel.k, " and ",
              options.image.k, ", expected at least 1");
  PANDA_CHECK(options.nearest_images >= 0 && options.held_out_images >= 0 && options.calibration_images >= 0,
              "spade: a negative number of images");
  const int64_t gallery = n - options.held_out_images;
  const int64_t left_out = options.held_out_images == 0 && options.calibration_images > 0 ? 1 : 0;
  const int64_t needed = std::max({int64_t{1}, options.nearest_images,
                                   options.image_rule == ImageRule::kPooledKnn ? options.image.k : 1});
  PANDA_CHECK(
      gallery >= needed, "spade: ", n, " training images",
      options.held_out_images > 0 ? text(", ", options.held_out_images, " of them held out,") : std::string(),
      " are fewer than the ", needed, " that the options ask for");
  if (!options.false_alarm_rate) return;
  const int64_t calibration = options.held_out_images > 0    ? options.held_out_images
                              : gallery - left_out >= needed ? std::min(n, options.calibration_images)
                                                             : 0;
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
    model_.levels_ = pyramid_levels(model_.network_->config(), options.pyramid, options.transform.crop,
                                    options.transform.crop);
    held_out_ = draw(training.size(), options.held_out_images, options.seed);
    for (int64_t i = 0; i < training.size(); ++i) {
      if (!std::binary_search(held_out_.begin(), held_out_.end(), i)) gallery_images_.push_back(i);
    }
  }

  Spade run() {
    make_galleries();
    fill_galleries();
    if (model_.options_.image_rule == ImageRule::kPooledKnn) {
      model_.scorer_ = FeatureScorer::fit(*model_.device_, model_.pooled_, model_.options_.image);
    }
    if (!held_out_.empty()) {
      calibrate_on_held_out();
    } else {
      calibrate_leaving_out();
    }
    std::sort(model_.calibration_scores_.begin(), model_.calibration_scores_.end());
    std::sort(model_.calibration_maxima_.begin(), model_.calibration_maxima_.end());
    model_.set_thresholds();
    model_.network_->release_activations();
    return std::move(model_);
  }

 private:
  void make_galleries() {
    const auto n = static_cast<int64_t>(gallery_images_.size());
    int64_t bytes = 0;
    for (const PyramidLevel& level : model_.levels_)
      bytes = checked_add(bytes, checked_mul(n, checked_mul(level.pixels(), level.channels * 4)));
    in_memory_ = bytes <= runtime_.gallery_bytes;
    for (size_t l = 0; l < model_.levels_.size(); ++l) {
      const PyramidLevel& level = model_.levels_[l];
      if (in_memory_) {
        model_.galleries_.emplace_back(*model_.device_, n, level.pixels(), level.channels);
        continue;
      }
      // One file per level, in which the images follow one another.
      const auto file = std::make_shared<ScratchFile>(runtime_.scratch_directory);
      files_.push_back(file);
      const auto read = [file, level](int64_t begin, int64_t end) {
        Tensor rows(host(), DType::kF32, {(end - begin) * level.pixels(), level.channels}, "gallery block");
        file->read(begin * level.pixels() * level.channels * 4, rows.data<float>(), rows.bytes());
        return rows;
      };
      model_.galleries_.emplace_back(*model_.device_, n, level.pixels(), level.channels, read,
                                     runtime_.gallery_bytes);
    }
    if (model_.needs_pooled()) {
      model_.pooled_ =
          Tensor(*model_.device_, DType::kF32, {n, model_.network_->config().feature_channels()}, "features");
    }
  }

  void fill_galleries() {
    ExtractOptions extract = extract_;
    extract.order = gallery_images_;
    for_each_batch(training_, model_.options_.transform, extract, progress_, [&](const data::Batch& batch) {
      const auto count = static_cast<int64_t>(batch.indices.size());
      const PyramidFeatures features =
          extract_pyramid(*model_.network_, batch.images, model_.options_.pyramid, model_.needs_pooled());
      for (size_t l = 0; l < model_.levels_.size(); ++l) {
        if (in_memory_) {
          model_.galleries_[l].set(batch.first, features.levels[l]);
        } else {
          files_[l]->append(features.levels[l].data<float>(), features.levels[l].bytes());
        }
      }
      if (model_.needs_pooled())
        copy(features.pooled, model_.pooled_.view().rows(batch.first, batch.first + count));
    });
    for (PixelGallery& gallery : model_.galleries_) gallery.prepare();
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
    for (size_t l = 0; l < model_.levels_.size(); ++l) {
      const PyramidLevel& level = model_.levels_[l];
      Tensor rows(host(), DType::kF32, {count * level.pixels(), level.channels}, "pixel features");
      for (int64_t i = 0; i < count; ++i) {
        const int64_t image = images[static_cast<size_t>(i)];
        copy(model_.galleries_[l].read(image, image + 1),
             rows.view().rows(i * level.pixels(), (i + 1) * level.pixels()));
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
    return model_.make_maps(views, count, model_.images_for(pooled, count, images)).maps;
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
