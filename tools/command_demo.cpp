// panda demo: the main job from end to end on data that it draws itself.

#include <algorithm>

#include "anomaly/dn2.h"
#include "anomaly/spade.h"
#include "data/image_decode.h"
#include "data/resize.h"
#include "data/synthetic.h"
#include "kernels/tensor/file.h"
#include "nn/init.h"
#include "tools/commands.h"
#include "tools/dataset_options.h"
#include "tools/detector.h"
#include "tools/evaluation.h"
#include "tools/exit_code.h"
#include "tools/report.h"
#include "tools/score_figure.h"
#include "tools/stage_times.h"
#include "tools/version.h"
#include "weights/embedded.h"
#include "weights/manifest.h"
#include "weights/torchvision_names.h"
#include "weights/weights_file.h"

namespace panda::tools {

namespace {

struct DemoNetwork {
  std::unique_ptr<NamedTensors> weights;
  std::string note;
  /// Lengths of untrained features say nothing, their directions a little: with random weights distances are
  /// cosines.
  bool normalize = false;
};

/// --weights: no pretrained network, but one drawn from the seed.
constexpr const char* kRandomWeights = "random";

DemoNetwork random_network(const ParsedOptions& options) {
  return {std::make_unique<nn::SeededResnetParameters>(nn::resnet_config("resnet18"),
                                                       static_cast<uint64_t>(options.integer("seed"))),
          "a ResNet-18 with random weights", true};
}

DemoNetwork open_network(const ParsedOptions& options) {
  const std::string& path = options.text("weights");
  if (path == kRandomWeights) return random_network(options);
  std::unique_ptr<NamedTensors> weights =
      weights::with_torchvision_names(weights::open_weights(weights::weights_source(path)));
  const std::string network = nn::describe(nn::detect_resnet(*weights));
  if (path == weights::kEmbeddedName) return {std::move(weights), text("the embedded ", network), false};
  return {std::move(weights),
          text("the ", network, " of ", printable(path.substr(path.find_last_of('/') + 1))), false};
}

constexpr int64_t kThumbnailPixels = 104;
constexpr int64_t kShownPictures = 12;  // of each sort

/// What a demo leaves behind.
struct DemoFiles {
  explicit DemoFiles(const std::string& out)
      : data(join_path(out, "data")),
        model(join_path(out, "model.safetensors")),
        figure(join_path(out, "results.svg")),
        pixel_model(join_path(out, "pixels.safetensors")),
        report(join_path(out, "report.html")) {}
  std::string data;
  std::string model;
  std::string figure;
  std::string pixel_model;
  std::string report;
};

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

/// What a demo works with.
struct DemoInput {
  Device& device;
  const data::Dataset& dataset;
  const DemoNetwork& network;
  anomaly::ExtractOptions extract;
  anomaly::FitManifest manifest;
};

anomaly::Dn2 fit_dn2(const DemoInput& input, const DemoNetwork& network, Progress* progress) {
  anomaly::Dn2Options options;
  options.score.normalize = network.normalize;
  return anomaly::Dn2::fit(input.device, *network.weights, *input.dataset.train, options, input.extract,
                           progress);
}

Evaluation evaluate_on_test(const DemoInput& input, const anomaly::Detector& model, int64_t shown,
                            Progress* progress) {
  EvaluationOptions options;
  if (model.threshold()) options.threshold = model.threshold()->value;
  options.scale = fitted_map_scale(model);
  if (const auto pixels = model.pixel_threshold()) options.pixel_threshold = pixels->value;
  options.shown = shown;
  return evaluate(input.device, model, *input.dataset.test, input.extract, options, progress);
}

ScoreFigure figure_of(const anomaly::Dn2& model, const data::ImageSet& images, const Evaluation& result,
                      const std::string& design, const std::string& network) {
  ScoreFigure figure;
  figure.title = text("DN2 on a synthetic ", design);
  figure.subtitle =
      text(model.training_count(), " normal images learnt, ", images.size(), " tested. ROCAUC ",
           result.images.auroc ? fixed_number(*result.images.auroc, 3) : "-", ", with ", network, ".");
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

ReportInput report_input(const DemoInput& input, const anomaly::Spade& model, const DemoFiles& files,
                         const StageTimes& times) {
  ReportInput report = report_of(model, times);
  report.title = "Where the demo finds defects";
  report.data = input.dataset.description;
  report.manifest = {
      {"command", text("panda eval ", files.pixel_model, " --data ", files.data, " --report FILE")},
      {"panda", input.manifest.panda_version},
      {"device", text(input.manifest.device, ": ", input.device.description())},
      {"network", input.network.note},
      {"weights, SHA-256 of content", input.manifest.weights_sha256}};
  return report;
}

void write_text_file(const std::string& path, const std::string& content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

struct DemoResult {
  const DemoInput& input;
  const data::SyntheticOptions& synthetic;
  const DemoFiles& files;
  const anomaly::Dn2& images;
  const anomaly::Spade& pixels;
  const Evaluation& found;
  const Evaluation& located;
  std::optional<double> random_auroc;
  const StageTimes& times;
};

void print_results(Context& context, const DemoResult& demo) {
  const DemoInput& input = demo.input;
  const std::string design = data::synthetic_design(demo.synthetic);
  const std::optional<double> pixel_auroc =
      demo.located.pixels ? demo.located.pixels->pixels.auroc : std::nullopt;
  const std::optional<double> pro = demo.located.pixels ? demo.located.pixels->pro : std::nullopt;
  const Json json = {{"image_auroc", number_or_null(demo.found.images.auroc)},
                     {"image_auroc_random_weights", number_or_null(demo.random_auroc)},
                     {"pixel_auroc", number_or_null(pixel_auroc)},
                     {"pro", number_or_null(pro)},
                     {"n_train", demo.images.training_count()},
                     {"n_test", input.dataset.test->size()},
                     {"n_anomalous", demo.found.anomalous},
                     {"anomalies_found", demo.found.found},
                     {"false_alarms", demo.found.false_alarms},
                     {"network", input.network.note},
                     {"data", demo.files.data},
                     {"model", demo.files.model},
                     {"pixel_model", demo.files.pixel_model},
                     {"figure", demo.files.figure},
                     {"report", demo.files.report},
                     {"seconds", demo.times.json()},
                     {"device", input.manifest.device}};
  std::string auroc = as_percent(demo.found.images.auroc);
  if (demo.random_auroc) auroc += text(" (with random weights: ", as_percent(demo.random_auroc), ")");
  print_object(
      context.out, context.format, json,
      aligned_pairs(
          {{"data", text(design, ": ", input.dataset.description)},
           {"network", input.network.note},
           {"which images", demo.images.description()},
           {"ROCAUC", auroc},
           {"threshold",
            demo.images.threshold() ? demo.images.threshold_text(*demo.images.threshold()) : "none"},
           {"found", text(demo.found.found, " of ", demo.found.anomalous, " anomalies, with ",
                          demo.found.false_alarms, " false alarms on ", demo.found.normal, " normal images")},
           {"which pixels", demo.pixels.description()},
           {"ROCAUC", text(as_percent(pixel_auroc), " of pixels; PRO ", as_percent(pro))},
           {"time", demo.times.table_text()},
           {"device", text(input.device.name(), ": ", input.device.description())},
           {"pictures", text(demo.files.report, " (heat maps), ", demo.files.figure, " (open in a browser)")},
           {"models", text(demo.files.model, ", ", demo.files.pixel_model)}}));
}

}  // namespace

CommandSpec demo_spec() {
  return {.name = "demo",
          .summary = "the main job on data that it draws itself: make, fit, evaluate, show",
          .description =
              "Draws a small data set with defects (as panda synth), learns from its normal pictures (as "
              "panda fit dn2), "
              "scores the test pictures (as panda eval), and shows the result: a table here, and in DIR the "
              "data, the model and results.svg with every test picture in the order of its score. Then the "
              "same with panda fit spade: report.html shows where the defects are.\n\n"
              "The network is the small one inside this program: its figures show that the pipeline works, "
              "not how good large pretrained networks are. With --weights the demo uses one of yours.",
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
                       .default_value = "objects",
                       .summary = "what the pictures show",
                       .detail = "",
                       .choices = {"objects", "texture"}},
                      {.name = "weights",
                       .kind = OptionKind::kFile,
                       .value_name = "FILE",
                       .default_value = weights::kEmbeddedName,
                       .summary = "the pretrained network: a file, or the word embedded or random",
                       .detail = "random: untrained, drawn from the seed, for comparison."},
                      {.name = "force",
                       .kind = OptionKind::kFlag,
                       .value_name = "",
                       .default_value = "",
                       .summary = "replace what an earlier demo left in DIR",
                       .detail = ""},
                      batch_size_option()},
          .examples = {"panda demo",
                       "panda demo --kind texture --weights resnet18.safetensors --out weave-demo"}};
}

int run_demo(const ParsedOptions& options, Context& context) {
  const std::string& out = options.text("out");
  const DemoFiles files(out);
  for (const std::string& path : {files.model, files.figure, files.pixel_model, files.report}) {
    if (path_exists(path) && !options.flag("force"))
      throw InvalidArgument(text(path, ": exists already (--force replaces it)"));
  }
  const std::unique_ptr<Device> device = open_device(options, context);
  StageTimes times(&context.progress);
  const DemoNetwork network = open_network(options);
  const data::SyntheticOptions synthetic = synthetic_options(options);
  const data::Dataset dataset = make_data(files.data, synthetic, options.flag("force"), *device, &times);
  const DemoInput input{
      *device,
      dataset,
      network,
      extract_options(options, *device),
      {weights::content_sha256(*network.weights), file_list_sha256(*dataset.train, files.data), version(),
       device_label(*device), options.integer("seed")}};

  const anomaly::Dn2 images = fit_dn2(input, network, &times);
  images.save(files.model, *network.weights, input.manifest);
  const Evaluation found = evaluate_on_test(input, images, 0, &times);
  write_text_file(files.figure, score_figure_svg(figure_of(images, *dataset.test, found,
                                                           data::synthetic_design(synthetic), network.note)));
  const std::optional<double> random_auroc =
      network.normalize
          ? std::nullopt
          : evaluate_on_test(input, fit_dn2(input, random_network(options), &times), 0, &times).images.auroc;

  const anomaly::Spade pixels = anomaly::Spade::fit(*device, *network.weights, *dataset.train, {},
                                                    input.extract, {.scratch_directory = out}, &times);
  pixels.save(files.pixel_model, *network.weights, input.manifest);
  const Evaluation located = evaluate_on_test(input, pixels, kShownPictures, &times);
  write_text_file(files.report, report_html(report_input(input, pixels, files, times), located));
  times.add("writing pictures");
  print_results(context, {input, synthetic, files, images, pixels, found, located, random_auroc, times});
  return kExitDone;
}

}  // namespace panda::tools
