// panda fit dn2 and oc-svm: the flags of the latter, and their run.
#pragma once

#include "tools/fit_spade.h"

namespace panda::tools {

/// --nu, --gamma, --tolerance, --kernel-memory, --grid. The general ones (--normalize, --resize, ...) are
/// fit's.
[[nodiscard]] std::vector<OptionSpec> svm_options();
/// Throws UsageError for those flags where they do not fit together or the method.
void check_svm_flags(const ParsedOptions& options);

/// Fits, writes --out, and prints the result.
int run_fit_dn2(const ParsedOptions& options, Context& context, const FitInput& input, StageTimes& times);

}  // namespace panda::tools
