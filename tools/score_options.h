// The flags that say how far from normal features are: of every fit that scores by features.
#pragma once

#include <vector>

#include "anomaly/scoring.h"
#include "tools/options.h"
#include "tools/output.h"

namespace panda::tools {

/// --score, --k, --clusters, --components, --shrinkage, --normalize.
[[nodiscard]] std::vector<OptionSpec> score_option_specs();
/// Throws UsageError for flags that do not fit together or the method.
void check_score_flags(const ParsedOptions& options);
[[nodiscard]] anomaly::ScoreOptions score_options(const ParsedOptions& options);

/// {"directions", "shrinkage"} of what was fitted, or null for another rule.
[[nodiscard]] Json whitening_json(const anomaly::FeatureScorer& scorer);

}  // namespace panda::tools
