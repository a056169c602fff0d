#include "tools/detector.h"

#include "kernels/device_registry.h"
#include "kernels/tensor/parallel.h"

namespace panda::tools {

std::unique_ptr<Device> open_device(const ParsedOptions& options, Context& context) {
  kernels::DeviceOptions device = device_options(options);
  device.warn = [&context](const std::string& line) { context.warn(line); };
  return kernels::make_device(device);
}

std::string device_label(const Device& device) {
  if (device.name() == "cpu") return text("cpu ", kernels::chosen_instruction_set());
  const bool f32 = device.precision() == Precision::kF32;
  return f32 ? device.name() : text(device.name(), " ", precision_name(device.precision()));
}

OptionSpec batch_size_option() {
  return {.name = "batch-size",
          .kind = OptionKind::kInteger,
          .value_name = "N",
          .default_value = "32",
          .summary = "images in one pass through the network",
          .detail = "Results do not depend on it; memory does.",
          .minimum = 1,
          .maximum = 4096};
}

anomaly::ExtractOptions extract_options(const ParsedOptions& options, Device& device) {
  const int threads = device.threads().thread_count();
  // With one thread decoding beside the network would only take turns with it.
  return {.batch_size = options.integer("batch-size"), .decode_threads = threads == 1 ? 0 : threads};
}

std::vector<OptionSpec> threshold_options() {
  return {{.name = "threshold",
           .kind = OptionKind::kReal,
           .value_name = "T",
           .default_value = "",
           .summary = "an image is anomalous if its score is above T",
           .detail = "Default: the model's own threshold."},
          {.name = "false-alarm-rate",
           .kind = OptionKind::kReal,
           .value_name = "RATE",
           .default_value = "",
           .summary = "the share of normal images that may be flagged",
           .detail = "Chooses the threshold from the scores of the training images, each left out in turn, "
                     "so that at most this share of "
                     "further normal images is expected above it. n training images can promise no less than "
                     "1 / (n + 1).",
           .minimum = 0,
           .maximum = 1}};
}

std::optional<ChosenThreshold> choose_threshold(const ParsedOptions& options,
                                                const anomaly::Detector& model) {
  if (options.has("threshold") && options.has("false-alarm-rate")) {
    throw UsageError("--threshold and --false-alarm-rate exclude each other");
  }
  if (options.has("threshold"))
    return ChosenThreshold{options.real("threshold"), std::nullopt, "given by --threshold"};
  const std::optional<anomaly::Threshold> threshold =
      options.has("false-alarm-rate") ? model.threshold_for(options.real("false-alarm-rate"))
                                      : model.threshold();
  if (!threshold) return std::nullopt;
  return ChosenThreshold{threshold->value, threshold->false_alarm_rate, model.threshold_text(*threshold)};
}

std::optional<ChosenThreshold> pixel_threshold_of(const anomaly::Detector& model) {
  const std::optional<anomaly::Threshold> pixels = model.pixel_threshold();
  if (!pixels) return std::nullopt;
  return ChosenThreshold{pixels->value, pixels->false_alarm_rate, model.pixel_threshold_text(*pixels)};
}

Json threshold_json(const std::optional<ChosenThreshold>& threshold) {
  if (!threshold) return nullptr;
  Json object = {{"value", threshold->value}, {"false_alarm_rate", nullptr}, {"meaning", threshold->meaning}};
  if (threshold->false_alarm_rate) object["false_alarm_rate"] = *threshold->false_alarm_rate;
  return object;
}

std::vector<OptionSpec> map_options() {
  return {
      {.name = "maps",
       .kind = OptionKind::kDirectory,
       .value_name = "DIR",
       .default_value = "",
       .summary = "write each image's map of scores into DIR",
       .detail = "For each image: .npy (f32), _raw.png (16-bit gray), _heat.png, and _overlay.png with the "
                 "outline of what is above the pixel threshold and a box around each part. One scale for "
                 "all images, stated in DIR/scale.json. Only methods that make maps (spade) have them."},
      {.name = "map-scale",
       .kind = OptionKind::kReal,
       .value_name = "SCORE",
       .default_value = "",
       .summary = "the score shown in the brightest colour (default: twice the pixel threshold)",
       .detail = "",
       .minimum = 1e-30,
       .maximum = 1e30}};
}

OptionSpec gallery_memory_option() {
  return {.name = "gallery-memory",
          .kind = OptionKind::kInteger,
          .value_name = "MIB",
          .default_value = "4096",
          .summary = "a larger gallery of pixels stays on disk",
          .detail = "It is then read part by part for each batch. Results do not depend on it.",
          .minimum = 1,
          .maximum = 1 << 30};
}

int64_t gallery_bytes(const ParsedOptions& options) {
  return options.integer("gallery-memory") << 20;
}

std::unique_ptr<anomaly::Detector> open_detector(const ParsedOptions& options, Device& device) {
  return anomaly::load_detector(device, options.positionals()[0], {gallery_bytes(options)});
}

MapScale map_scale(const ParsedOptions& options, const anomaly::Detector& model) {
  if (!model.makes_maps()) {
    throw UsageError(text("--maps: ", options.positionals()[0], " is a model of ", model.method(),
                          ", which makes no maps (spade does)"));
  }
  std::optional<MapScale> scale = fitted_map_scale(model);
  if (options.has("map-scale")) {
    if (!scale) scale.emplace();
    scale->top = options.real("map-scale");
    if (const auto pixels = model.pixel_threshold()) scale->threshold = pixels->value;
  }
  if (!scale) {
    throw UsageError(text("--maps: ", options.positionals()[0],
                          " has no pixel threshold to take a scale from; give one with --map-scale"));
  }
  return *scale;
}

OptionSpec skip_bad_option() {
  return {.name = "skip-bad",
          .kind = OptionKind::kFlag,
          .value_name = "",
          .default_value = "",
          .summary = "leave out images that cannot be read, and name them",
          .detail = "Without it, the first one is an error."};
}

void warn_skipped(Context& context, int64_t image_count, const std::vector<std::string>& failures) {
  constexpr size_t kNamed = 10;
  for (size_t i = 0; i < failures.size() && i < kNamed; ++i) context.warn("left out: " + failures[i]);
  if (failures.size() > kNamed) {
    context.warn(text("left out: ", failures.size() - kNamed, " more of ", image_count, " images"));
  }
}

std::string rate_text(int64_t images, double seconds) {
  if (!(seconds > 0)) return "-";
  const double rate = static_cast<double>(images) / seconds;
  // Of slow work the time says more.
  return rate >= 0.1 ? fixed_number(rate, 1) + " images/s" : duration_text(1 / rate) + " an image";
}

}  // namespace panda::tools
