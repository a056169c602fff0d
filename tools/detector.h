// What fit, score and eval share: the device, the flags of scoring, and a fitted model ready to score.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "anomaly/detector.h"
#include "tools/context.h"
#include "tools/map_pictures.h"
#include "tools/options.h"

namespace panda::tools {

/// The device that --device, --threads, --precision and --engine name. Throws Unsupported for one that this
/// build does not have, or that does not compute in that precision. Warns of what was done without.
[[nodiscard]] std::unique_ptr<Device> open_device(const ParsedOptions& options, Context& context);
/// "cpu avx2": what decides the last bits of a feature.
[[nodiscard]] std::string device_label(const Device& device);

/// --batch-size.
[[nodiscard]] OptionSpec batch_size_option();
[[nodiscard]] anomaly::ExtractOptions extract_options(const ParsedOptions& options, Device& device);

/// --threshold and --false-alarm-rate.
[[nodiscard]] std::vector<OptionSpec> threshold_options();

/// A threshold in use: the model's own, one for another rate, or a plain number of the user's, which promises
/// nothing.
struct ChosenThreshold {
  double value = 0;
  std::optional<double> false_alarm_rate;
  std::string meaning;
};
/// Nothing if the model has none and none was given.
[[nodiscard]] std::optional<ChosenThreshold> choose_threshold(const ParsedOptions& options,
                                                              const anomaly::Detector& model);
/// The model's own, of pixels; nothing if it has none.
[[nodiscard]] std::optional<ChosenThreshold> pixel_threshold_of(const anomaly::Detector& model);
/// {"value", "false_alarm_rate", "meaning"}, or null.
[[nodiscard]] Json threshold_json(const std::optional<ChosenThreshold>& threshold);

/// --maps and --map-scale.
[[nodiscard]] std::vector<OptionSpec> map_options();
/// --gallery-memory: of a gallery of pixels, what may be in memory at once.
[[nodiscard]] OptionSpec gallery_memory_option();
[[nodiscard]] int64_t gallery_bytes(const ParsedOptions& options);
/// Opens MODEL as --gallery-memory says.
[[nodiscard]] std::unique_ptr<anomaly::Detector> open_detector(const ParsedOptions& options, Device& device);
/// --map-scale, else the model's own. Throws UsageError where the model makes no maps, or has no scale and
/// none was given.
[[nodiscard]] MapScale map_scale(const ParsedOptions& options, const anomaly::Detector& model);

/// --skip-bad.
[[nodiscard]] OptionSpec skip_bad_option();
/// A warning that names each image that was left out, at most ten of them.
void warn_skipped(Context& context, int64_t image_count, const std::vector<std::string>& failures);

/// "2.5 images/s"; "12.5 s an image" where that is slow.
[[nodiscard]] std::string rate_text(int64_t images, double seconds);

}  // namespace panda::tools
