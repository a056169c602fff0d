// panda fit panda-early, panda-ses, panda-ewc, panda-oe, jo: their flags, and their run.
#pragma once

#include "tools/fit_spade.h"

namespace panda::tools {

/// --train-blocks, --minibatches, --fisher, ... The general ones (--score, --k, --resize, ...) are fit's.
[[nodiscard]] std::vector<OptionSpec> panda_options();

/// Whether the method adapts the network.
[[nodiscard]] bool adapts_network(const std::string& method);
/// What the command line alone shows to be wrong, and an interrupted fit that would be lost. Throws
/// UsageError and InvalidArgument.
void check_panda_flags(const ParsedOptions& options);

/// Fits, writes --out, and prints the result.
int run_fit_panda(const ParsedOptions& options, Context& context, const FitInput& input, StageTimes& times);

}  // namespace panda::tools
