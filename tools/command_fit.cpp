// panda fit: learns what is normal, and writes a model that scores.

#include <filesystem>

#include "anomaly/dn2.h"
#include "kernels/tensor/file.h"
#include "tools/commands.h"
#include "tools/dataset_options.h"
#include "tools/detector.h"
#include "tools/exit_code.h"
#include "tools/fit_dn2.h"
#include "tools/fit_panda.h"
#include "tools/fit_spade.h"
#include "tools/score_options.h"
#include "tools/stage_times.h"
#include "tools/version.h"
#include "weights/embedded.h"
#include "weights/manifest.h"
#include "weights/torchvision_names.h"
#include "weights/weights_file.h"

namespace panda::tools {

namespace {

OptionSpec fit_batch_size_option() {
  OptionSpec option = batch_size_option();
  option.detail =
      "panda-* and jo train on minibatches of it, and their results depend on it. Those of dn2 and "
      "spade do not; memory does.";
  return option;
}

std::vector<OptionSpec> fit_options() {
  std::vector<OptionSpec> options = dataset_options();
  const std::vector<OptionSpec> own = {
      {.name = "weights",
       .kind = OptionKind::kFile,
       .value_name = "FILE",
       .default_value = "",
       .summary = "the pretrained network",
       .detail =
           "Its architecture is read from it. The word embedded stands for the small network inside this "
           "program.",
       .required = true},
      {.name = "out",
       .kind = OptionKind::kFile,
       .value_name = "MODEL",
       .default_value = "",
       .summary = "the model to write",
       .detail = "It appears whole or not at all, and holds all that scoring needs.",
       .required = true},
      {.name = "force",
       .kind = OptionKind::kFlag,
       .value_name = "",
       .default_value = "",
       .summary = "replace MODEL if it exists",
       .detail = ""},
      {.name = "resume",
       .kind = OptionKind::kFlag,
       .value_name = "",
       .default_value = "",
       .summary = "go on after an interruption",
       .detail =
           "panda-* and jo go on from MODEL.checkpoint, if it is there, to the same bytes. dn2 and spade "
           "train nothing, so there is nothing to resume: they begin again."},
      {.name = "arch",
       .kind = OptionKind::kChoice,
       .value_name = "ARCH",
       .default_value = "",
       .summary = "refuse weights of another architecture",
       .detail = "",
       .choices = nn::resnet_architectures()},
      {.name = "preset",
       .kind = OptionKind::kChoice,
       .value_name = "PRESET",
       .default_value = "official",
       .summary = "where the paper and its code disagree, which to follow",
       .detail = "It sets the default of --score: official knn-sum-sq, paper knn-mean; and those of "
                 "--minibatches, --compactness and --train-blocks.",
       .choices = {"paper", "official"}},
      {.name = "false-alarm-rate",
       .kind = OptionKind::kReal,
       .value_name = "RATE",
       .default_value = "",
       .summary = "the share of normal images that may be flagged (default: 0.05)",
       .detail =
           "n training images can promise no less than 1 / (n + 1). Another rate can be chosen when scoring.",
       .minimum = 0,
       .maximum = 1},
      {.name = "resize",
       .kind = OptionKind::kInteger,
       .value_name = "PX",
       .default_value = "256",
       .summary = "the short side of an image becomes this long",
       .detail = "0 keeps each image's own size; that is for --no-crop and --tile, and --tile's default.",
       .minimum = 0,
       .maximum = 4096},
      {.name = "crop",
       .kind = OptionKind::kInteger,
       .value_name = "PX",
       .default_value = "224",
       .summary = "the square that is then taken from the middle",
       .detail = "",
       .minimum = 1,
       .maximum = 4096},
      skip_bad_option(),
      fit_batch_size_option()};
  options.insert(options.end(), own.begin(), own.end());
  const std::vector<OptionSpec> score = score_option_specs();
  options.insert(options.end(), score.begin(), score.end());
  const std::vector<OptionSpec> svm = svm_options();
  options.insert(options.end(), svm.begin(), svm.end());
  const std::vector<OptionSpec> spade = spade_options();
  options.insert(options.end(), spade.begin(), spade.end());
  const std::vector<OptionSpec> panda = panda_options();
  options.insert(options.end(), panda.begin(), panda.end());
  return options;
}

// What the command line alone shows to be wrong.
void check_flags(const ParsedOptions& options) {
  check_spade_flags(options);
  if (!takes_whole_pictures(options) && options.integer("crop") > options.integer("resize")) {
    throw UsageError(
        text("--crop ", options.integer("crop"), " is larger than --resize ", options.integer("resize")));
  }
  check_score_flags(options);
  check_svm_flags(options);
}

// Everything about the output that can be refused before the work.
void check_output(const std::string& path, const std::string& weights_path, bool force) {
  if (is_directory(path))
    throw InvalidArgument(text(path, ": is a directory, expected the name of a file to write"));
  std::error_code ignored;
  if (path_exists(path)) {
    if (std::filesystem::equivalent(path, weights_path, ignored))
      throw InvalidArgument(text(path, ": is the weights file"));
    if (!force) throw InvalidArgument(text(path, ": exists, expected a new file (--force replaces it)"));
  }
  const AtomicFile probe(path);  // throws where it cannot be written; leaves nothing
}

void check_architecture(const ParsedOptions& options, const NamedTensors& weights) {
  if (!options.has("arch")) return;
  const std::string& found = nn::detect_resnet(weights).arch;
  if (found != options.text("arch")) {
    throw InvalidArgument(
        text(weights.source(), ": holds a ", found, ", but --arch asks for a ", options.text("arch")));
  }
}

}  // namespace

CommandSpec fit_spec() {
  return {
      .name = "fit",
      .summary = "learn what is normal from normal images",
      .description =
          "Reads the normal images of a training split, and writes a model that scores images by how far "
          "they are from normal. No "
          "anomalies are needed. dn2: the distance of pretrained features to those of the nearest "
          "training images. spade: the same for each pixel, which shows where an anomaly is. panda-early, "
          "panda-ewc, panda-ses: the network's last layers are first trained to bring normal images "
          "together, "
          "and kept from forgetting the rest by stopping early, by a penalty on weights that matter "
          "(--fisher), or by scoring with copies along the way. panda-oe: they learn to tell normal images "
          "from --outliers. jo: as panda-early, while classifying --aux-data. oc-svm: a one-class support "
          "vector "
          "machine on pretrained features (a baseline of the paper).\n\n"
          "The model also holds a threshold with a meaning: the share of further normal images that is "
          "expected above it at "
          "most, promised from the training images alone.\n\n"
          "An interruption (Ctrl-C) leaves nothing behind but, of methods that train, MODEL.checkpoint: "
          "--resume goes on from it.",
      .positionals =
          {{.name = "METHOD",
            .summary =
                "how to detect (this build: dn2, spade, panda-early, panda-ses, panda-ewc, panda-oe, jo, "
                "oc-svm)",
            .kind = OptionKind::kChoice,
            .choices = {"dn2", "spade", "panda-early", "panda-ses", "panda-ewc", "panda-oe", "jo",
                        "deep-svdd", "oc-svm", "mhrot"}}},
      .options = fit_options(),
      .examples = {
          "panda fit dn2 --data fabric --weights resnet18.safetensors --out fabric.panda",
          "panda fit spade --data toothbrush --weights resnet50.safetensors --out toothbrush.panda",
          "panda fit spade --clusters 50 --data toothbrush --weights resnet18.safetensors --out "
          "fast.panda",
          "panda fit spade --tile 512 --data boards --weights resnet18.safetensors --out boards.panda",
          "panda fit panda-early --data fabric --weights resnet18.safetensors --out fabric.panda",
          "panda fit dn2 --dataset cifar10 --data cifar --class cat --weights "
          "r18.safetensors --out cat.panda"}};
}

int run_fit(const ParsedOptions& options, Context& context) {
  const std::string& method = options.positionals()[0];
  if (!anomaly::is_dn2_method(method) && method != "spade" && !adapts_network(method)) {
    throw Unsupported(
        text("fit ", method,
             ": this method is not in this build, which has: dn2, spade, panda-early, panda-ses, "
             "panda-ewc, panda-oe, jo, oc-svm"));
  }
  const std::string& weights_path = options.text("weights");
  check_flags(options);
  check_panda_flags(options);
  check_output(options.text("out"), weights_path, options.flag("force"));
  const std::unique_ptr<Device> device = open_device(options, context);
  StageTimes times(&context.progress);
  const weights::ByteSourcePtr source = weights::weights_source(weights_path);
  const std::unique_ptr<NamedTensors> weights =
      weights::with_torchvision_names(weights::open_weights(source));
  check_architecture(options, *weights);
  const data::Dataset dataset = open_dataset(options, true, false);
  context.detail(dataset.description);
  const data::ImageSet* training = dataset.train.get();
  std::unique_ptr<data::ImageSet> readable;
  if (options.flag("skip-bad")) {
    std::vector<std::string> failures;
    readable = data::readable_images(*dataset.train, failures);
    warn_skipped(context, dataset.train->size(), failures);
    training = readable.get();
    times.add("checking images");
  }
  const FitInput input{*device,
                       *weights,
                       *training,
                       dataset.description,
                       {weights::source_sha256(*source), file_list_sha256(*training, options.text("data")),
                        version(), device_label(*device), options.integer("seed")}};
  times.add("opening");
  if (anomaly::is_dn2_method(method)) return run_fit_dn2(options, context, input, times);
  if (method == "spade") return run_fit_spade(options, context, input, times);
  return run_fit_panda(options, context, input, times);
}

}  // namespace panda::tools
