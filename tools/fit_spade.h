// panda fit spade: its own flags, and its run.
#pragma once

#include <string>
#include <vector>

#include "anomaly/fitted_model.h"
#include "data/dataset.h"
#include "tools/context.h"
#include "tools/stage_times.h"

namespace panda::tools {

/// --layers, --combine, --gallery, ... The general ones (--score, --k, --resize, ...) are fit's.
[[nodiscard]] std::vector<OptionSpec> spade_options();

/// Whether --no-crop or --tile was given.
[[nodiscard]] bool takes_whole_pictures(const ParsedOptions& options);
/// Throws UsageError for flags of pictures (--no-crop, --tile, --overlap, --resize 0) that do not fit
/// together or the method.
void check_spade_flags(const ParsedOptions& options);

/// What every fit works on.
struct FitInput {
  Device& device;
  const NamedTensors& weights;
  const data::ImageSet& training;
  std::string data_description;
  anomaly::FitManifest manifest;
};

/// Fits, writes --out, and prints the result.
int run_fit_spade(const ParsedOptions& options, Context& context, const FitInput& input, StageTimes& times);

}  // namespace panda::tools
