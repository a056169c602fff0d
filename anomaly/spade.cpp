#include "anomaly/spade.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/knn.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/parallel.h"

namespace panda::anomaly {

const char* image_rule_name(ImageRule rule) {
  return rule == ImageRule::kPooledKnn ? "knn" : "map-max";
}

ImageRule image_rule_from_name(const std::string& name) {
  if (name == "knn") return ImageRule::kPooledKnn;
  if (name == "map-max") return ImageRule::kMapMaximum;
  throw InvalidArgument(text("unknown image score '", printable(name), "', expected knn or map-max"));
}

namespace {

std::string picture_text(const SpadeOptions& options) {
  if (options.transform.crop > 0) return "";
  if (options.tiling.tile == 0) return ", whole pictures";
  return text(", tiles of ", options.tiling.tile, " pixels with an overlap of ", options.tiling.overlap);
}

}  // namespace

bool Spade::needs_pooled() const {
  return options_.image_rule == ImageRule::kPooledKnn || options_.nearest_images > 0;
}

std::string Spade::description() const {
  std::string layers;
  for (const int64_t layer : options_.pyramid.layers) layers += text(layers.empty() ? "" : ",", layer);
  return text("spade: layers ", layers, options_.pyramid.concatenate ? " concatenated, " : " summed, ",
              score_rule_name(options_.pixel.rule), ", k=", options_.pixel.k, ", gallery ",
              options_.same_place           ? std::string("of the same place in all images")
              : options_.clusters > 0       ? text("of ", options_.clusters, " K-means centers per layer")
              : options_.nearest_images > 0 ? text("of the ", options_.nearest_images, " nearest images")
                                            : std::string("of all images"),
              ", sigma ", options_.sigma, picture_text(options_), ", image score ",
              image_rule_name(options_.image_rule), "; ", nn::describe(network_->config()));
}

int64_t Spade::gallery_pixels() const {
  int64_t pixels = 0;
  for (const PixelGallery& gallery : galleries_) pixels += gallery.images() * gallery.pixels();
  return pixels;
}

int64_t Spade::gallery_bytes() const {
  int64_t bytes = 0;
  for (const PixelGallery& gallery : galleries_)
    bytes += gallery.images() * gallery.pixels() * gallery.width() * 4;
  return bytes;
}

std::string Spade::training_file(int64_t place) const {
  return gallery_files_.empty() ? "" : gallery_files_.at(static_cast<size_t>(place));
}

std::vector<std::vector<ImageRange>> Spade::images_for(const Tensor& pooled, int64_t count,
                                                       const std::vector<int64_t>& left_out) const {
  const int64_t n = galleries_[0].images();
  const auto without = [](std::vector<int64_t> images) {
    std::sort(images.begin(), images.end());
    std::vector<ImageRange> ranges;
    for (const int64_t image : images) {
      if (!ranges.empty() && ranges.back().end == image) {
        ++ranges.back().end;
      } else {
        ranges.push_back({image, image + 1});
      }
    }
    return ranges;
  };
  std::vector<std::vector<ImageRange>> result(static_cast<size_t>(count));
  const int64_t k = std::min(n, options_.nearest_images + (left_out.empty() ? 0 : 1));
  Tensor indices;
  if (options_.nearest_images > 0) {
    const Shape shape{count, k};
    const Tensor distances(*device_, DType::kF64, shape, "knn distances");
    indices = Tensor(*device_, DType::kI64, shape, "knn indices");
    kernels::knn_search(*device_, {pooled, pooled_, k, distances, indices});
    if (!device_->host_accessible()) indices = clone_to(indices, host(), "knn indices");
  }
  for (int64_t i = 0; i < count; ++i) {
    const int64_t skipped = left_out.empty() ? -1 : left_out[static_cast<size_t>(i)];
    std::vector<int64_t> images;
    if (options_.nearest_images > 0) {
      for (int64_t j = 0; j < k && static_cast<int64_t>(images.size()) < options_.nearest_images; ++j) {
        const int64_t image = indices.data<int64_t>()[i * k + j];
        if (image != skipped) images.push_back(image);
      }
    } else {
      for (int64_t image = 0; image < n; ++image) {
        if (image != skipped) images.push_back(image);
      }
    }
    result[static_cast<size_t>(i)] = without(std::move(images));
  }
  return result;
}

void Spade::check_place(const PictureGrid& grid) const {
  PANDA_CHECK(grid.height == training_.height && grid.width == training_.width, "a picture of ", grid.width,
              " x ", grid.height, ", but pixels are compared at the same place of pictures of ",
              training_.width, " x ", training_.height);
}

Spade::Scored Spade::make_maps(const PictureGrid& grid, const std::vector<ConstTensorView>& levels,
                               int64_t count, const std::vector<std::vector<ImageRange>>& images) const {
  const int64_t k = options_.pixel.k;
  if (options_.same_place) check_place(grid);
  std::vector<Tensor> distances;
  std::vector<Tensor> indices;
  for (size_t l = 0; l < galleries_.size(); ++l) {
    const int64_t pixels = grid.rows(l);
    const Shape shape{count * pixels, k};
    distances.emplace_back(host(), DType::kF64, shape, "pixel distances");
    indices.emplace_back(host(), DType::kI64, shape, "pixel indices");
    std::vector<PixelQuery> queries;
    const bool all = options_.nearest_images == 0 && images[0].size() == 1 &&
                     images[0][0].end - images[0][0].begin == galleries_[l].images();
    if (all) {  // one search for the whole batch
      queries.push_back({levels[l], images[0], distances[l], indices[l]});
    } else {
      for (int64_t i = 0; i < count; ++i) {
        queries.push_back({levels[l].rows(i * pixels, (i + 1) * pixels), images[static_cast<size_t>(i)],
                           distances[l].view().rows(i * pixels, (i + 1) * pixels),
                           indices[l].view().rows(i * pixels, (i + 1) * pixels)});
      }
    }
    if (options_.same_place) {
      galleries_[l].search_same_place(queries, k);
    } else {
      galleries_[l].search(queries, k);
    }
  }

  Scored scored;
  scored.maps.resize(static_cast<size_t>(count));
  scored.nearest.resize(static_cast<size_t>(count));
  device_->threads().parallel_for(count, [&](int64_t i, int) {
    ScoreMap& map = scored.maps[static_cast<size_t>(i)];
    map = make_map(grid, distances, i);
    if (finds_training_pixels())
      scored.nearest[static_cast<size_t>(i)] = nearest_pixel(grid, map, distances, indices, i);
  });
  return scored;
}

ScoreMap Spade::make_map(const PictureGrid& grid, const std::vector<Tensor>& distances, int64_t image) const {
  const auto windows = static_cast<int64_t>(grid.windows.size());
  WindowBlend blend(grid);
  for (int64_t t = 0; t < windows; ++t) {
    const Window& window = grid.windows[static_cast<size_t>(t)];
    std::vector<double> sum(static_cast<size_t>(window.height * window.width), 0.0);
    for (size_t l = 0; l < grid.levels.size(); ++l) {
      const PyramidLevel& level = grid.levels[l];
      const int64_t begin = (image * windows + t) * level.pixels();
      const std::vector<double> scores =
          knn_scores(options_.pixel.rule, distances[l].view().rows(begin, begin + level.pixels()));
      add_interpolated(scores, level.height, level.width, window.height, window.width, sum);
    }
    blend.add(window, sum);
  }
  std::vector<double> whole = blend.take();
  gaussian_smooth(whole, grid.height, grid.width, options_.sigma);
  ScoreMap map{grid.height, grid.width, std::vector<float>(whole.size())};
  std::transform(whole.begin(), whole.end(), map.values.begin(),
                 [](double value) { return static_cast<float>(value); });
  return map;
}

NearestPixel Spade::nearest_pixel(const PictureGrid& grid, const ScoreMap& map,
                                  const std::vector<Tensor>& distances, const std::vector<Tensor>& indices,
                                  int64_t image) const {
  const auto place = std::max_element(map.values.begin(), map.values.end()) - map.values.begin();
  NearestPixel nearest;
  nearest.row = static_cast<int64_t>(place) / map.width;
  nearest.column = static_cast<int64_t>(place) % map.width;
  const size_t t = grid.window_at(nearest.row, nearest.column);
  const Window& window = grid.windows[t];
  const Window& training_size = training_.windows.front();
  double farthest = -1;
  for (size_t l = 0; l < grid.levels.size(); ++l) {
    const PyramidLevel& level = grid.levels[l];
    const int64_t row = (nearest.row - window.top) * level.height / window.height;
    const int64_t column = (nearest.column - window.left) * level.width / window.width;
    const int64_t at =
        (image * grid.rows(l) + static_cast<int64_t>(t) * level.pixels() + row * level.width + column) *
        options_.pixel.k;
    if (!(distances[l].data<double>()[at] > farthest)) continue;
    farthest = distances[l].data<double>()[at];
    const int64_t found = indices[l].data<int64_t>()[at];
    const PyramidLevel& trained = training_.levels[l];
    const int64_t pixel = found % trained.pixels();
    const Window& there =
        training_.windows[static_cast<size_t>(found % training_.rows(l) / trained.pixels())];
    nearest.layer = level.layer;
    nearest.training_image = found / training_.rows(l);
    // The middle of the grid cell.
    nearest.training_row =
        there.top + (2 * (pixel / trained.width) + 1) * training_size.height / (2 * trained.height);
    nearest.training_column =
        there.left + (2 * (pixel % trained.width) + 1) * training_size.width / (2 * trained.width);
  }
  return nearest;
}

ExtractOptions Spade::loading(const ExtractOptions& extract) const {
  ExtractOptions options = extract;
  if (options_.transform.crop == 0) options.batch_size = 1;
  return options;
}

void Spade::score_each(const data::ImageSet& images, const ExtractOptions& extract, const ScoreSink& sink,
                       Progress* progress) const {
  const auto score_batch = [&](const data::Batch& batch) {
    const auto count = static_cast<int64_t>(batch.indices.size());
    const PictureGrid grid = grid_of(batch.images.shape()[2], batch.images.shape()[3]);
    const PyramidFeatures features =
        extract_pictures(*network_, batch.images, grid, options_.pyramid, needs_pooled(), extract.batch_size);
    const std::vector<ConstTensorView> levels(features.levels.begin(), features.levels.end());
    Scored scored = make_maps(grid, levels, count, images_for(features.pooled, count, {}));
    std::vector<double> scores;
    if (scorer_) scores = scorer_->score(features.pooled);
    for (size_t i = 0; i < batch.indices.size(); ++i) {
      ImageScore result;
      result.index = batch.indices[i];
      result.score = scorer_ ? scores[i] : double{map_maximum(scored.maps[i])};
      result.map = std::move(scored.maps[i]);
      if (finds_training_pixels()) result.nearest = scored.nearest[i];
      sink(result);
    }
  };
  for_each_batch(images, options_.transform, loading(extract), progress, score_batch);
}

void Spade::set_thresholds() {
  threshold_.reset();
  pixel_threshold_.reset();
  if (calibration_scores_.empty()) return;
  constexpr double kDefaultFalseAlarmRate = 0.05;
  const auto count = static_cast<int64_t>(calibration_scores_.size());
  const double rate =
      options_.false_alarm_rate.value_or(std::max(kDefaultFalseAlarmRate, smallest_false_alarm_rate(count)));
  threshold_ = conformal_threshold(calibration_scores_, rate);
  pixel_threshold_ = conformal_threshold(calibration_maxima_, rate);
}

Threshold Spade::threshold_for(double false_alarm_rate) const {
  PANDA_CHECK(!calibration_scores_.empty(), "spade: the model was fitted without calibration images");
  return conformal_threshold(calibration_scores_, false_alarm_rate);
}

std::string Spade::promise_source() const {
  return options_.held_out_images > 0 ? "that were held out of the fit" : "that were left out in turn";
}

std::string Spade::threshold_text(const Threshold& threshold) const {
  const std::string promise = threshold_meaning(threshold, promise_source());
  // Which images are nearest may change with one image more, so leaving one out promises nothing exactly.
  if (options_.nearest_images > 0 && options_.held_out_images == 0) return "about, " + promise;
  return promise;
}

std::string Spade::pixel_threshold_text(const Threshold& threshold) const {
  return text(options_.nearest_images > 0 && options_.held_out_images == 0 ? "about, " : "", "at most ",
              percent_text(threshold.false_alarm_rate),
              " of normal images are expected to have a pixel above ", static_cast<float>(threshold.value),
              " (from ", threshold.normal_count, " normal images ", promise_source(), ")");
}

double Spade::map_scale() const {
  return pixel_threshold_ ? 2 * pixel_threshold_->value : 0;
}

}  // namespace panda::anomaly
