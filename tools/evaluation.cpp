#include "tools/evaluation.h"

#include <algorithm>
#include <limits>
#include <set>

#include "anomaly/auroc.h"
#include "data/image_decode.h"
#include "data/resize.h"
#include "kernels/tensor/error.h"

namespace panda::tools {

namespace {

/// The `capacity` images that come first by (key, order of arrival); only those are drawn.
class Shortlist {
 public:
  explicit Shortlist(int64_t capacity) : capacity_(static_cast<size_t>(capacity)) {}

  template <typename Draw>
  void offer(double key, const Draw& draw) {
    if (capacity_ == 0 || (kept_.size() == capacity_ && !(key < kept_.back().first))) return;
    const auto place = std::upper_bound(kept_.begin(), kept_.end(), key,
                                        [](double k, const auto& entry) { return k < entry.first; });
    kept_.insert(place, {key, draw()});
    if (kept_.size() > capacity_) kept_.pop_back();
  }
  [[nodiscard]] std::vector<ShownImage> take() {
    std::vector<ShownImage> images;
    for (auto& [key, image] : kept_) images.push_back(std::move(image));
    return images;
  }

 private:
  size_t capacity_;
  std::vector<std::pair<double, ShownImage>> kept_;
};

/// Large pictures made small enough for a page. Of each block of factor x factor pixels the largest score and
/// mask value stand, so that a small defect stays visible.
struct Reduction {
  static constexpr int64_t kLargestShown = 640;  // pixels along the longer side

  Reduction(int64_t from_height, int64_t from_width)
      : factor((std::max(from_height, from_width) + kLargestShown - 1) / kLargestShown),
        height((from_height + factor - 1) / factor),
        width((from_width + factor - 1) / factor),
        from_width_(from_width) {}

  template <typename T>
  [[nodiscard]] std::vector<T> largest(const std::vector<T>& values) const {
    if (factor == 1) return values;
    std::vector<T> small(static_cast<size_t>(height * width), std::numeric_limits<T>::lowest());
    for (int64_t i = 0; i < static_cast<int64_t>(values.size()); ++i) {
      T& block = small[static_cast<size_t>(i / from_width_ / factor * width + i % from_width_ / factor)];
      block = std::max(block, values[static_cast<size_t>(i)]);
    }
    return small;
  }

  int64_t factor;
  int64_t height;
  int64_t width;

 private:
  int64_t from_width_;
};

class Evaluator {
 public:
  Evaluator(Device& device, const anomaly::Detector& model, const data::ImageSet& images,
            const EvaluationOptions& options)
      : model_(model),
        images_(images),
        options_(options),
        missed_(options.shown),
        alarms_(options.shown),
        clearest_(options.shown) {
    std::set<std::string> names;
    for (int64_t i = 0; i < images.size(); ++i) names.insert(images.sample(i).class_name);
    kind_names_.assign(names.begin(), names.end());
    result_.kinds.resize(kind_names_.size());
    if (model.makes_maps() && images.has_masks())
      pixels_.emplace(device, options.pixels, static_cast<int64_t>(kind_names_.size()));
  }

  void add(const anomaly::ImageScore& scored) {
    const data::Sample& sample = images_.sample(scored.index);
    const bool anomalous = sample.label == 1;
    const bool flagged = options_.threshold && scored.score > *options_.threshold;
    const size_t kind = kind_of(sample);
    // Decoded again where the picture's extent or pixels are needed: scoring keeps none.
    data::Image image;
    const bool with_pixels = pixels_ || options_.maps != nullptr;
    if (with_pixels) image = images_.load(scored.index);
    std::vector<uint8_t> mask;
    if (pixels_) {
      mask = model_.transform().mask(images_.load_mask(scored.index, image.height, image.width)).pixels;
      pixels_->add(scored.map->values, mask, scored.map->height, scored.map->width,
                   static_cast<int64_t>(kind));
    }
    if (options_.maps != nullptr) {
      result_.maps.push_back(options_.maps->write(sample.file, sample.class_name,
                                                  model_.transform().pixels(image), *scored.map));
    }
    const auto draw = [&] {
      return shown(sample, scored, with_pixels ? image : images_.load(scored.index), mask);
    };
    if (anomalous) {
      missed_.offer(scored.score, draw);
      clearest_.offer(-scored.score, draw);
    } else {
      alarms_.offer(-scored.score, draw);
    }
    result_.files.push_back(sample.file);
    result_.scores.push_back(scored.score);
    result_.labels.push_back(anomalous ? 1 : 0);
    kind_of_image_.push_back(kind);
    KindResult& of_kind = result_.kinds[kind];
    of_kind.anomalous = anomalous;
    ++of_kind.images;
    of_kind.flagged += flagged ? 1 : 0;
    (anomalous ? result_.anomalous : result_.normal) += 1;
    if (flagged) ++(anomalous ? result_.found : result_.false_alarms);
    if (!anomalous && options_.pixel_threshold && scored.map)
      result_.false_marks += anomaly::map_maximum(*scored.map) > *options_.pixel_threshold ? 1 : 0;
  }

  Evaluation finish(Progress* progress) {
    result_.images = anomaly::rank_scores(result_.scores, result_.labels);
    if (pixels_) result_.pixels = pixels_->finish(progress);
    for (size_t k = 0; k < kind_names_.size(); ++k) {
      KindResult& kind = result_.kinds[k];
      kind.name = kind_names_[k];
      if (!kind.anomalous) continue;
      std::vector<double> scores;
      std::vector<uint8_t> labels;
      for (size_t i = 0; i < result_.scores.size(); ++i) {
        if (result_.labels[i] == 1 && kind_of_image_[i] != k) continue;
        scores.push_back(result_.scores[i]);
        labels.push_back(result_.labels[i]);
      }
      kind.auroc = anomaly::auroc(scores, labels);
      if (!result_.pixels) continue;
      kind.pixel_auroc = result_.pixels->kinds[k].auroc;
      kind.pro = result_.pixels->kinds[k].pro;
      kind.regions = result_.pixels->kinds[k].regions;
    }
    result_.missed = missed_.take();
    result_.alarms = alarms_.take();
    for (ShownImage& image : clearest_.take()) {
      const bool shown =
          std::any_of(result_.missed.begin(), result_.missed.end(),
                      [&image](const ShownImage& missed) { return missed.file == image.file; });
      if (!shown) result_.clearest.push_back(std::move(image));
    }
    return std::move(result_);
  }

 private:
  [[nodiscard]] size_t kind_of(const data::Sample& sample) const {
    return static_cast<size_t>(std::lower_bound(kind_names_.begin(), kind_names_.end(), sample.class_name) -
                               kind_names_.begin());
  }

  [[nodiscard]] ShownImage shown(const data::Sample& sample, const anomaly::ImageScore& scored,
                                 const data::Image& image, const std::vector<uint8_t>& mask) const {
    ShownImage picture{sample.file,
                       sample.class_name,
                       scored.score,
                       sample.label == 1,
                       data::to_rgb(model_.transform().pixels(image)),
                       {},
                       {}};
    data::Image& seen = picture.picture;
    const Reduction reduction(seen.height, seen.width);
    const bool marked = !mask.empty() && picture.anomalous;
    std::vector<uint8_t> small_mask;
    if (marked) small_mask = reduction.largest(mask);
    if (reduction.factor > 1) seen = data::resize_bilinear(seen, reduction.height, reduction.width);
    if (scored.map && options_.scale) {
      const anomaly::ScoreMap small{reduction.height, reduction.width, reduction.largest(scored.map->values)};
      picture.overlay = overlay_picture(seen, small, *options_.scale);
    }
    if (marked) picture.truth = outlined_picture(seen, small_mask);
    return picture;
  }

  const anomaly::Detector& model_;
  const data::ImageSet& images_;
  const EvaluationOptions& options_;
  std::vector<std::string> kind_names_;  // sorted
  std::optional<anomaly::PixelMetrics> pixels_;
  std::vector<size_t> kind_of_image_;
  Shortlist missed_;
  Shortlist alarms_;
  Shortlist clearest_;
  Evaluation result_;
};

}  // namespace

Evaluation evaluate(Device& device, const anomaly::Detector& model, const data::ImageSet& images,
                    const anomaly::ExtractOptions& extract, const EvaluationOptions& options,
                    Progress* progress) {
  Evaluator evaluator(device, model, images, options);
  anomaly::ExtractOptions scoring = extract;
  scoring.stage = "scoring";
  std::vector<std::string> failures;
  scoring.failures = &failures;
  model.score_each(
      images, scoring, [&](const anomaly::ImageScore& scored) { evaluator.add(scored); }, progress);
  Evaluation result = evaluator.finish(progress);
  result.left_out = std::move(failures);
  return result;
}

}  // namespace panda::tools
