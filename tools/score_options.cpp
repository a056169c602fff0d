#include "tools/score_options.h"

#include "kernels/tensor/error.h"

namespace panda::tools {

namespace {

/// Nothing for what is no number from 0 to 1.
std::optional<double> shrinkage_number(const std::string& value) {
  const std::optional<double> number = parse_number<double>(value);
  return number && *number >= 0 && *number <= 1 ? number : std::nullopt;
}

bool is_shrinkage(const std::string& value) {
  return value == anomaly::kLedoitWolf || shrinkage_number(value).has_value();
}

/// Whether the method scores by the features' place among normal ones (panda-oe has a logit).
bool whitens(const std::string& method) {
  return method == "dn2" || method == "panda-early" || method == "panda-ses" || method == "panda-ewc" ||
         method == "jo";
}

}  // namespace

std::vector<OptionSpec> score_option_specs() {
  return {
      {.name = "k",
       .kind = OptionKind::kInteger,
       .value_name = "N",
       .default_value = "2",
       .summary = "nearest neighbours",
       .detail = "",
       .minimum = 1,
       .maximum = 1'000'000'000},
      {.name = "score",
       .kind = OptionKind::kChoice,
       .value_name = "RULE",
       .default_value = "",
       .summary = "how far an image is from the normal ones",
       .detail =
           "knn-sum-sq: the sum of the squared distances to the k nearest training images. knn-mean: "
           "the mean of the distances. center: "
           "the squared distance to the mean of the training images. kmeans: dn2: that to the nearest of "
           "--clusters centers of them. mahalanobis: dn2, panda-*, jo: the squared distance to the mean "
           "after PCA "
           "whitening, which measures each direction in what is usual there.",
       .choices = {"knn-sum-sq", "knn-mean", "center", "kmeans", "mahalanobis"}},
      {.name = "clusters",
       .kind = OptionKind::kInteger,
       .value_name = "N",
       .default_value = "",
       .summary =
           "dn2 --score kmeans, spade: compare with N K-means centers of the training images, or pixels",
       .detail = "Scoring then costs the same for any number of training images; the paper takes 50. Centers "
                 "are drawn and found by --seed. spade finds N for each layer, and its threshold comes from "
                 "images that are held out (--hold-out).",
       .minimum = 1,
       .maximum = 1'000'000'000},
      {.name = "components",
       .kind = OptionKind::kInteger,
       .value_name = "N",
       .default_value = "",
       .summary = "--score mahalanobis: whiten the N directions of the largest variance alone (default: all)",
       .detail = "What an image differs in elsewhere is then not looked at. Fewer than training images.",
       .minimum = 1,
       .maximum = 1'000'000},
      {.name = "shrinkage",
       .kind = OptionKind::kText,
       .value_name = "S",
       .default_value = anomaly::kLedoitWolf,
       .summary = "--score mahalanobis: how much of the covariance is replaced by a multiple of the identity",
       .detail =
           "ledoit-wolf estimates it from the training images. 0 is plain whitening, which looks only at "
           "directions in which they vary: for more images than features, or with --components.",
       .accepts = is_shrinkage,
       .expected = "ledoit-wolf or a number from 0 to 1"},
      {.name = "normalize",
       .kind = OptionKind::kFlag,
       .value_name = "",
       .default_value = "",
       .summary = "divide each feature vector by its length (cosine distance)",
       .detail = ""}};
}

void check_score_flags(const ParsedOptions& options) {
  const std::string& method = options.positionals()[0];
  const std::string rule = options.has("score") ? options.text("score") : "";
  const bool kmeans = rule == "kmeans";
  if (kmeans && method != "dn2") {
    throw UsageError(text("--score kmeans is for dn2, not for ", method,
                          method == "spade" ? " (its pixels have --clusters)" : ""));
  }
  if (kmeans && !options.has("clusters")) throw UsageError("--score kmeans: expected --clusters N");
  if (options.has("clusters") && !kmeans && method != "spade") {
    throw UsageError(text(
        "--clusters is for dn2 --score kmeans and for spade",
        method == "dn2" ? ", but the score is of neighbours or the center" : text(", not for ", method)));
  }
  const bool mahalanobis = rule == "mahalanobis";
  if (mahalanobis && !whitens(method))
    throw UsageError(
        text("--score mahalanobis is for dn2, panda-early, panda-ses, panda-ewc and jo, not for ", method));
  if (mahalanobis && method == "panda-ses" && options.text("ses") == "center")
    throw UsageError("--score mahalanobis and --ses center exclude each other");
  for (const char* flag : {"components", "shrinkage"}) {
    if (options.given(flag) && !mahalanobis)
      throw UsageError(text("--", flag, " is for --score mahalanobis"));
  }
}

anomaly::ScoreOptions score_options(const ParsedOptions& options) {
  anomaly::ScoreOptions score;
  score.k = options.integer("k");
  score.normalize = options.flag("normalize");
  score.rule =
      options.text("preset") == "paper" ? anomaly::ScoreRule::kKnnMean : anomaly::ScoreRule::kKnnSumSq;
  if (options.has("score")) score.rule = anomaly::score_rule_from_name(options.text("score"));
  if (options.has("clusters")) score.clusters = options.integer("clusters");
  if (options.has("components")) score.whitening.components = options.integer("components");
  score.whitening.shrinkage = shrinkage_number(options.text("shrinkage"));
  score.seed = static_cast<uint64_t>(options.integer("seed"));
  return score;
}

Json whitening_json(const anomaly::FeatureScorer& scorer) {
  const anomaly::Whitening* const whitening = scorer.whitening();
  if (whitening == nullptr) return nullptr;
  return {{"directions", whitening->directions()}, {"shrinkage", whitening->shrinkage()}};
}

}  // namespace panda::tools
