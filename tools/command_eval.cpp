// panda eval: how well a fitted model separates the anomalies of a test split.

#include "anomaly/auroc.h"
#include "anomaly/dn2.h"
#include "tools/commands.h"
#include "tools/dataset_options.h"
#include "tools/detector.h"
#include "tools/exit_code.h"
#include "tools/stage_times.h"

namespace panda::tools {

namespace {

std::vector<OptionSpec> eval_options() {
  std::vector<OptionSpec> options = dataset_options();
  for (const OptionSpec& option : threshold_options()) options.push_back(option);
  options.push_back(batch_size_option());
  return options;
}

// What the threshold does to the test split.
struct Verdicts {
  int64_t normal = 0;
  int64_t anomalous = 0;
  int64_t false_alarms = 0;
  int64_t found = 0;
};

Verdicts count_verdicts(const std::vector<double>& scores, const std::vector<uint8_t>& labels,
                        const std::optional<ChosenThreshold>& threshold) {
  Verdicts verdicts;
  for (size_t i = 0; i < scores.size(); ++i) {
    const bool flagged = threshold && scores[i] > threshold->value;
    (labels[i] == 1 ? verdicts.anomalous : verdicts.normal) += 1;
    if (flagged) (labels[i] == 1 ? verdicts.found : verdicts.false_alarms) += 1;
  }
  return verdicts;
}

std::string share(int64_t part, int64_t whole) {
  if (whole == 0) return "none there";
  return text(part, " of ", whole, " (",
              fixed_number(100.0 * static_cast<double>(part) / static_cast<double>(whole), 1), " %)");
}

std::string percent(const std::optional<double>& value) {
  return value ? fixed_number(100 * *value, 2) + " %" : "- (the test split has images of one kind only)";
}

}  // namespace

CommandSpec eval_spec() {
  return {.name = "eval",
          .summary = "measure a fitted model on a test split",
          .description =
              "Scores the test split of a data set, and prints the ROCAUC (the chance that an anomaly scores "
              "higher than a normal "
              "image, ties counting half; exact) and what the threshold finds. A measure that the data "
              "cannot give is null.",
          .positionals = {{.name = "MODEL", .summary = "a file that panda fit wrote"}},
          .options = eval_options(),
          .examples = {"panda eval fabric.panda --data fabric",
                       "panda eval airplane.panda --dataset cifar10 --data cifar --class airplane -o json"}};
}

int run_eval(const ParsedOptions& options, Context& context) {
  const std::string& model_path = options.positionals()[0];
  const data::Dataset dataset = open_dataset(options, false, true);
  context.detail(dataset.description);
  const data::ImageSet& images = *dataset.test;
  const std::unique_ptr<Device> device = open_device(options, context);
  StageTimes times(&context.progress);
  const anomaly::Dn2 model = anomaly::Dn2::load(*device, anomaly::FittedModelFile(model_path));
  const std::optional<ChosenThreshold> threshold = choose_threshold(options, model);
  times.add("loading the model");
  const std::vector<double> scores = model.score(images, extract_options(options, *device), &times);

  std::vector<uint8_t> labels;
  Json per_image = Json::array();
  for (int64_t i = 0; i < images.size(); ++i) {
    const data::Sample& sample = images.sample(i);
    labels.push_back(static_cast<uint8_t>(sample.label));
    per_image.push_back(
        {{"file", sample.file}, {"score", scores[static_cast<size_t>(i)]}, {"label", sample.label}});
  }
  const std::optional<double> auroc = anomaly::auroc(scores, labels);
  const Verdicts verdicts = count_verdicts(scores, labels, threshold);
  if (!auroc)
    context.warn(text("the test split has no ", verdicts.normal == 0 ? "normal" : "anomalous",
                      " image: there is no ROCAUC"));

  const Json result = {{"image_auroc", auroc ? Json(*auroc) : Json(nullptr)},
                       {"pixel_auroc", nullptr},
                       {"pro", nullptr},
                       {"n_train", model.training_count()},
                       {"n_test", images.size()},
                       {"n_anomalous", verdicts.anomalous},
                       {"threshold", threshold_json(threshold)},
                       {"false_alarms", threshold ? Json(verdicts.false_alarms) : Json(nullptr)},
                       {"anomalies_found", threshold ? Json(verdicts.found) : Json(nullptr)},
                       {"seconds", times.json()},
                       {"device", device_label(*device)},
                       {"per_image", std::move(per_image)}};
  print_object(
      context.out, context.format, result,
      aligned_pairs({{"model", describe(model)},
                     {"data", dataset.description},
                     {"images", text(model.training_count(), " fitted on; ", images.size(), " tested: ",
                                     verdicts.normal, " normal, ", verdicts.anomalous, " anomalous")},
                     {"ROCAUC", percent(auroc)},
                     {"threshold", threshold ? threshold->meaning : "none"},
                     {"false alarms", threshold ? share(verdicts.false_alarms, verdicts.normal) : "-"},
                     {"found", threshold ? share(verdicts.found, verdicts.anomalous) : "-"},
                     {"time", text(times.table_text(), " (",
                                   rate_text(images.size(), times.seconds("extracting features")), ")")},
                     {"device", text(device->name(), ": ", device->description())}}));
  return kExitDone;
}

}  // namespace panda::tools
