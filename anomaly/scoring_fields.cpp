#include "anomaly/scoring_fields.h"

#include "kernels/tensor/error.h"

namespace panda::anomaly {

namespace {

std::string shrinkage_text(const WhiteningOptions& options) {
  return options.shrinkage ? field_text(*options.shrinkage) : kLedoitWolf;
}

/// Whitening::packed and OneClassSvm::packed: two columns beside the features.
bool is_packed(ScoreRule rule) {
  return rule == ScoreRule::kMahalanobis || rule == ScoreRule::kOneClassSvm;
}

std::string gamma_text(const OneClassSvmOptions& options) {
  return options.gamma ? field_text(*options.gamma) : kScaleGamma;
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
  if (options.rule == ScoreRule::kOneClassSvm) {
    fields["option.nu"] = field_text(options.svm.nu);
    fields["option.gamma"] = gamma_text(options.svm);
    fields["option.tolerance"] = field_text(options.svm.tolerance);
    fields["option.chosen_by_labels"] = options.svm.chosen_by_labels ? "1" : "0";
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
    if (options.rule == ScoreRule::kOneClassSvm) {
      options.svm.nu = file.real_field("option.nu");
      if (file.text_field("option.gamma") != kScaleGamma) options.svm.gamma = file.real_field("option.gamma");
      options.svm.tolerance = file.real_field("option.tolerance");
      options.svm.chosen_by_labels = file.flag_field("option.chosen_by_labels");
      check_one_class_svm(options.svm);
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
    case ScoreRule::kOneClassSvm:
      return "support_vectors";
    case ScoreRule::kKnnSumSq:
    case ScoreRule::kKnnMean:
      break;
  }
  return "gallery";
}

Tensor load_reference(const FittedModelFile& file, const std::string& name, ScoreRule rule) {
  const bool f64 = is_packed(rule) || rule == ScoreRule::kCenter;
  return file.load(name, f64 ? DType::kF64 : DType::kF32, 2);
}

void check_reference_width(const FittedModelFile& file, const std::string& name, ScoreRule rule,
                           const Tensor& reference, int64_t feature_width) {
  const int64_t width = reference.shape()[1] - (is_packed(rule) ? 2 : 0);
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
  } else if (options.rule == ScoreRule::kOneClassSvm) {
    how = text("nu=", options.svm.nu, ", gamma=", gamma_text(options.svm),
               options.svm.chosen_by_labels ? ", chosen by labels" : "");
  } else if (options.rule != ScoreRule::kCenter) {
    how += text(", k=", options.k);
  }
  return how + (options.normalize ? ", normalised" : "");
}

}  // namespace panda::anomaly
