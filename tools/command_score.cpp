// panda score: the scores of images by a fitted model.

#include <unistd.h>

#include <algorithm>

#include "anomaly/detector.h"
#include "data/image_decode.h"
#include "tools/commands.h"
#include "tools/dataset_options.h"
#include "tools/detector.h"
#include "tools/exit_code.h"
#include "tools/image_source.h"
#include "tools/stage_times.h"

namespace panda::tools {

namespace {

constexpr double kLookSeconds = 0.25;

std::vector<OptionSpec> score_options() {
  std::vector<OptionSpec> options = threshold_options();
  const std::vector<OptionSpec> own = {
      {.name = "fail-on-anomaly",
       .kind = OptionKind::kFlag,
       .value_name = "",
       .default_value = "",
       .summary = "exit with 1 if an image is anomalous",
       .detail = ""},
      {.name = "explain",
       .kind = OptionKind::kFlag,
       .value_name = "",
       .default_value = "",
       .summary = "name each image's most anomalous pixel and the training pixel nearest to it",
       .detail =
           "Pixels are rows and columns of what the network saw. The training image is named, and its place "
           "among those of the gallery is given, from 0. Only for methods that make maps (spade)."},
      {.name = "watch",
       .kind = OptionKind::kFlag,
       .value_name = "",
       .default_value = "",
       .summary = "go on with images that appear in the directories",
       .detail =
           "An image is taken once its size and time rest for a moment, and again if it is written again. "
           "Best with -o jsonl, which prints each result at once; Ctrl-C ends it. Images that cannot be read "
           "are left out and named."},
      {.name = "idle-exit",
       .kind = OptionKind::kReal,
       .value_name = "SECONDS",
       .default_value = "0",
       .summary = "with --watch: end when nothing came for so long (0: never)",
       .detail = "",
       .minimum = 0,
       .maximum = 1e9},
      skip_bad_option(),
      batch_size_option(),
      gallery_memory_option()};
  const std::vector<OptionSpec> maps = map_options();
  options.insert(options.end(), maps.begin(), maps.end());
  options.insert(options.end(), own.begin(), own.end());
  return options;
}

std::unique_ptr<ImageSource> open_source(const ParsedOptions& options) {
  const std::vector<std::string> paths(options.positionals().begin() + 1, options.positionals().end());
  const bool from_input = std::find(paths.begin(), paths.end(), "-") != paths.end();
  if (from_input && (paths.size() > 1 || options.flag("watch")))
    throw UsageError("'-' (paths from standard input) stands alone and is not watched");
  if (from_input) return images_from_lines(STDIN_FILENO, options.integer("batch-size"));
  if (options.flag("watch")) return watched_images(paths, kLookSeconds, options.real("idle-exit"));
  if (options.given("idle-exit")) throw UsageError("--idle-exit is for --watch");
  return listed_images(paths);
}

std::vector<Field> score_fields(bool explain) {
  std::vector<Field> fields = {
      {"file", "file", -1}, {"score", "score", 4}, {"anomalous", "anomalous", -1}, {"map", "map", -1}};
  if (!explain) return fields;
  for (const char* name :
       {"row", "column", "layer", "training_file", "training_image", "training_row", "training_column"})
    fields.push_back({name, name, -1});
  return fields;
}

/// What one run of scoring prints and counts.
class ScoreRun {
 public:
  ScoreRun(const ParsedOptions& options, Context& context, const anomaly::Detector& model,
           std::optional<ChosenThreshold> threshold)
      : context_(context),
        model_(model),
        threshold_(std::move(threshold)),
        explain_(options.flag("explain")),
        printer_(context.out, context.format, score_fields(explain_)) {
    if (explain_ && !model.makes_maps())
      throw UsageError(text("--explain: a model of ", model.method(), " has no pixels (spade has)"));
    if (explain_ && !model.finds_training_pixels()) {
      throw UsageError(
          text("--explain: the model compares with K-means centers, which are no training pixels "
               "(fit ",
               model.method(), " without --clusters)"));
    }
    if (options.has("maps")) writer_.emplace(options.text("maps"), map_scale(options, model));
  }

  void add(const data::ImageSet& images, const anomaly::ImageScore& result) {
    const std::string& file = images.sample(result.index).file;
    const bool anomalous = threshold_ && result.score > threshold_->value;
    Json map;
    if (writer_)
      map = writer_->write(file, "", model_.transform().pixels(images.load(result.index)), *result.map);
    std::vector<Json> values = {file, result.score, threshold_ ? Json(anomalous) : Json(nullptr), map};
    if (explain_) {
      const anomaly::NearestPixel& nearest = *result.nearest;
      const std::string training_file = model_.training_file(nearest.training_image);
      const std::vector<Json> explained = {nearest.row,
                                           nearest.column,
                                           nearest.layer,
                                           training_file.empty() ? Json(nullptr) : Json(training_file),
                                           nearest.training_image,
                                           nearest.training_row,
                                           nearest.training_column};
      values.insert(values.end(), explained.begin(), explained.end());
    }
    printer_.add(std::move(values));
    ++images_;
    anomalies_ += anomalous ? 1 : 0;
  }

  void finish(const StageTimes& times) {
    printer_.finish();
    if (context_.format != OutputFormat::kTable) return;
    std::vector<std::pair<std::string, std::string>> lines = {
        {"model", model_.description()}, {"threshold", threshold_ ? threshold_->meaning : "none"}};
    if (const auto pixels = pixel_threshold_of(model_); writer_ && pixels)
      lines.emplace_back("of pixels", pixels->meaning);
    lines.emplace_back("anomalous", threshold_ ? text(anomalies_, " of ", image_count(images_)) : "-");
    lines.emplace_back("time",
                       text(times.table_text(), " (", rate_text(images_, times.seconds("scoring")), ")"));
    context_.out.write("\n" + aligned_pairs(lines));
  }
  [[nodiscard]] int64_t anomalies() const { return anomalies_; }
  [[nodiscard]] int64_t images() const { return images_; }

 private:
  Context& context_;
  const anomaly::Detector& model_;
  std::optional<ChosenThreshold> threshold_;
  bool explain_;
  RecordPrinter printer_;
  std::optional<MapWriter> writer_;
  int64_t images_ = 0;
  int64_t anomalies_ = 0;
};

}  // namespace

CommandSpec score_spec() {
  return {
      .name = "score",
      .summary = "score images by a fitted model",
      .description =
          "Prints a score for each image; higher is more anomalous. Directories are searched for images; '-' "
          "reads paths from standard input, one per line. The model holds all that is needed.\n\n"
          "With -o jsonl each result is printed as soon as it is known, and memory does not grow with the "
          "number of images.",
      .positionals = {{.name = "MODEL", .summary = "a file that panda fit wrote"},
                      {.name = "IMAGE_OR_DIR",
                       .summary = "images, or directories of images, or - for paths on standard input",
                       .repeatable = true}},
      .options = score_options(),
      .examples = {"panda score fabric.panda new/",
                   "panda score fabric.panda part.png --fail-on-anomaly -q -o json",
                   "panda score fabric.panda new/ --maps maps",
                   "panda score fabric.panda incoming/ --watch -o jsonl"}};
}

int run_score(const ParsedOptions& options, Context& context) {
  const std::string& model_path = options.positionals()[0];
  const std::unique_ptr<ImageSource> source = open_source(options);
  const std::unique_ptr<Device> device = open_device(options, context);
  StageTimes times(&context.progress);
  const std::unique_ptr<anomaly::Detector> model = open_detector(options, *device);
  const std::optional<ChosenThreshold> threshold = choose_threshold(options, *model);
  if (!threshold && options.flag("fail-on-anomaly")) {
    throw UsageError(text("--fail-on-anomaly: ", model_path, " has no threshold (fitted on ",
                          image_count(model->training_count()), "); give one with --threshold"));
  }
  times.add("loading the model");

  ScoreRun run(options, context, *model, threshold);
  anomaly::ExtractOptions extract = extract_options(options, *device);
  extract.stage = "scoring";
  extract.skip_bad = options.flag("skip-bad") || options.flag("watch");
  std::vector<std::string> failures;
  extract.failures = &failures;
  int64_t left_out = 0;
  for (std::vector<std::string> files = source->next(); !files.empty(); files = source->next()) {
    const std::unique_ptr<data::ImageSet> images = data::open_image_files(files);
    model->score_each(
        *images, extract, [&](const anomaly::ImageScore& result) { run.add(*images, result); }, &times);
    warn_skipped(context, images->size(), failures);
    left_out += static_cast<int64_t>(failures.size());
    failures.clear();
  }
  if (run.images() == 0 && left_out > 0)
    throw InvalidArgument(text("none of ", image_count(left_out), " can be read"));
  run.finish(times);
  return run.anomalies() > 0 && options.flag("fail-on-anomaly") ? kExitAnomalyFound : kExitDone;
}

}  // namespace panda::tools
