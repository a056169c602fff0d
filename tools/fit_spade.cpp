#include "tools/fit_spade.h"

#include <filesystem>

#include "anomaly/spade.h"
#include "anomaly/threshold.h"
#include "kernels/tensor/file.h"
#include "tools/dataset_options.h"
#include "tools/detector.h"
#include "tools/exit_code.h"
#include "tools/score_options.h"

namespace panda::tools {

namespace {

constexpr const char* kNearestPrefix = "nearest:";
constexpr const char* kSamePlace = "same-place";

/// K of "nearest:K", 0 for "all" and "same-place", nothing for anything else.
std::optional<int64_t> nearest_images(const std::string& value) {
  if (value == "all" || value == kSamePlace) return 0;
  const std::string prefix = kNearestPrefix;
  if (value.compare(0, prefix.size(), prefix) != 0) return std::nullopt;
  const std::optional<int64_t> k = parse_number<int64_t>(value.substr(prefix.size()));
  return k && *k >= 1 && *k <= INT32_MAX ? k : std::nullopt;
}

bool is_gallery(const std::string& value) {
  return nearest_images(value).has_value();
}

std::string directory_of(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

int64_t overlap_of(const ParsedOptions& options) {
  return options.has("overlap") ? options.integer("overlap") : options.integer("tile") / 4;
}

anomaly::SpadeOptions parsed_options(const ParsedOptions& options, int64_t training_images) {
  anomaly::SpadeOptions spade;
  spade.pyramid.layers = options.integers("layers");
  spade.pyramid.concatenate = options.text("combine") == "concatenate";
  spade.nearest_images = *nearest_images(options.text("gallery"));
  spade.same_place = options.text("gallery") == kSamePlace;
  spade.sigma = options.real("sigma");
  spade.pixel.rule = anomaly::score_rule_from_name(options.text("pixel-score"));
  spade.pixel.k = options.integer("pixel-k");
  spade.image_rule = anomaly::image_rule_from_name(options.text("image-score"));
  spade.image = score_options(options);
  if (options.has("false-alarm-rate")) spade.false_alarm_rate = options.real("false-alarm-rate");
  spade.calibration_images = options.integer("calibration-images");
  if (options.has("clusters")) spade.clusters = options.integer("clusters");
  if (options.has("hold-out")) {
    spade.held_out_images = options.integer("hold-out");
  } else if (spade.clusters > 0 && spade.calibration_images > 0) {
    spade.held_out_images = anomaly::default_held_out(training_images);
  }
  spade.seed = static_cast<uint64_t>(options.integer("seed"));
  spade.transform.resize = options.integer("resize");
  spade.transform.crop = options.integer("crop");
  if (!takes_whole_pictures(options)) return spade;
  spade.transform.crop = 0;
  const bool tiles = options.has("tile");
  if (options.integer("resize") == 0 || (tiles && !options.given("resize"))) {
    spade.transform.resize_mode = data::ImageTransform::ResizeMode::kNone;
    spade.transform.resize = data::ImageTransform{}.resize;  // not looked at
  }
  if (tiles) spade.tiling = {options.integer("tile"), overlap_of(options)};
  return spade;
}

}  // namespace

std::vector<OptionSpec> spade_options() {
  return {
      {.name = "layers",
       .kind = OptionKind::kIntegerList,
       .value_name = "LIST",
       .default_value = "1,2,3",
       .summary = "spade: the layers whose features are compared",
       .detail = "",
       .minimum = 1,
       .maximum = 4},
      {.name = "combine",
       .kind = OptionKind::kChoice,
       .value_name = "HOW",
       .default_value = "ensemble",
       .summary = "spade: sum the layers' scores, or compare all their features at once",
       .detail = "The paper reports ensemble.",
       .choices = {"ensemble", "concatenate"}},
      {.name = "gallery",
       .kind = OptionKind::kText,
       .value_name = "WHICH",
       .default_value = "all",
       .summary = "spade: the training pixels that are searched: all, nearest:K or same-place",
       .detail = "nearest:50 searches the 50 training images with the nearest pooled features. same-place "
                 "searches all images, but only where the pixel itself is: much faster, and right for parts "
                 "that always lie alike.",
       .accepts = is_gallery,
       .expected = "all, nearest:K or same-place"},
      {.name = "sigma",
       .kind = OptionKind::kReal,
       .value_name = "PX",
       .default_value = "5",
       .summary = "spade: the Gaussian that smooths the map",
       .detail = "",
       .minimum = 0,
       .maximum = 1000},
      {.name = "pixel-score",
       .kind = OptionKind::kChoice,
       .value_name = "RULE",
       .default_value = "knn-mean",
       .summary = "spade: how far a pixel is from the normal ones",
       .detail = "",
       .choices = {"knn-mean", "knn-sum-sq"}},
      {.name = "pixel-k",
       .kind = OptionKind::kInteger,
       .value_name = "N",
       .default_value = "1",
       .summary = "spade: nearest pixels",
       .detail = "",
       .minimum = 1,
       .maximum = 1'000'000},
      {.name = "image-score",
       .kind = OptionKind::kChoice,
       .value_name = "RULE",
       .default_value = "knn",
       .summary = "spade: the image's score: dn2's, or the map's maximum",
       .detail = "",
       .choices = {"knn", "map-max"}},
      {.name = "hold-out",
       .kind = OptionKind::kInteger,
       .value_name = "N",
       .default_value = "",
       .summary = "spade, panda-*, jo: keep N training images for the threshold alone",
       .detail = "Without it, spade leaves images out in turn, which promises the same where the gallery is "
                 "of all images. Methods that train, and spade with --clusters, hold out a tenth (at least "
                 "19, at most 100 and a "
                 "quarter of the images); with 0 there is no threshold.",
       .minimum = 0,
       .maximum = 1'000'000'000},
      {.name = "calibration-images",
       .kind = OptionKind::kInteger,
       .value_name = "N",
       .default_value = "100",
       .summary = "spade: leave at most N images out in turn (0: no threshold)",
       .detail = "Each costs what scoring an image costs. N images can promise no less than 1 / (N + 1).",
       .minimum = 0,
       .maximum = 1'000'000'000},
      {.name = "no-crop",
       .kind = OptionKind::kFlag,
       .value_name = "",
       .default_value = "",
       .summary = "spade: whole pictures of any shape, in one pass",
       .detail = "Nothing is cropped after --resize, and maps have the shape of the picture. The training "
                 "images share one size; an image that is scored may have another."},
      {.name = "tile",
       .kind = OptionKind::kInteger,
       .value_name = "PX",
       .default_value = "",
       .summary = "spade: whole pictures, in overlapping squares of PX pixels",
       .detail = "For pictures too large for one pass. Maps have the images' own size (or that of --resize); "
                 "where tiles overlap, their scores fade into one another. Multiples of 32 are best.",
       .minimum = 32,
       .maximum = 4096},
      {.name = "overlap",
       .kind = OptionKind::kInteger,
       .value_name = "PX",
       .default_value = "",
       .summary = "spade: by how much neighbouring tiles overlap (default: a quarter of --tile)",
       .detail = "At most half of --tile. Near its sides a tile sees less of what surrounds a pixel, so more "
                 "overlap is better, and slower.",
       .minimum = 0,
       .maximum = 2048},
      gallery_memory_option()};
}

bool takes_whole_pictures(const ParsedOptions& options) {
  return options.flag("no-crop") || options.has("tile");
}

void check_spade_flags(const ParsedOptions& options) {
  const std::string& method = options.positionals()[0];
  const bool tiles = options.has("tile");
  const std::string whole = tiles ? "--tile" : "--no-crop";
  if (options.has("overlap") && !tiles) throw UsageError("--overlap is for --tile");
  if (!takes_whole_pictures(options)) {
    if (options.integer("resize") == 0)
      throw UsageError("--resize 0 (each image's own size) is for spade with --no-crop or --tile");
    return;
  }
  if (method != "spade") throw UsageError(text(whole, " is for spade, not for ", method));
  if (options.given("crop")) throw UsageError(text(whole, " and --crop exclude each other"));
  if (tiles && overlap_of(options) > options.integer("tile") / 2) {
    throw UsageError(
        text("--overlap ", overlap_of(options), " is more than half of --tile ", options.integer("tile")));
  }
}

int run_fit_spade(const ParsedOptions& options, Context& context, const FitInput& input, StageTimes& times) {
  const std::string& path = options.text("out");
  const anomaly::Spade model = anomaly::Spade::fit(
      input.device, input.weights, input.training, parsed_options(options, input.training.size()),
      extract_options(options, input.device), {gallery_bytes(options), directory_of(path)}, &times);
  model.save(path, input.weights, input.manifest);
  times.add("writing");

  std::optional<ChosenThreshold> threshold;
  const std::optional<ChosenThreshold> pixel_threshold = pixel_threshold_of(model);
  if (model.threshold()) {
    threshold = {model.threshold()->value, model.threshold()->false_alarm_rate,
                 model.threshold_text(*model.threshold())};
  } else if (options.integer("calibration-images") > 0) {
    context.warn(text(image_count(model.training_count()),
                      " are too few for a threshold: the model scores, but does not judge"));
  }
  const anomaly::SpadeOptions& spade = model.options();
  const Json result = {{"model", path},
                       {"bytes", InputFile(path).size()},
                       {"method", "spade"},
                       {"arch", model.architecture().arch},
                       {"layers", spade.pyramid.layers},
                       {"combine", options.text("combine")},
                       {"gallery", options.text("gallery")},
                       {"clusters", spade.clusters > 0 ? Json(spade.clusters) : Json(nullptr)},
                       {"n_held_out", spade.held_out_images},
                       {"gallery_pixels", model.gallery_pixels()},
                       {"gallery_bytes", model.gallery_bytes()},
                       {"sigma", spade.sigma},
                       {"tile", spade.tiling.tile > 0 ? Json(spade.tiling.tile) : Json(nullptr)},
                       {"overlap", spade.tiling.tile > 0 ? Json(spade.tiling.overlap) : Json(nullptr)},
                       {"map_height", model.training_grid().height},
                       {"map_width", model.training_grid().width},
                       {"n_train", model.training_count()},
                       {"threshold", threshold_json(threshold)},
                       {"pixel_threshold", threshold_json(pixel_threshold)},
                       {"seconds", times.json()},
                       {"device", device_label(input.device)}};
  const auto megabytes = [](int64_t bytes) {
    return fixed_number(static_cast<double>(bytes) / 1e6, 1) + " MB";
  };
  print_object(
      context.out, context.format, result,
      aligned_pairs(
          {{"model", text(path, " (", megabytes(result["bytes"].get<int64_t>()), ")")},
           {"method", model.description()},
           {"data", input.data_description},
           {"fitted on",
            text(image_count(model.training_count() - spade.held_out_images), ": ", model.gallery_pixels(),
                 spade.clusters > 0 ? " centers, " : " pixels, ", megabytes(model.gallery_bytes()),
                 model.gallery_in_memory() ? "" : ", worked on from disk",
                 spade.held_out_images > 0 ? text(", ", spade.held_out_images, " held out for the threshold")
                                           : std::string())},
           {"threshold", threshold ? threshold->meaning : "none"},
           {"of pixels", pixel_threshold ? pixel_threshold->meaning : "none"},
           {"time", text(times.table_text(), " (",
                         rate_text(model.training_count(), times.seconds("extracting features")), ")")},
           {"device", text(input.device.name(), ": ", input.device.description())}}));
  return kExitDone;
}

}  // namespace panda::tools
