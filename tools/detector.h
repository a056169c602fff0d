// What fit, score and eval share: the device, the flags of scoring, and a fitted model ready to score.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "anomaly/dn2.h"
#include "tools/context.h"
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
                                                              const anomaly::Dn2& model);
/// {"value", "false_alarm_rate", "meaning"}, or null.
[[nodiscard]] Json threshold_json(const std::optional<ChosenThreshold>& threshold);

/// "dn2: knn-sum-sq, k=2, normalised features; resnet18, ...": for people.
[[nodiscard]] std::string describe(const anomaly::Dn2& model);

/// 2.5 -> "2.5 images/s".
[[nodiscard]] std::string rate_text(int64_t images, double seconds);

}  // namespace panda::tools
