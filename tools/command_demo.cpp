// panda demo: the main job from end to end on data that it draws itself.

#include <algorithm>

#include "anomaly/auroc.h"
#include "anomaly/dn2.h"
#include "data/image_decode.h"
#include "data/resize.h"
#include "data/synthetic.h"
#include "kernels/tensor/file.h"
#include "nn/init.h"
#include "tools/commands.h"
#include "tools/dataset_options.h"
#include "tools/detector.h"
#include "tools/exit_code.h"
#include "tools/score_figure.h"
#include "tools/stage_times.h"
#include "tools/version.h"
#include "weights/manifest.h"
#include "weights/torchvision_names.h"
#include "weights/weights_file.h"

namespace panda::tools {

namespace {

/// The network of the demo: the user's, or one with seeded weights.
struct DemoNetwork {
  std::unique_ptr<NamedTensors> weights;
  std::string note;
  /// Lengths of untrained features say nothing, their directions a little: with seeded weights distances are
  /// cosines.
  bool normalize = false;
};

DemoNetwork open_network(const ParsedOptions& options) {
  if (options.has("weights")) {
    const std::string& path = options.text("weights");
    std::unique_ptr<NamedTensors> weights = weights::with_torchvision_names(weights::open_weights(path));
    const std::string arch = nn::detect_resnet(*weights).arch;
    return {std::move(weights),
            text("the ", arch, " of ", printable(path.substr(path.find_last_of('/') + 1))), false};
  }
  return {
      std::make_unique<nn::SeededResnetParameters>(nn::resnet_config("resnet18"),
                                                   static_cast<uint64_t>(options.integer("seed"))),
      "a ResNet-18 with random weights: this build has no pretrained network inside (--weights gives one)",
      true};
}

constexpr int64_t kThumbnailPixels = 104;

data::SyntheticOptions synthetic_options(const ParsedOptions& options) {
  data::SyntheticOptions synthetic;
  synthetic.kind =
      options.text("kind") == "texture" ? data::SyntheticKind::kTexture : data::SyntheticKind::kObjects;
  synthetic.seed = static_cast<uint64_t>(options.integer("seed"));
  return synthetic;
}

/// Draws the data set into `directory` and opens it as any user's data would be opened.
data::Dataset make_data(const std::string& directory, const data::SyntheticOptions& synthetic, bool force,
                        Device& device, Progress* progress) {
  data::write_synthetic(directory, synthetic, force, device.threads(), progress);
  data::DatasetOptions dataset;
  dataset.kind = "mvtec";
  dataset.directory = directory;
  return data::open_dataset(dataset);
}

struct DemoResult {
  std::vector<double> scores;
  std::vector<uint8_t> labels;
  std::optional<double> auroc;
  int64_t found = 0;
  int64_t false_alarms = 0;
};

DemoResult evaluate_demo(const anomaly::Dn2& model, const data::ImageSet& images,
                         const anomaly::ExtractOptions& extract, Progress* progress) {
  DemoResult result;
  result.scores = model.score(images, extract, progress);
  for (int64_t i = 0; i < images.size(); ++i) {
    const bool anomalous = images.sample(i).label == 1;
    const bool flagged =
        model.threshold() && result.scores[static_cast<size_t>(i)] > model.threshold()->value;
    result.labels.push_back(anomalous ? 1 : 0);
    if (flagged) ++(anomalous ? result.found : result.false_alarms);
  }
  result.auroc = anomaly::auroc(result.scores, result.labels);
  return result;
}

ScoreFigure figure_of(const anomaly::Dn2& model, const data::ImageSet& images, const DemoResult& result,
                      const std::string& design, const std::string& network) {
  ScoreFigure figure;
  figure.title = text("DN2 on a synthetic ", design);
  figure.subtitle = text(model.training_count(), " normal images learnt, ", images.size(), " tested. ROCAUC ",
                         result.auroc ? fixed_number(*result.auroc, 3) : "-", ", with ", network, ".");
  figure.score_label = "score: sum of the squared distances to the 2 nearest training images";
  if (model.threshold()) figure.threshold = model.threshold()->value;
  for (int64_t i = 0; i < images.size(); ++i) {
    const data::Sample& sample = images.sample(i);
    const data::Image thumbnail =
        data::resize_bilinear(data::to_rgb(images.load(i)), kThumbnailPixels, kThumbnailPixels);
    figure.pictures.push_back({sample.file, sample.class_name, result.scores[static_cast<size_t>(i)],
                               sample.label == 1, thumbnail});
  }
  return figure;
}

void write_text_file(const std::string& path, const std::string& content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

}  // namespace

CommandSpec demo_spec() {
  return {.name = "demo",
          .summary = "the main job on data that it draws itself: make, fit, evaluate, show",
          .description =
              "Draws a small data set with defects (as panda synth), learns from its normal pictures (as "
              "panda fit dn2), "
              "scores the test pictures (as panda eval), and shows the result: a table here, and in DIR the "
              "data, the model and "
              "results.svg with every test picture in the order of its score.\n\n"
              "Until a pretrained network is part of this build, the demo uses one with random weights from "
              "the seed and says so: its "
              "figures show that the pipeline works, not how good pretrained features are. With --weights it "
              "uses a network of yours.",
          .positionals = {},
          .options = {{.name = "out",
                       .kind = OptionKind::kDirectory,
                       .value_name = "DIR",
                       .default_value = "panda-demo",
                       .summary = "where data, model and picture go",
                       .detail = ""},
                      {.name = "kind",
                       .kind = OptionKind::kChoice,
                       .value_name = "KIND",
                       .default_value = "texture",
                       .summary = "what the pictures show",
                       .detail = "",
                       .choices = {"texture", "objects"}},
                      {.name = "weights",
                       .kind = OptionKind::kFile,
                       .value_name = "FILE",
                       .default_value = "",
                       .summary = "a pretrained network to use",
                       .detail = "Without it, one with random weights from the seed."},
                      {.name = "force",
                       .kind = OptionKind::kFlag,
                       .value_name = "",
                       .default_value = "",
                       .summary = "replace what an earlier demo left in DIR",
                       .detail = ""},
                      batch_size_option()},
          .examples = {"panda demo",
                       "panda demo --kind objects --weights resnet18.safetensors --out gasket-demo"}};
}

int run_demo(const ParsedOptions& options, Context& context) {
  const std::string& out = options.text("out");
  const std::string data_path = join_path(out, "data");
  const std::string model_path = join_path(out, "model.safetensors");
  const std::string figure_path = join_path(out, "results.svg");
  const bool force = options.flag("force");
  for (const std::string& path : {model_path, figure_path}) {
    if (path_exists(path) && !force)
      throw InvalidArgument(text(path, ": exists already (--force replaces it)"));
  }
  const std::unique_ptr<Device> device = open_device(options, context);
  StageTimes times(&context.progress);
  const DemoNetwork network = open_network(options);
  const data::SyntheticOptions synthetic = synthetic_options(options);
  const data::Dataset dataset = make_data(data_path, synthetic, force, *device, &times);

  anomaly::Dn2Options dn2;
  dn2.score.normalize = network.normalize;
  const anomaly::ExtractOptions extract = extract_options(options, *device);
  const anomaly::Dn2 model =
      anomaly::Dn2::fit(*device, *network.weights, *dataset.train, dn2, extract, &times);
  model.save(model_path, *network.weights,
             {weights::content_sha256(*network.weights), file_list_sha256(*dataset.train, data_path),
              version(), device_label(*device), options.integer("seed")});
  times.add("writing the model");
  const DemoResult result = evaluate_demo(model, *dataset.test, extract, &times);
  write_text_file(figure_path, score_figure_svg(figure_of(model, *dataset.test, result,
                                                          data::synthetic_design(synthetic), network.note)));
  times.add("drawing the figure");

  const int64_t anomalous = std::count(result.labels.begin(), result.labels.end(), 1);
  const int64_t normal = dataset.test->size() - anomalous;
  const Json json = {{"image_auroc", result.auroc ? Json(*result.auroc) : Json(nullptr)},
                     {"n_train", model.training_count()},
                     {"n_test", dataset.test->size()},
                     {"n_anomalous", anomalous},
                     {"anomalies_found", result.found},
                     {"false_alarms", result.false_alarms},
                     {"network", network.note},
                     {"data", data_path},
                     {"model", model_path},
                     {"figure", figure_path},
                     {"seconds", times.json()},
                     {"device", device_label(*device)}};
  print_object(
      context.out, context.format, json,
      aligned_pairs({{"data", text(data::synthetic_design(synthetic), ": ", dataset.description)},
                     {"network", network.note},
                     {"method", model.description()},
                     {"ROCAUC", result.auroc ? fixed_number(100 * *result.auroc, 2) + " %" : "-"},
                     {"threshold", model.threshold() ? anomaly::Dn2::meaning(*model.threshold()) : "none"},
                     {"found", text(result.found, " of ", anomalous, " anomalies, with ", result.false_alarms,
                                    " false alarms on ", normal, " normal images")},
                     {"time", times.table_text()},
                     {"device", text(device->name(), ": ", device->description())},
                     {"picture", text(figure_path, " (open it in a browser)")},
                     {"model", model_path}}));
  return kExitDone;
}

}  // namespace panda::tools
