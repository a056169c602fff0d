// panda score: the scores of images by a fitted model.

#include "anomaly/dn2.h"
#include "tools/commands.h"
#include "tools/dataset_options.h"
#include "tools/detector.h"
#include "tools/exit_code.h"
#include "tools/stage_times.h"

namespace panda::tools {

namespace {

std::vector<OptionSpec> score_options() {
  std::vector<OptionSpec> options = threshold_options();
  options.push_back({.name = "fail-on-anomaly",
                     .kind = OptionKind::kFlag,
                     .value_name = "",
                     .default_value = "",
                     .summary = "exit with 1 if an image is anomalous",
                     .detail = ""});
  options.push_back(batch_size_option());
  return options;
}

}  // namespace

CommandSpec score_spec() {
  return {.name = "score",
          .summary = "score images by a fitted model",
          .description =
              "Prints a score for each image; higher is more anomalous. Directories are searched for images. "
              "The model holds all that "
              "is needed.",
          .positionals = {{.name = "MODEL", .summary = "a file that panda fit wrote"},
                          {.name = "IMAGE_OR_DIR",
                           .summary = "images, or directories of images",
                           .repeatable = true}},
          .options = score_options(),
          .examples = {"panda score fabric.panda new/",
                       "panda score fabric.panda part.png --fail-on-anomaly -q -o json"}};
}

int run_score(const ParsedOptions& options, Context& context) {
  const std::string& model_path = options.positionals()[0];
  const std::vector<std::string> paths(options.positionals().begin() + 1, options.positionals().end());
  const std::unique_ptr<data::ImageSet> images = data::open_image_files(data::list_images(paths));
  const std::unique_ptr<Device> device = open_device(options, context);
  StageTimes times(&context.progress);
  const anomaly::Dn2 model = anomaly::Dn2::load(*device, anomaly::FittedModelFile(model_path));
  const std::optional<ChosenThreshold> threshold = choose_threshold(options, model);
  if (!threshold && options.flag("fail-on-anomaly")) {
    throw UsageError(text("--fail-on-anomaly: ", model_path, " has no threshold (fitted on ",
                          image_count(model.training_count()), "); give one with --threshold"));
  }
  times.add("loading the model");
  const std::vector<double> scores = model.score(*images, extract_options(options, *device), &times);

  Records records(
      {{"file", "file", -1}, {"score", "score", 4}, {"anomalous", "anomalous", -1}, {"map", "map", -1}});
  int64_t anomalies = 0;
  for (int64_t i = 0; i < images->size(); ++i) {
    const double score = scores[static_cast<size_t>(i)];
    const bool anomalous = threshold && score > threshold->value;
    anomalies += anomalous ? 1 : 0;
    records.add({images->sample(i).file, score, threshold ? Json(anomalous) : Json(nullptr), nullptr});
  }
  print_records(context.out, context.format, records);
  if (context.format == OutputFormat::kTable) {
    context.out.write(
        "\n" + aligned_pairs(
                   {{"model", describe(model)},
                    {"threshold", threshold ? threshold->meaning : "none"},
                    {"anomalous", threshold ? text(anomalies, " of ", image_count(images->size())) : "-"},
                    {"time", text(times.table_text(), " (",
                                  rate_text(images->size(), times.seconds("extracting features")), ")")}}));
  }
  return anomalies > 0 && options.flag("fail-on-anomaly") ? kExitAnomalyFound : kExitDone;
}

}  // namespace panda::tools
