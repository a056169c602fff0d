// The scoring rule in a fitted-model file: its fields, its reference, and its description.
#pragma once

#include <string>

#include "anomaly/fitted_model.h"
#include "anomaly/scoring.h"

namespace panda::anomaly {

/// option.score, option.k, option.normalize, and those that the rule has beside them.
void put_score_options(weights::Metadata& fields, const ScoreOptions& options);
/// Throws FormatError.
[[nodiscard]] ScoreOptions get_score_options(const FittedModelFile& file);

/// "gallery", "center", "centers", "whitening", "support_vectors": what FeatureScorer::reference is.
[[nodiscard]] const char* reference_kind(ScoreRule rule);
/// The tensor `name` as a reference of this rule. Throws FormatError.
[[nodiscard]] Tensor load_reference(const FittedModelFile& file, const std::string& name, ScoreRule rule);
/// Throws FormatError unless `reference`, the file's tensor `name`, is of features of that width.
void check_reference_width(const FittedModelFile& file, const std::string& name, ScoreRule rule,
                           const Tensor& reference, int64_t feature_width);

/// "knn-sum-sq, k=2, normalised"; "nu=0.5, gamma=scale".
[[nodiscard]] std::string score_description(const ScoreOptions& options);

}  // namespace panda::anomaly
