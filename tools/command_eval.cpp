// panda eval: how well a fitted model separates the anomalies of a test split, and where it finds them.

#include "anomaly/detector.h"
#include "kernels/tensor/file.h"
#include "tools/commands.h"
#include "tools/dataset_options.h"
#include "tools/detector.h"
#include "tools/evaluation.h"
#include "tools/exit_code.h"
#include "tools/report.h"
#include "tools/stage_times.h"
#include "tools/training_curves.h"
#include "tools/version.h"
#include "weights/manifest.h"

namespace panda::tools {

namespace {

constexpr int64_t kShownPictures = 12;  // of each sort

std::vector<OptionSpec> eval_options() {
  std::vector<OptionSpec> options = dataset_options();
  for (const OptionSpec& option : threshold_options()) options.push_back(option);
  options.push_back({.name = "report",
                     .kind = OptionKind::kFile,
                     .value_name = "FILE",
                     .default_value = "",
                     .summary = "write the results with curves and pictures as one HTML file",
                     .detail = "It holds all that it shows, and an older one is replaced."});
  options.push_back(file_option("training-log",
                                "with --report: also show the curves of a log that panda fit wrote",
                                "What panda fit --log or panda pretrain --log named."));
  for (const OptionSpec& option : map_options()) options.push_back(option);
  options.push_back({.name = "fpr-limit",
                     .kind = OptionKind::kReal,
                     .value_name = "RATE",
                     .default_value = "0.3",
                     .summary = "PRO is integrated up to this false-positive rate",
                     .detail = "",
                     .minimum = 1e-6,
                     .maximum = 1});
  options.push_back(skip_bad_option());
  options.push_back(batch_size_option());
  options.push_back(gallery_memory_option());
  return options;
}

std::string share(int64_t part, int64_t whole) {
  if (whole == 0) return "none there";
  return text(part, " of ", whole, " (",
              fixed_number(100.0 * static_cast<double>(part) / static_cast<double>(whole), 1), " %)");
}

Json kinds_json(const Evaluation& evaluation, bool judged) {
  Json kinds = Json::array();
  for (const KindResult& kind : evaluation.kinds) {
    kinds.push_back({{"kind", kind.name},
                     {"anomalous", kind.anomalous},
                     {"images", kind.images},
                     {"flagged", judged ? Json(kind.flagged) : Json(nullptr)},
                     {"image_auroc", number_or_null(kind.auroc)},
                     {"regions", kind.regions},
                     {"pixel_auroc", number_or_null(kind.pixel_auroc)},
                     {"pro", number_or_null(kind.pro)}});
  }
  return kinds;
}

Json best_json(const std::optional<anomaly::OperatingPoint>& best) {
  if (!best) return nullptr;
  return {{"f1", best->f1},
          {"threshold", best->threshold},
          {"precision", best->precision},
          {"recall", best->recall}};
}

Json result_json(const anomaly::Detector& model, const std::optional<ChosenThreshold>& threshold,
                 const Evaluation& evaluation, const StageTimes& times, const Device& device) {
  Json per_image = Json::array();
  for (size_t i = 0; i < evaluation.scores.size(); ++i) {
    Json image = {
        {"file", evaluation.files[i]}, {"score", evaluation.scores[i]}, {"label", int{evaluation.labels[i]}}};
    if (!evaluation.maps.empty()) image["map"] = evaluation.maps[i];
    per_image.push_back(std::move(image));
  }
  const auto& pixels = evaluation.pixels;
  return {
      {"image_auroc", number_or_null(evaluation.images.auroc)},
      {"pixel_auroc", pixels ? number_or_null(pixels->pixels.auroc) : Json(nullptr)},
      {"pro", pixels ? number_or_null(pixels->pro) : Json(nullptr)},
      {"pro_evenly_spaced", pixels ? number_or_null(pixels->pro_evenly_spaced) : Json(nullptr)},
      {"image_average_precision", number_or_null(evaluation.images.average_precision)},
      {"pixel_average_precision", pixels ? number_or_null(pixels->pixels.average_precision) : Json(nullptr)},
      {"image_best_f1", best_json(evaluation.images.best_f1)},
      {"pixel_best_f1", pixels ? best_json(pixels->pixels.best_f1) : Json(nullptr)},
      {"n_train", model.training_count()},
      {"n_test", static_cast<int64_t>(evaluation.scores.size())},
      {"n_anomalous", evaluation.anomalous},
      {"n_left_out", static_cast<int64_t>(evaluation.left_out.size())},
      {"threshold", threshold_json(threshold)},
      {"false_alarms", threshold ? Json(evaluation.false_alarms) : Json(nullptr)},
      {"anomalies_found", threshold ? Json(evaluation.found) : Json(nullptr)},
      {"pixel_threshold", threshold_json(pixel_threshold_of(model))},
      {"false_marks", model.pixel_threshold() ? Json(evaluation.false_marks) : Json(nullptr)},
      {"kinds", kinds_json(evaluation, threshold.has_value())},
      {"seconds", times.json()},
      {"device", device_label(device)},
      {"per_image", std::move(per_image)}};
}

/// "combine ensemble, k 2, ...": what scoring follows.
std::string fit_options_text(const anomaly::FittedModelFile& file) {
  std::string words;
  for (const char* prefix : {"option.", "transform."}) {
    const std::string start = prefix;
    for (const auto& [key, value] : file.fields()) {
      if (key.compare(0, start.size(), start) != 0) continue;
      words += text(words.empty() ? "" : ", ", key.substr(start.size()), " ", printable(value));
    }
  }
  return words;
}

ReportInput report_input(const ParsedOptions& options, const anomaly::Detector& model,
                         const data::ImageSet& images, const std::string& data_description,
                         const std::optional<ChosenThreshold>& threshold,
                         const std::optional<MapScale>& scale, const StageTimes& times,
                         const Device& device) {
  const std::string& model_path = options.positionals()[0];
  ReportInput input = report_of(model, times);
  input.title =
      "How well the model " + model_path.substr(model_path.find_last_of('/') + 1) + " finds anomalies";
  input.data = data_description;
  input.threshold = threshold ? std::optional(threshold->value) : std::nullopt;
  input.threshold_text = threshold ? threshold->meaning : kNoThreshold;
  input.scale = scale;
  input.fpr_limit = options.real("fpr-limit");
  // Its digest was checked when it was opened for scoring.
  const anomaly::FittedModelFile file(weights::file_source(model_path), anomaly::DigestCheck::kSkipped);
  const anomaly::FitManifest manifest = anomaly::get_manifest(file);
  input.manifest = {{"command", "panda eval " + options.words()},
                    {"panda", version()},
                    {"device", text(device_label(device), ": ", device.description())},
                    {"test images, SHA-256 of their names", file_list_sha256(images, options.text("data"))},
                    {"model, SHA-256", weights::file_sha256(model_path)},
                    {"fitted by", text("panda ", manifest.panda_version, " on ", manifest.device, ", seed ",
                                       manifest.seed)},
                    {"with the options", fit_options_text(file)},
                    {"weights, SHA-256", manifest.weights_sha256},
                    {"training images, SHA-256 of their names", manifest.training_files_sha256}};
  return input;
}

}  // namespace

CommandSpec eval_spec() {
  return {
      .name = "eval",
      .summary = "measure a fitted model on a test split",
      .description =
          "Scores the test split of a data set, and prints the ROCAUC (the chance that an anomaly scores "
          "higher than a normal image, ties counting half; exact) and what the threshold finds. With maps "
          "and masks also the ROCAUC of pixels and PRO (the mean overlap with the anomalous regions, over "
          "false-positive rates up to --fpr-limit), exact: every pixel's score is a threshold. A measure "
          "that the data cannot give is null.",
      .positionals = {{.name = "MODEL", .summary = "a file that panda fit wrote"}},
      .options = eval_options(),
      .examples = {"panda eval fabric.panda --data fabric",
                   "panda eval toothbrush.panda --data toothbrush --report toothbrush.html",
                   "panda eval airplane.panda --dataset cifar10 --data cifar --class airplane -o json"}};
}

int run_eval(const ParsedOptions& options, Context& context) {
  const data::Dataset dataset = open_dataset(options, false, true);
  context.detail(dataset.description);
  const data::ImageSet& images = *dataset.test;
  std::vector<LineChart> training;
  if (options.has("training-log")) {
    if (!options.has("report")) throw UsageError("--training-log is shown in a report: give --report");
    const std::string& log = options.text("training-log");
    const std::vector<uint8_t> bytes = read_file(log);
    training = training_charts(std::string(bytes.begin(), bytes.end()), log);
  }
  if (options.has("report"))
    static_cast<void>(AtomicFile(options.text("report")));  // refused before the work
  const std::unique_ptr<Device> device = open_device(options, context);
  StageTimes times(&context.progress);
  const std::unique_ptr<anomaly::Detector> model = open_detector(options, *device);
  const std::optional<ChosenThreshold> threshold = choose_threshold(options, *model);
  EvaluationOptions how;
  if (threshold) how.threshold = threshold->value;
  how.pixels.fpr_limit = options.real("fpr-limit");
  how.shown = options.has("report") ? kShownPictures : 0;
  const std::optional<ChosenThreshold> pixel_threshold = pixel_threshold_of(*model);
  if (pixel_threshold) how.pixel_threshold = pixel_threshold->value;
  std::optional<MapWriter> maps;
  if (options.has("maps")) maps.emplace(options.text("maps"), map_scale(options, *model));
  if (maps) how.maps = &*maps;
  if (model->makes_maps() && (model->map_scale() > 0 || options.has("map-scale")))
    how.scale = map_scale(options, *model);
  anomaly::ExtractOptions extract = extract_options(options, *device);
  extract.skip_bad = options.flag("skip-bad");
  times.add("loading the model");

  const Evaluation evaluation = evaluate(*device, *model, images, extract, how, &times);
  warn_skipped(context, images.size(), evaluation.left_out);
  PANDA_CHECK(!evaluation.scores.empty(), "none of ", image_count(images.size()), " can be read");
  if (!evaluation.images.auroc) {
    context.warn(text("the test split has no ", evaluation.normal == 0 ? "normal" : "anomalous",
                      " image: there is no ROCAUC"));
  }
  if (model->makes_maps() && !evaluation.pixels)
    context.warn("the test split has no masks: there is no ROCAUC of pixels and no PRO");
  if (options.has("report")) {
    AtomicFile file(options.text("report"));
    ReportInput input =
        report_input(options, *model, images, dataset.description, threshold, how.scale, times, *device);
    input.training = std::move(training);
    file.write(report_html(input, evaluation));
    file.commit();
    times.add("writing the report");
  }

  const auto& pixels = evaluation.pixels;
  std::vector<std::pair<std::string, std::string>> lines = {
      {"model", model->description()},
      {"data", dataset.description},
      {"images", text(model->training_count(), " fitted on; ", evaluation.scores.size(),
                      " tested: ", evaluation.normal, " normal, ", evaluation.anomalous, " anomalous")},
      {"ROCAUC", as_percent(evaluation.images.auroc, "- (the test split has images of one kind only)")}};
  if (model->makes_maps()) {
    lines.emplace_back("of pixels", pixels ? as_percent(pixels->pixels.auroc, "-") : "- (no masks)");
    lines.emplace_back("PRO", pixels ? as_percent(pixels->pro, "-") : "- (no masks)");
  }
  lines.insert(
      lines.end(),
      {{"threshold", threshold ? threshold->meaning : "none"},
       {"false alarms", threshold ? share(evaluation.false_alarms, evaluation.normal) : "-"},
       {"found", threshold ? share(evaluation.found, evaluation.anomalous) : "-"},
       {"pixel threshold", pixel_threshold ? pixel_threshold->meaning : "-"},
       {"false marks", pixel_threshold ? share(evaluation.false_marks, evaluation.normal) : "-"},
       {"time",
        text(times.table_text(), " (",
             rate_text(static_cast<int64_t>(evaluation.scores.size()), times.seconds("scoring")), ")")},
       {"device", text(device->name(), ": ", device->description())}});
  if (options.has("report")) lines.emplace_back("report", options.text("report"));
  print_object(context.out, context.format, result_json(*model, threshold, evaluation, times, *device),
               aligned_pairs(lines));
  return kExitDone;
}

}  // namespace panda::tools
