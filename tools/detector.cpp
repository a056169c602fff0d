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

std::optional<ChosenThreshold> choose_threshold(const ParsedOptions& options, const anomaly::Dn2& model) {
  if (options.has("threshold") && options.has("false-alarm-rate")) {
    throw UsageError("--threshold and --false-alarm-rate exclude each other");
  }
  if (options.has("threshold"))
    return ChosenThreshold{options.real("threshold"), std::nullopt, "given by --threshold"};
  const std::optional<anomaly::Threshold> threshold =
      options.has("false-alarm-rate") ? model.threshold_for(options.real("false-alarm-rate"))
                                      : model.threshold();
  if (!threshold) return std::nullopt;
  return ChosenThreshold{threshold->value, threshold->false_alarm_rate, anomaly::Dn2::meaning(*threshold)};
}

Json threshold_json(const std::optional<ChosenThreshold>& threshold) {
  if (!threshold) return nullptr;
  Json object = {{"value", threshold->value}, {"false_alarm_rate", nullptr}, {"meaning", threshold->meaning}};
  if (threshold->false_alarm_rate) object["false_alarm_rate"] = *threshold->false_alarm_rate;
  return object;
}

std::string describe(const anomaly::Dn2& model) {
  const anomaly::ScoreOptions& score = model.options().score;
  return text("dn2: ", anomaly::score_rule_name(score.rule),
              score.rule == anomaly::ScoreRule::kCenter ? std::string() : text(", k=", score.k),
              score.normalize ? ", normalised" : "", "; ", nn::describe(model.architecture()));
}

std::string rate_text(int64_t images, double seconds) {
  return seconds > 0 ? fixed_number(static_cast<double>(images) / seconds, 1) + " images/s" : "-";
}

}  // namespace panda::tools
