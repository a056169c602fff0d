#include "tools/fit_panda.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "anomaly/joint_optimization.h"
#include "anomaly/outlier_exposure.h"
#include "anomaly/panda.h"
#include "anomaly/training_checkpoint.h"
#include "kernels/tensor/file.h"
#include "tools/dataset_options.h"
#include "tools/detector.h"
#include "tools/exit_code.h"
#include "tools/score_options.h"
#include "tools/training_curves.h"

namespace panda::tools {

namespace {

using anomaly::AdaptedFit;

/// What a method trains with where no flag says otherwise: the official code's values or the paper's; where
/// one of them is silent, the other's.
struct Recipe {
  int64_t epochs = 0;       ///< or, if 0:
  int64_t minibatches = 0;  ///< both as stated by the source
  std::vector<int> blocks = {3, 4};
  double rate = 1e-2;
  double decay = 5e-5;
  double clip = 1e-3;
  double alpha = 1;
};

Recipe recipe_of(const ParsedOptions& options) {
  const std::string& method = options.positionals()[0];
  const bool paper = options.text("preset") == "paper";
  Recipe recipe;
  if (method == "panda-ses") {
    recipe.epochs = 30;  // App. B.1; no official code
  } else if (method == "panda-oe") {
    recipe.epochs = paper ? 75 : 50;
    if (paper) recipe.blocks = {4};
    recipe.rate = 0.1;
    recipe.decay = 0;
  } else {
    const bool ewc = method == "panda-ewc";
    recipe.epochs = ewc ? 50 : 15;
    if (paper) {
      recipe.epochs = 0;
      recipe.minibatches = ewc ? 7800 : 2300;
    }
  }
  if (method == "jo" && options.text("variant") == "leave-one-out") {
    recipe.rate = 5e-5;  // the cited authors'
    recipe.decay = 5e-4;
    recipe.clip = 0;
    recipe.alpha = 0.1;
  }
  return recipe;
}

std::string scratch_directory(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

int64_t images_trained_on(const ParsedOptions& options, int64_t n) {
  return n - (options.given("hold-out") ? options.integer("hold-out") : anomaly::default_held_out(n));
}

anomaly::AdaptedOptions model_options(const ParsedOptions& options) {
  anomaly::AdaptedOptions model;
  model.method = options.positionals()[0];
  model.by_logit = model.method == "panda-oe";
  model.score = score_options(options);
  if (model.method == "panda-ses" && options.text("ses") == "center")
    model.score.rule = anomaly::ScoreRule::kCenter;
  model.transform.resize = options.integer("resize");
  model.transform.crop = options.integer("crop");
  if (options.has("false-alarm-rate")) model.false_alarm_rate = options.real("false-alarm-rate");
  return model;
}

anomaly::AdaptedFitOptions fit_options(const ParsedOptions& options, int64_t n) {
  const Recipe recipe = recipe_of(options);
  anomaly::AdaptedFitOptions fit;
  fit.model = model_options(options);
  anomaly::AdaptationOptions& training = fit.adaptation;
  training.blocks = recipe.blocks;
  if (options.has("train-blocks")) {
    training.blocks.clear();
    for (const int64_t block : options.integers("train-blocks"))
      training.blocks.push_back(static_cast<int>(block));
    std::sort(training.blocks.begin(), training.blocks.end());
  }
  training.batch_size = options.integer("batch-size");
  const int64_t trained_on = std::max<int64_t>(1, images_trained_on(options, n));
  const int64_t epoch = anomaly::minibatches_per_epoch(trained_on, training.batch_size);
  training.minibatches = recipe.epochs > 0 ? recipe.epochs * epoch : recipe.minibatches;
  if (options.has("epochs")) training.minibatches = options.integer("epochs") * epoch;
  if (options.has("minibatches")) training.minibatches = options.integer("minibatches");
  training.rate = options.has("lr") ? options.real("lr") : recipe.rate;
  if (options.has("momentum")) training.sgd.momentum = options.real("momentum");
  training.sgd.decay = options.has("decay") ? options.real("decay") : recipe.decay;
  training.sgd.max_norm = options.has("clip") ? options.real("clip") : recipe.clip;
  training.seed = static_cast<uint64_t>(options.integer("seed"));
  if (fit.model.method == "panda-ses") {
    const bool by_minibatch = options.has("copy-every");
    training.snapshot_every = by_minibatch ? options.integer("copy-every") : 5 * epoch;  // section 3.2
    fit.scale = options.text("ses") == "center" ? anomaly::ScaleRule::kCenterDistance
                                                : anomaly::ScaleRule::kLeftOutNeighbours;
  }
  if (options.given("hold-out")) fit.held_out_images = options.integer("hold-out");
  fit.cache = {anomaly::trunk_cache_from_name(options.text("trunk-cache")),
               options.integer("trunk-memory") << 20, scratch_directory(options.text("out"))};
  return fit;
}

anomaly::CompactnessScale compactness_of(const ParsedOptions& options) {
  const bool given = options.has("compactness");
  const std::string& named = given ? options.text("compactness") : options.text("preset");
  return named == "sum" || named == "paper" ? anomaly::CompactnessScale::kSum
                                            : anomaly::CompactnessScale::kMean;
}

/// Images that the method wants beside the normal ones; they must outlive the fit.
struct Auxiliary {
  std::unique_ptr<data::ImageSet> images;
  std::string sha256;
  int64_t class_count = 0;
};

Auxiliary open_auxiliary(const ParsedOptions& options) {
  const std::string& method = options.positionals()[0];
  Auxiliary auxiliary;
  if (method == "panda-oe") {
    const std::string& directory = options.text("outliers");
    auxiliary.images = data::open_image_files(data::list_images({directory}));
    auxiliary.sha256 = file_list_sha256(*auxiliary.images, directory);
  } else if (method == "jo") {
    const std::string& directory = options.text("aux-data");
    std::vector<std::string> classes;
    auxiliary.images = data::open_labelled_folder(directory, classes);
    auxiliary.sha256 = file_list_sha256(*auxiliary.images, directory);
    auxiliary.class_count = static_cast<int64_t>(classes.size());
  }
  return auxiliary;
}

anomaly::AdaptationMethod method_of(const ParsedOptions& options, const FitInput& input,
                                    const Auxiliary& auxiliary) {
  const std::string& method = options.positionals()[0];
  const auto seed = static_cast<uint64_t>(options.integer("seed"));
  if (method == "panda-oe")
    return anomaly::outlier_exposure_method(input.weights, *auxiliary.images, auxiliary.sha256, seed);
  if (method == "jo") {
    anomaly::JointOptions joint;
    joint.variant = options.text("variant") == "leave-one-out" ? anomaly::JointVariant::kLeaveOneOut
                                                               : anomaly::JointVariant::kCenter;
    joint.compactness = compactness_of(options);
    joint.alpha = options.has("alpha") ? options.real("alpha") : recipe_of(options).alpha;
    return anomaly::joint_method(input.weights, *auxiliary.images, auxiliary.sha256, auxiliary.class_count,
                                 joint, seed);
  }
  anomaly::PandaOptions panda;
  panda.variant = method == "panda-ewc"   ? anomaly::PandaVariant::kEwc
                  : method == "panda-ses" ? anomaly::PandaVariant::kSes
                                          : anomaly::PandaVariant::kEarly;
  panda.compactness = compactness_of(options);
  if (options.has("lambda")) panda.lambda = options.real("lambda");
  if (options.has("fisher")) panda.fisher = options.text("fisher");
  anomaly::AdaptationMethod result =
      anomaly::panda_method(input.weights, input.manifest.weights_sha256, panda);
  if (method == "panda-ses") result.fields["option.ses"] = options.text("ses");
  return result;
}

/// The log's last measured spread beside its first.
struct Spread {
  double first_distance = 0;
  double last_distance = 0;
  double first_rank = 0;
  double last_rank = 0;
};

Spread spread_of(const anomaly::TrainingLog& log) {
  Spread spread{log.rows().front().distance, 0, log.rows().front().effective_rank, 0};
  for (const anomaly::LogRow& row : log.rows()) {
    if (row.distance != row.distance) continue;  // not measured there
    spread.last_distance = row.distance;
    spread.last_rank = row.effective_rank;
  }
  return spread;
}

/// A tenth of the directions left: a rule of thumb.
void warn_of_collapse(Context& context, const Spread& spread) {
  if (spread.last_rank >= 0.1 * spread.first_rank) return;
  context.warn(text("the features of normal images vary in ", fixed_number(spread.last_rank, 1),
                    " directions, ", fixed_number(spread.first_rank, 1),
                    " before training: they may have collapsed; fewer --minibatches may score better"));
}

Json result_json(const ParsedOptions& options, const AdaptedFit& fit, const anomaly::AdaptedFitOptions& used,
                 const std::optional<ChosenThreshold>& threshold, const StageTimes& times,
                 const Device& device) {
  const std::string& path = options.text("out");
  const anomaly::Adapted& model = fit.model();
  const anomaly::LogRow& last = fit.log().rows().back();
  const Spread spread = spread_of(fit.log());
  const bool by_logit = model.options().by_logit;
  return {{"model", path},
          {"bytes", InputFile(path).size()},
          {"method", model.method()},
          {"arch", model.architecture().arch},
          {"score", by_logit ? "logit" : anomaly::score_rule_name(model.options().score.rule)},
          {"k", by_logit ? Json(nullptr) : Json(model.options().score.k)},
          {"whitening", by_logit ? Json(nullptr) : whitening_json(*model.members().front().scorer)},
          {"train_blocks", used.adaptation.blocks},
          {"minibatches", used.adaptation.minibatches},
          {"resumed_at", fit.resumed_at() > 0 ? Json(fit.resumed_at()) : Json(nullptr)},
          {"copies", static_cast<int64_t>(model.members().size())},
          {"n_train", model.training_count()},
          {"n_adapted", fit.adapted_count()},
          {"n_held_out", fit.held_out_count()},
          {"loss", last.minibatch > 0 ? Json(last.loss) : Json(nullptr)},
          {"s_before", spread.first_distance},
          {"s_after", spread.last_distance},
          {"effective_rank_before", spread.first_rank},
          {"effective_rank_after", spread.last_rank},
          {"threshold", threshold_json(threshold)},
          {"seconds", times.json()},
          {"device", device_label(device)}};
}

void print_result(Context& context, const FitInput& input, const AdaptedFit& fit, const Json& result,
                  const std::optional<ChosenThreshold>& threshold, const StageTimes& times) {
  const double megabytes = static_cast<double>(result["bytes"].get<int64_t>()) / 1e6;
  const Spread spread = spread_of(fit.log());
  const auto change = [](double before, double after) {
    return fixed_number(before, 3) + " to " + fixed_number(after, 3);
  };
  print_object(
      context.out, context.format, result,
      aligned_pairs(
          {{"model", text(result["model"].get<std::string>(), " (", fixed_number(megabytes, 1), " MB)")},
           {"method", fit.model().description()},
           {"data", input.data_description},
           {"fitted on", text(image_count(fit.model().training_count()), ": ", fit.adapted_count(),
                              " adapted to, ", fit.held_out_count(), " held out for the threshold")},
           {"training", text(result["minibatches"].get<int64_t>(), " minibatches; distance to the center ",
                             change(spread.first_distance, spread.last_distance), ", effective rank ",
                             change(spread.first_rank, spread.last_rank))},
           {"threshold", threshold ? threshold->meaning : "none: no image was held out"},
           {"time", times.table_text()},
           {"device", text(input.device.name(), ": ", input.device.description())}}));
}

}  // namespace

std::vector<OptionSpec> panda_options() {
  return {
      {.name = "train-blocks",
       .kind = OptionKind::kIntegerList,
       .value_name = "LIST",
       .default_value = "",
       .summary = "panda-*, jo: the layers that are trained (default: 3,4)",
       .detail = "--preset paper trains layer 4 alone for panda-oe.",
       .minimum = 1,
       .maximum = 4},
      integer_option("minibatches", "N", "", "panda-*, jo: steps of the training",
                     "Default: --epochs. --preset paper: 2300 for panda-early and jo, 7800 for panda-ewc.",
                     0),
      integer_option(
          "epochs", "N", "", "panda-*, jo: the same in passes over the images",
          "Default: 15 for panda-early and jo, 50 for panda-ewc, 30 for panda-ses, 50 for panda-oe "
          "(75 with --preset paper).",
          0),
      real_option("lr", "RATE", "", "panda-*, jo: the rate of the steps (default: 0.01)",
                  "0.1 for panda-oe, 5e-5 for jo --variant leave-one-out.", 0),
      real_option("momentum", "M", "", "panda-*, jo: of the steps (default: 0.9)", "", 0, 1),
      real_option(
          "decay", "D", "", "panda-*, jo: decay of the trained weights (default: 5e-5)",
          "0 for panda-oe, 5e-4 for jo --variant leave-one-out. Added to the gradient after clipping.", 0),
      real_option("clip", "NORM", "", "panda-*, jo: largest norm of a step's gradient (default: 0.001)",
                  "0: none, which is the default of jo --variant leave-one-out.", 0),
      choice_option(
          "compactness", "SCALE", "", "panda-*, jo: the scale of the compactness loss",
          "sum: over images and features, as the paper writes it and --preset paper takes it. mean: "
          "the mean over both, as the official code computes it.",
          {"sum", "mean"}),
      {.name = "fisher",
       .kind = OptionKind::kFile,
       .value_name = "FILE",
       .default_value = "",
       .summary = "panda-ewc: the Fisher diagonal of the weights, or uniform",
       .detail = "A file that panda fisher wrote, or a PyTorch dict from parameter name to tensor. uniform: "
                 "every weight matters alike."},
      real_option("lambda", "L", "", "panda-ewc: how strongly weights are held (default: 10000)", "", 0),
      choice_option("ses", "RULE", "knn", "panda-ses: what a copy's score is divided by",
                    "knn: distances to neighbours, divided by those of a tenth of the images to the others "
                    "(appendix B.1). center: distances to the center, by their mean (section 3.2).",
                    {"knn", "center"}),
      integer_option("copy-every", "N", "", "panda-ses: minibatches between copies (default: 5 epochs)", "",
                     1),
      {.name = "outliers",
       .kind = OptionKind::kDirectory,
       .value_name = "DIR",
       .default_value = "",
       .summary = "panda-oe: images of anything but the normal class",
       .detail = "All images below DIR."},
      {.name = "aux-data",
       .kind = OptionKind::kDirectory,
       .value_name = "DIR",
       .default_value = "",
       .summary = "jo: labelled images, a folder per class",
       .detail =
           "With as many folders as the weights have classes, those classes in the order of the folders' "
           "names; else a new classifier is learned."},
      choice_option("variant", "HOW", "center", "jo: how compactness is measured",
                    "center: the distance to the center (paper, Eq. 2). leave-one-out: the variance of the "
                    "logits, as the cited authors have it.",
                    {"center", "leave-one-out"}),
      real_option(
          "alpha", "A", "", "jo: the weight of compactness beside classification (default: 1)",
          "0.1 for --variant leave-one-out. Under the clip the larger gradient has the step: with 1 and "
          "--compactness mean classification's, with 10 compactness's.",
          0),
      {.name = "log",
       .kind = OptionKind::kFile,
       .value_name = "FILE",
       .default_value = "",
       .summary = "panda-*, jo: write the training's log as CSV",
       .detail = "A row per minibatch: losses, penalty, norm of the gradient; and from time to time the mean "
                 "squared distance to the center and the effective rank of the features of normal images. A "
                 "loss that rises under panda-ewc is no fault; an effective rank that falls to a few is."},
      file_option("curves", "panda-*, jo: draw the log's curves as an SVG file",
                  "Written at the end. panda eval --report shows the same with --training-log."),
      integer_option("log-every", "N", "",
                     "panda-*, jo: minibatches between those measures (default: an epoch)", "", 1),
      {.name = "log-auroc",
       .kind = OptionKind::kFlag,
       .value_name = "",
       .default_value = "",
       .summary = "panda-*, jo: also log the ROCAUC of the test split",
       .detail = "For studies: the labels go into the log alone, the fit does not look at them."},
      choice_option(
          "trunk-cache", "DTYPE", "f32", "panda-*, jo: how the frozen layers' output is kept",
          "f32 gives the same bits as none, which computes it again for each minibatch; f16 takes half "
          "the room.",
          {"none", "f32", "f16"}),
      {.name = "trunk-memory",
       .kind = OptionKind::kInteger,
       .value_name = "MIB",
       .default_value = "4096",
       .summary = "panda-*, jo: what does not fit goes to disk, beside MODEL",
       .detail = "",
       .minimum = 0,
       .maximum = 1 << 30},
      {.name = "checkpoint-every",
       .kind = OptionKind::kInteger,
       .value_name = "N",
       .default_value = "200",
       .summary = "panda-*, jo: minibatches between checkpoints",
       .detail = "Or five minutes, if that is sooner. MODEL.checkpoint holds the training's state until "
                 "MODEL is written; --resume goes on from it "
                 "to the same bytes.",
       .minimum = 1,
       .maximum = 1e9}};
}

bool adapts_network(const std::string& method) {
  return anomaly::is_adapted_method(method);
}

void check_panda_flags(const ParsedOptions& options) {
  const std::string& method = options.positionals()[0];
  const auto needs = [&](const char* flag, const char* of, const char* what) {
    if (method == of && !options.has(flag)) throw UsageError(text("fit ", of, " needs --", flag, ": ", what));
    if (method != of && options.has(flag))
      throw UsageError(text("--", flag, " is for ", of, ", not for ", method));
  };
  needs("fisher", "panda-ewc", "a file that panda fisher wrote, or uniform");
  needs("outliers", "panda-oe", "a directory of images");
  needs("aux-data", "jo", "a directory with a folder of images per class");
  if (options.has("minibatches") && options.has("epochs"))
    throw UsageError("--minibatches and --epochs exclude each other");
  if (!adapts_network(method)) {
    for (const char* file : {"log", "curves"}) {
      if (options.has(file)) throw UsageError(text("--", file, ": ", method, " trains nothing"));
    }
    return;
  }
  const std::string checkpoint = anomaly::checkpoint_path(options.text("out"));
  if (path_exists(checkpoint) && !options.flag("resume") && !options.flag("force")) {
    throw InvalidArgument(text(checkpoint,
                               ": is there from an interrupted fit (--resume goes on from it, --force "
                               "begins again)"));
  }
  for (const char* file : {"log", "curves"}) {  // refused before the work
    if (options.has(file)) static_cast<void>(AtomicFile(options.text(file)));
  }
}

int run_fit_panda(const ParsedOptions& options, Context& context, const FitInput& input, StageTimes& times) {
  const std::string& path = options.text("out");
  const anomaly::AdaptedFitOptions fit_with = fit_options(options, input.training.size());
  const Auxiliary auxiliary = open_auxiliary(options);
  data::Dataset tested;
  anomaly::AdaptedFitRuntime runtime;
  runtime.checkpoint = anomaly::checkpoint_path(path);
  runtime.resume = options.flag("resume");
  if (runtime.resume) anomaly::remove_abandoned_files(path);
  runtime.checkpoint_every = options.integer("checkpoint-every");
  if (options.has("log")) runtime.log = options.text("log");
  if (options.has("log-every")) runtime.log_every = options.integer("log-every");
  if (options.flag("log-auroc")) {
    tested = open_dataset(options, false, true);
    runtime.log_test = tested.test.get();
  }
  AdaptedFit fit(input.device, input.training, method_of(options, input, auxiliary), fit_with, input.manifest,
                 extract_options(options, input.device), runtime, &times);
  fit.run();
  fit.save(path);
  if (options.has("curves"))
    write_training_curves(options.text("curves"), "Training of " + path, fit.log().csv());
  std::remove(runtime.checkpoint.c_str());  // done with; there is none where nothing was trained
  times.add("writing");

  const anomaly::Adapted& model = fit.model();
  std::optional<ChosenThreshold> threshold;
  if (model.threshold()) {
    threshold = {model.threshold()->value, model.threshold()->false_alarm_rate,
                 model.threshold_text(*model.threshold())};
  } else {
    context.warn("no image was held out for a threshold: the model scores, but does not judge");
  }
  warn_of_collapse(context, spread_of(fit.log()));
  print_result(context, input, fit, result_json(options, fit, fit_with, threshold, times, input.device),
               threshold, times);
  return kExitDone;
}

}  // namespace panda::tools
