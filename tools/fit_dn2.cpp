#include "tools/fit_dn2.h"

#include <algorithm>
#include <cmath>

#include "anomaly/dn2.h"
#include "kernels/tensor/file.h"
#include "tools/dataset_options.h"
#include "tools/detector.h"
#include "tools/exit_code.h"
#include "tools/score_options.h"

namespace panda::tools {

namespace {

/// Nothing for what is no finite number above 0.
std::optional<double> positive_number(const std::string& value) {
  const std::optional<double> number = parse_number<double>(value);
  return number && *number > 0 && std::isfinite(*number) ? number : std::nullopt;
}

bool is_gamma(const std::string& value) {
  return value == anomaly::kScaleGamma || positive_number(value).has_value();
}

anomaly::Dn2Options dn2_options(const ParsedOptions& options) {
  anomaly::Dn2Options dn2;
  dn2.score = score_options(options);
  if (options.positionals()[0] == "oc-svm") {
    dn2.score.rule = anomaly::ScoreRule::kOneClassSvm;
    dn2.score.svm.nu = options.real("nu");
    if (options.text("gamma") != anomaly::kScaleGamma)
      dn2.score.svm.gamma = positive_number(options.text("gamma"));
    dn2.score.svm.tolerance = options.real("tolerance");
    dn2.score.svm.memory_bytes = options.integer("kernel-memory") << 20;
  }
  if (options.has("false-alarm-rate")) dn2.false_alarm_rate = options.real("false-alarm-rate");
  dn2.transform.resize = options.integer("resize");
  dn2.transform.crop = options.integer("crop");
  return dn2;
}

/// The machine of the paper's grid with the highest ROCAUC of the test split, and the grid.
anomaly::Dn2 fit_by_grid(const ParsedOptions& options, Context& context, const FitInput& input,
                         StageTimes& times, std::vector<anomaly::SvmGridPoint>& grid) {
  anomaly::Dn2Options dn2 = dn2_options(options);
  anomaly::check_dn2(input.training.size(), dn2);
  const data::Dataset tested = open_dataset(options, false, true);
  const data::ImageSet& test = *tested.test;
  std::vector<uint8_t> labels;
  for (int64_t i = 0; i < test.size(); ++i) labels.push_back(test.sample(i).label != 0 ? 1 : 0);
  const auto anomalies = std::count(labels.begin(), labels.end(), 1);
  if (anomalies == 0 || anomalies == test.size()) {
    throw InvalidArgument(text("--grid: the test split has ", image_count(test.size()), ", ", anomalies,
                               " of them anomalous: a ROCAUC needs both kinds"));
  }
  anomaly::ExtractOptions extract = extract_options(options, input.device);
  auto network = std::make_unique<nn::Resnet>(
      input.device, anomaly::feature_config(input.weights, dn2.transform), input.weights);
  const Tensor features = anomaly::extract_features(*network, input.training, dn2.transform, extract, &times);
  extract.stage = "extracting test features";
  Tensor test_features = anomaly::extract_features(*network, test, dn2.transform, extract, &times);
  const auto searched = [&](const Tensor& rows) {
    return anomaly::FeatureScorer::host_features(input.device, rows, dn2.score);
  };
  grid = anomaly::search_svm_grid(searched(features), searched(test_features), labels, anomaly::paper_nus(),
                                  anomaly::paper_gammas(), dn2.score.svm, input.device.threads(), &times);
  const anomaly::SvmGridPoint& best = anomaly::best_of(grid);
  context.warn(text("nu=", best.nu, " and gamma=", best.gamma,
                    " were chosen by the labels of the test split: the ROCAUC there is the best of ",
                    grid.size(), ", not that of further images"));
  dn2.score.svm.nu = best.nu;
  dn2.score.svm.gamma = best.gamma;
  dn2.score.svm.chosen_by_labels = true;
  return anomaly::Dn2::fit_features(input.device, std::move(network), features, dn2, &times);
}

/// {"nu", "gamma", "support_vectors", "chosen_by_labels", "grid"}, or null.
Json svm_json(const anomaly::Dn2& model, const std::vector<anomaly::SvmGridPoint>& grid) {
  const anomaly::OneClassSvm* const svm = model.scorer().svm();
  if (svm == nullptr) return nullptr;
  Json points = Json::array();
  for (const anomaly::SvmGridPoint& point : grid)
    points.push_back({{"nu", point.nu}, {"gamma", point.gamma}, {"auroc", point.auroc}});
  return {{"nu", model.options().score.svm.nu},
          {"gamma", svm->gamma()},
          {"support_vectors", svm->support_count()},
          {"chosen_by_labels", model.options().score.svm.chosen_by_labels},
          {"grid", grid.empty() ? Json(nullptr) : points}};
}

Json fit_json(const std::string& path, const anomaly::Dn2& model,
              const std::vector<anomaly::SvmGridPoint>& grid, const std::optional<ChosenThreshold>& threshold,
              const StageTimes& times, const Device& device) {
  const anomaly::Dn2Options& options = model.options();
  return {
      {"model", path},
      {"bytes", InputFile(path).size()},
      {"method", model.method()},
      {"arch", model.architecture().arch},
      {"k", options.score.rule == anomaly::ScoreRule::kOneClassSvm ? Json(nullptr) : Json(options.score.k)},
      {"score", anomaly::score_rule_name(options.score.rule)},
      {"clusters",
       options.score.rule == anomaly::ScoreRule::kKmeans ? Json(options.score.clusters) : Json(nullptr)},
      {"whitening", whitening_json(model.scorer())},
      {"svm", svm_json(model, grid)},
      {"normalize", options.score.normalize},
      {"n_train", model.training_count()},
      {"threshold", threshold_json(threshold)},
      {"seconds", times.json()},
      {"device", device_label(device)}};
}

}  // namespace

std::vector<OptionSpec> svm_options() {
  return {
      real_option("nu", "NU", "0.5", "oc-svm: about this share of the training images is left outside",
                  "An upper bound on the share outside, and a lower one on that of support vectors.", 1e-6,
                  1),
      {.name = "gamma",
       .kind = OptionKind::kText,
       .value_name = "G",
       .default_value = anomaly::kScaleGamma,
       .summary = "oc-svm: images are alike by exp(-G |x - y|^2)",
       .detail = "scale: one over the number of features times the variance of all of them.",
       .accepts = is_gamma,
       .expected = "scale or a number above 0"},
      real_option("tolerance", "T", "1e-4", "oc-svm: how exactly its optimum is found",
                  "The scores are off by about that, at most.", 1e-12, 1),
      integer_option("kernel-memory", "MIB", "1024", "oc-svm: for rows of the kernel that are kept",
                     "Others are computed again. Results do not depend on it.", 1, 1 << 30),
      {.name = "grid",
       .kind = OptionKind::kFlag,
       .value_name = "",
       .default_value = "",
       .summary = "oc-svm: take the nu and gamma of the highest ROCAUC on the test split",
       .detail =
           "nu of 0.1, 0.2, ..., 0.9, gamma of 2^-7, 2^-6, ..., 2^2, as in the paper's appendix B.2. This "
           "looks at the labels of the test split, so a ROCAUC there flatters: it is for comparing "
           "with the paper."}};
}

void check_svm_flags(const ParsedOptions& options) {
  const std::string& method = options.positionals()[0];
  if (method != "oc-svm") {
    for (const char* flag : {"nu", "gamma", "tolerance", "kernel-memory", "grid"}) {
      if (options.given(flag)) throw UsageError(text("--", flag, " is for oc-svm, not for ", method));
    }
    return;
  }
  if (options.has("score")) throw UsageError("--score is not for oc-svm, which has its own");
  if (!options.flag("grid")) return;
  for (const char* flag : {"nu", "gamma"}) {
    if (options.given(flag)) throw UsageError(text("--grid and --", flag, " exclude each other"));
  }
}

int run_fit_dn2(const ParsedOptions& options, Context& context, const FitInput& input, StageTimes& times) {
  const std::string& path = options.text("out");
  std::vector<anomaly::SvmGridPoint> grid;
  const anomaly::Dn2 model =
      options.flag("grid")
          ? fit_by_grid(options, context, input, times, grid)
          : anomaly::Dn2::fit(input.device, input.weights, input.training, dn2_options(options),
                              extract_options(options, input.device), &times);
  model.save(path, input.weights, input.manifest);
  times.add("writing");

  std::optional<ChosenThreshold> threshold;
  if (model.threshold()) {
    threshold = {model.threshold()->value, model.threshold()->false_alarm_rate,
                 model.threshold_text(*model.threshold())};
  } else {
    context.warn(text(image_count(model.training_count()),
                      " are too few for a threshold: the model scores, but does not judge"));
  }
  const Json result = fit_json(path, model, grid, threshold, times, input.device);
  const double megabytes = static_cast<double>(result["bytes"].get<int64_t>()) / 1e6;
  print_object(
      context.out, context.format, result,
      aligned_pairs(
          {{"model", text(path, " (", fixed_number(megabytes, 1), " MB)")},
           {"method", model.description()},
           {"data", input.data_description},
           {"fitted on", image_count(model.training_count())},
           {"threshold", threshold ? threshold->meaning : "none: too few images"},
           {"time", text(times.table_text(), " (",
                         rate_text(model.training_count(), times.seconds("extracting features")), ")")},
           {"device", text(input.device.name(), ": ", input.device.description())}}));
  return kExitDone;
}

}  // namespace panda::tools
