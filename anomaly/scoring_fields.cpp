#include "anomaly/scoring_fields.h"

#include "kernels/tensor/error.h"

namespace panda::anomaly {

namespace {

constexpr const char* kLedoitWolf = "ledoit-wolf";

std::string shrinkage_text(const WhiteningOptions& options) {
  return options.shrinkage ? field_text(*options.shrinkage) : kLedoitWolf;
}

}  // namespace

void put_score_options(weights::Metadata& fields, const ScoreOptions& options) {
  fields["option.score"] = score_rule_name(options.rule);
  fields["option.k"] = std::to_string(options.k);
  fields["option.normalize"] = options.normalize ? "1" : "0";
  if (options.rule == ScoreRule::kKmeans) fields["option.clusters"] = std::to_string(options.clusters);
  if (options.rule == ScoreRule::kMahalanobis) {
    fields["option.components"] = std::to_string(options.whitening.components);
    fields["option.shrinkage"] = shrinkage_text(options.whitening);
  }
}

ScoreOptions get_score_options(const FittedModelFile& file) {
  ScoreOptions options;
  try {
    options.rule = score_rule_from_name(file.text_field("option.score"));
    options.k = file.integer_field("option.k", 1, INT64_MAX);
    options.normalize = file.flag_field("option.normalize");
    if (options.rule == ScoreRule::kKmeans)
      options.clusters = file.integer_field("option.clusters", 1, INT64_MAX);
    if (options.rule == ScoreRule::kMahalanobis) {
      options.whitening.components = file.integer_field("option.components", 0, INT32_MAX);
      if (file.text_field("option.shrinkage") != kLedoitWolf)
        options.whitening.shrinkage = file.real_field("option.shrinkage");
      check_whitening(options.whitening);
    }
  } catch (const InvalidArgument& error) {
    throw FormatError(file.source(), error.what());
  }
  return options;
}

const char* reference_kind(ScoreRule rule) {
  switch (rule) {
    case ScoreRule::kKmeans:
      return "centers";
    case ScoreRule::kCenter:
      return "center";
    case ScoreRule::kMahalanobis:
      return "whitening";
    case ScoreRule::kKnnSumSq:
    case ScoreRule::kKnnMean:
      break;
  }
  return "gallery";
}

Tensor load_reference(const FittedModelFile& file, const std::string& name, ScoreRule rule) {
  const bool f64 = rule == ScoreRule::kMahalanobis || rule == ScoreRule::kCenter;
  return file.load(name, f64 ? DType::kF64 : DType::kF32, 2);
}

void check_reference_width(const FittedModelFile& file, const std::string& name, ScoreRule rule,
                           const Tensor& reference, int64_t feature_width) {
  // Whitening::packed has two columns more.
  const int64_t width = reference.shape()[1] - (rule == ScoreRule::kMahalanobis ? 2 : 0);
  if (width == feature_width) return;
  throw FormatError(file.source(),
                    text("the ", name, " has ", width, " features, but the network gives ", feature_width));
}

std::string score_description(const ScoreOptions& options) {
  std::string how = score_rule_name(options.rule);
  if (options.rule == ScoreRule::kKmeans) {
    how += text(", ", options.clusters, " clusters");
  } else if (options.rule == ScoreRule::kMahalanobis) {
    if (options.whitening.components > 0) how += text(", ", options.whitening.components, " components");
    how += ", shrinkage " + shrinkage_text(options.whitening);
  } else if (options.rule != ScoreRule::kCenter) {
    how += text(", k=", options.k);
  }
  return how + (options.normalize ? ", normalised" : "");
}

}  // namespace panda::anomaly
