// Spade's part of the fitted-model file. Each image's pixels are a tensor of their own, so that writing and
// reading need never hold more than one of them beside the model. K-means centers are one tensor per level.
#include <sstream>
#include <utility>

#include "anomaly/spade.h"
#include "kernels/tensor/checked_math.h"

namespace panda::anomaly {

namespace {

constexpr const char* kNetworkPrefix = "network/";

/// Of what the decoders read.
constexpr int64_t kMaxPictureExtent = int64_t{1} << 20;

/// "gallery/layer1/000123", or "gallery/concatenated/000123"; of centers "centers/layer1"; to be compared at
/// the same place "places/layer1/000123", so that a reader that does not know of it finds none.
std::string gallery_name(const SpadeOptions& options, const PyramidLevel& level, int64_t image) {
  const std::string layer =
      options.pyramid.concatenate ? std::string("concatenated") : text("layer", level.layer);
  if (options.clusters > 0) return "centers/" + layer;
  const std::string number = std::to_string(image);
  constexpr size_t kDigits = 6;
  return text(options.same_place ? "places/" : "gallery/", layer, "/",
              std::string(kDigits - std::min(kDigits, number.size()), '0'), number);
}

/// The model's pixels as named tensors, read one image at a time.
class GalleryTensors final : public NamedTensors {
 public:
  explicit GalleryTensors(const Spade& model, const std::vector<PixelGallery>& galleries) {
    for (size_t l = 0; l < galleries.size(); ++l) {
      for (int64_t i = 0; i < galleries[l].images(); ++i) {
        places_[gallery_name(model.options(), model.levels()[l], i)] = {&galleries[l], i};
      }
    }
  }
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [name, place] : places_) all.push_back(name);
    return all;
  }
  [[nodiscard]] std::vector<TensorInfo> list() const override {
    std::vector<TensorInfo> infos;
    for (const auto& [name, place] : places_) {
      infos.push_back({name, DType::kF32, {place.first->pixels(), place.first->width()}});
    }
    return infos;
  }
  [[nodiscard]] bool contains(const std::string& name) const override { return places_.count(name) != 0; }
  [[nodiscard]] Tensor load(const std::string& name) const override {
    const auto& [gallery, image] = places_.at(name);
    return gallery->read(image, image + 1);
  }
  [[nodiscard]] std::string source() const override { return "the gallery"; }

 private:
  std::map<std::string, std::pair<const PixelGallery*, int64_t>> places_;
};

}  // namespace

void Spade::save(const std::string& path, const NamedTensors& weights, const FitManifest& manifest) const {
  weights::Metadata fields;
  fields["arch"] = nn::describe(network_->config());
  std::string layers;
  for (const int64_t layer : options_.pyramid.layers) layers += std::to_string(layer);
  fields["option.layers"] = layers;
  fields["option.combine"] = options_.pyramid.concatenate ? "concatenate" : "ensemble";
  fields["option.pixel_score"] = score_rule_name(options_.pixel.rule);
  fields["option.pixel_k"] = std::to_string(options_.pixel.k);
  fields["option.image_score"] = image_rule_name(options_.image_rule);
  fields["option.score"] = score_rule_name(options_.image.rule);
  fields["option.k"] = std::to_string(options_.image.k);
  fields["option.normalize"] = options_.image.normalize ? "1" : "0";
  fields["option.nearest_images"] = std::to_string(options_.nearest_images);
  fields["option.sigma"] = field_text(options_.sigma);
  fields["option.held_out_images"] = std::to_string(options_.held_out_images);
  if (options_.clusters > 0) fields["option.clusters"] = std::to_string(options_.clusters);
  if (options_.same_place) fields["option.same_place"] = "1";
  if (options_.transform.crop == 0) {
    fields["option.tile"] = std::to_string(options_.tiling.tile);
    fields["option.overlap"] = std::to_string(options_.tiling.overlap);
    fields["training_height"] = std::to_string(training_.height);
    fields["training_width"] = std::to_string(training_.width);
  }
  fields["gallery_images"] = std::to_string(training_count_ - options_.held_out_images);
  fields["training_count"] = std::to_string(training_count_);
  if (!gallery_files_.empty()) {
    std::string& files = fields["gallery_files"];  // a line for each image
    for (const std::string& file : gallery_files_) files += printable(file) + "\n";
  }
  put_transform(fields, options_.transform);
  put_manifest(fields, manifest);
  if (threshold_) {
    fields["threshold.false_alarm_rate"] = field_text(threshold_->false_alarm_rate);
    fields["threshold.value"] = field_text(threshold_->value);
    fields["threshold.meaning"] = threshold_text(*threshold_);
    fields["threshold.pixel_value"] = field_text(pixel_threshold_->value);
    fields["threshold.pixel_meaning"] = pixel_threshold_text(*pixel_threshold_);
  }

  TensorBundle tensors(path);
  nn::ResnetConfig stored = nn::detect_resnet(weights);
  stored.class_count = 0;
  std::vector<std::string> names;
  for (const nn::ParameterInfo& parameter : nn::resnet_parameters(stored)) names.push_back(parameter.name);
  tensors.add_from(kNetworkPrefix, weights, names);
  const GalleryTensors gallery(*this, galleries_);
  tensors.add_from("", gallery, gallery.names());
  if (needs_pooled()) tensors.add("features", clone_to(pooled_, host(), "features"));
  const auto add_values = [&](const char* name, const std::vector<double>& values) {
    tensors.add(name, Tensor::from<double>({static_cast<int64_t>(values.size())}, values.data()));
  };
  add_values("calibration_scores", calibration_scores_);
  add_values("calibration_maxima", calibration_maxima_);
  write_fitted_model(path, "spade", fields, tensors, kPixelModelVersion);
}

namespace {

SpadeOptions read_options(const FittedModelFile& file) {
  SpadeOptions options;
  options.pyramid.layers.clear();
  for (const char digit : file.text_field("option.layers")) options.pyramid.layers.push_back(digit - '0');
  const std::string& combine = file.text_field("option.combine");
  options.pyramid.concatenate = combine == "concatenate";
  PANDA_CHECK(options.pyramid.concatenate || combine == "ensemble", "unknown option.combine '",
              printable(combine), "'");
  options.pyramid.check();
  options.pixel.rule = score_rule_from_name(file.text_field("option.pixel_score"));
  options.pixel.k = file.integer_field("option.pixel_k", 1, INT32_MAX);
  options.image_rule = image_rule_from_name(file.text_field("option.image_score"));
  options.image.rule = score_rule_from_name(file.text_field("option.score"));
  options.image.k = file.integer_field("option.k", 1, INT64_MAX);
  options.image.normalize = file.flag_field("option.normalize");
  options.nearest_images = file.integer_field("option.nearest_images", 0, INT32_MAX);
  if (file.has("option.clusters")) options.clusters = file.integer_field("option.clusters", 1, INT32_MAX);
  if (file.has("option.same_place")) options.same_place = file.flag_field("option.same_place");
  options.sigma = file.real_field("option.sigma");
  PANDA_CHECK(options.sigma >= 0 && options.sigma <= 1000, "option.sigma is ", options.sigma,
              ", expected 0 to 1000");
  options.held_out_images = file.integer_field("option.held_out_images", 0, INT32_MAX);
  options.transform = get_transform(file, true);
  if (options.transform.crop == 0) {
    options.tiling.tile = file.integer_field("option.tile", 0, kMaxPictureExtent);
    options.tiling.overlap = file.integer_field("option.overlap", 0, kMaxPictureExtent);
  }
  if (file.has("threshold.false_alarm_rate"))
    options.false_alarm_rate = file.real_field("threshold.false_alarm_rate");
  return options;
}

std::vector<double> read_values(const FittedModelFile& file, const char* name) {
  const Tensor values = file.load(name, DType::kF64, 1);
  return {values.data<double>(), values.data<double>() + values.numel()};
}

std::vector<std::string> read_gallery_files(const FittedModelFile& file, int64_t count) {
  std::vector<std::string> files;
  if (!file.has("gallery_files")) return files;
  std::istringstream lines(file.text_field("gallery_files"));
  for (std::string line; std::getline(lines, line);) files.push_back(line);
  PANDA_CHECK(static_cast<int64_t>(files.size()) == count, "the model's gallery_files names ", files.size(),
              " images, expected ", count);
  return files;
}

/// Images [begin, end) of one level out of the file, each with so many pixels.
Tensor read_gallery(const FittedModelFile& file, const SpadeOptions& options, const PyramidLevel& level,
                    int64_t pixels, int64_t begin, int64_t end) {
  Tensor rows(host(), DType::kF32, {checked_mul(end - begin, pixels), level.channels}, "gallery block");
  for (int64_t i = begin; i < end; ++i) {
    const std::string name = gallery_name(options, level, i);
    const Tensor image = file.load(name, DType::kF32, 2);
    if (image.shape() != Shape{pixels, level.channels}) {
      throw FormatError(file.source(), text("the model's tensor '", name, "' is ", image.shape(),
                                            ", expected ", pixels, "x", level.channels));
    }
    copy(image, rows.view().rows((i - begin) * pixels, (i - begin + 1) * pixels));
  }
  return rows;
}

}  // namespace

Spade Spade::load(Device& device, std::shared_ptr<const FittedModelFile> file, const LoadOptions& load) {
  if (file->method() != "spade") {
    throw FormatError(file->source(),
                      text("a model of the method ", printable(file->method()), ", expected spade"));
  }
  try {
    Spade model;
    model.options_ = read_options(*file);
    model.device_ = &device;
    model.training_count_ = file->integer_field("training_count", 1, INT64_MAX);
    const int64_t n = file->integer_field("gallery_images", 1, INT32_MAX);
    model.gallery_files_ = read_gallery_files(*file, n);
    const PrefixedTensors parameters(file->tensors(), kNetworkPrefix);
    model.network_ = std::make_unique<nn::Resnet>(
        device, feature_config(parameters, model.options_.transform), parameters);
    const int64_t crop = model.options_.transform.crop;
    const auto extent = [&file, crop](const char* field) {
      return crop > 0 ? crop : file->integer_field(field, 1, kMaxPictureExtent);
    };
    model.training_ = model.grid_of(extent("training_height"), extent("training_width"));
    const PictureGrid& grid = model.training_;
    // Centers are few, and stay in memory.
    const int64_t clusters = model.options_.clusters;
    int64_t bytes = 0;
    for (size_t l = 0; l < grid.levels.size(); ++l)
      bytes = checked_add(bytes, checked_mul(n, checked_mul(grid.rows(l), grid.levels[l].channels * 4)));
    for (size_t l = 0; l < grid.levels.size(); ++l) {
      const PyramidLevel& level = grid.levels[l];
      const int64_t pixels = grid.rows(l);
      if (clusters > 0) {
        const Tensor centers = read_gallery(*file, model.options_, level, clusters, 0, 1);
        model.galleries_.emplace_back(device, 1, clusters, level.channels);
        model.galleries_.back().set(0, centers);
        model.galleries_.back().prepare();
        continue;
      }
      // Every image is looked at once, so that a model that lacks one is refused here.
      if (bytes <= load.gallery_bytes) {
        PixelGallery gallery(device, n, pixels, level.channels);
        for (int64_t i = 0; i < n; ++i)
          gallery.set(i, read_gallery(*file, model.options_, level, pixels, i, i + 1));
        model.prepare(gallery);
        model.galleries_.push_back(std::move(gallery));
        continue;
      }
      for (int64_t i = 0; i < n; ++i)
        static_cast<void>(read_gallery(*file, model.options_, level, pixels, i, i + 1));
      const auto read = [file, options = model.options_, level, pixels](int64_t begin, int64_t end) {
        return read_gallery(*file, options, level, pixels, begin, end);
      };
      model.galleries_.emplace_back(device, n, pixels, level.channels, read, load.gallery_bytes);
    }
    if (model.needs_pooled()) {
      model.pooled_ = clone_to(file->load("features", DType::kF32, 2), device, "features");
      const Shape expected{n, model.network_->config().feature_channels()};
      PANDA_CHECK(model.pooled_.shape() == expected, "the model's tensor 'features' is ",
                  model.pooled_.shape(), ", expected ", expected);
    }
    if (model.options_.image_rule == ImageRule::kPooledKnn) {
      model.scorer_ = FeatureScorer::fit(device, model.pooled_, model.options_.image);
    }
    check_options(model.options_, n + model.options_.held_out_images);
    model.calibration_scores_ = read_values(*file, "calibration_scores");
    model.calibration_maxima_ = read_values(*file, "calibration_maxima");
    PANDA_CHECK(model.calibration_scores_.size() == model.calibration_maxima_.size(), "the model has ",
                model.calibration_scores_.size(), " calibration scores but ",
                model.calibration_maxima_.size(), " maxima");
    model.set_thresholds();
    return model;
  } catch (const InvalidArgument& error) {
    throw FormatError(file->source(), error.what());
  }
}

}  // namespace panda::anomaly
