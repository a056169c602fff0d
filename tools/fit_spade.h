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
