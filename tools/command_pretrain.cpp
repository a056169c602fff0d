// panda pretrain: trains a classifier from a labelled folder, whose features DN2 and PANDA then take.

#include <cmath>
#include <filesystem>

#include "anomaly/classifier_training.h"
#include "kernels/tensor/file.h"
#include "nn/init.h"
#include "tools/commands.h"
#include "tools/dataset_options.h"
#include "tools/detector.h"
#include "tools/exit_code.h"
#include "tools/resumable_output.h"
#include "tools/stage_times.h"
#include "tools/training_curves.h"
#include "tools/version.h"
#include "weights/manifest.h"

namespace panda::tools {

namespace {

std::vector<OptionSpec> network_options() {
  return {{.name = "data",
           .kind = OptionKind::kDirectory,
           .value_name = "DIR",
           .default_value = "",
           .summary = "the labelled images: DIR/CLASS/*, or DIR/train/CLASS/* and DIR/val/CLASS/*",
           .detail = "With a folder val, each epoch ends with the share of its images classified right.",
           .required = true},
          required(file_option(
              "out", "the weights to write; the name ends in .safetensors",
              "torchvision's names. While training, FILE.checkpoint holds the last whole epoch.")),
          choice_option("arch", "ARCH", "resnet18", "the network", "", nn::resnet_architectures()),
          real_option("width", "X", "1", "factor of every channel count", "", 0.01, 16),
          choice_option("dtype", "TYPE", "f32", "type of the numbers in FILE",
                        "Training is in f32; each number is rounded once.", {"f32", "f16"}),
          {.name = "force",
           .kind = OptionKind::kFlag,
           .value_name = "",
           .default_value = "",
           .summary = "replace FILE if it exists",
           .detail = ""},
          {.name = "resume",
           .kind = OptionKind::kFlag,
           .value_name = "",
           .default_value = "",
           .summary = "go on from FILE.checkpoint, if there is one",
           .detail = "The same data and options are expected; the result has the same bits."},
          file_option("log", "a table of the epochs to write as CSV: rate, loss, gradient norm, top-1",
                      "Replaced after each epoch."),
          file_option("curves", "the curves of that table as an SVG file", "Replaced after each epoch.")};
}

std::vector<OptionSpec> pretrain_options() {
  std::vector<OptionSpec> options = network_options();
  const std::vector<OptionSpec> schedule = {
      integer_option("epochs", "N", "30", "times that each image is seen", "", 1, 100000),
      integer_option("image-size", "PX", "64", "height and width that the network sees", "", 8, 4096),
      integer_option("batch-size", "N", "128", "images per step", "", 2, 65536),
      real_option("lr", "RATE", "0.1", "largest learning rate; it ends at 0 along half a cosine", "", 1e-12,
                  1e3),
      real_option("warm-up", "X", "1", "epochs in which the rate rises", "", 0, 1e5),
      real_option("momentum", "M", "0.9", "of gradient descent", "", 0, 0.9999),
      real_option("weight-decay", "D", "5e-4", "of gradient descent", "", 0, 1),
      real_option("label-smoothing", "X", "0.1", "share of a label spread over all classes", "", 0, 0.99),
      real_option("smallest-crop", "X", "0.25", "smallest share of an image that a random crop takes", "",
                  0.01, 1),
      {.name = "no-flip",
       .kind = OptionKind::kFlag,
       .value_name = "",
       .default_value = "",
       .summary = "mirror no image",
       .detail = ""}};
  options.insert(options.end(), schedule.begin(), schedule.end());
  return options;
}

anomaly::ClassifierOptions classifier_options(const ParsedOptions& options) {
  anomaly::ClassifierOptions result;
  result.epochs = options.integer("epochs");
  result.batch_size = options.integer("batch-size");
  result.augmentation.size = options.integer("image-size");
  result.augmentation.smallest_area = options.real("smallest-crop");
  result.augmentation.flip = !options.flag("no-flip");
  result.rate = options.real("lr");
  result.warm_up_epochs = options.real("warm-up");
  result.momentum = options.real("momentum");
  result.decay = options.real("weight-decay");
  result.smoothing = options.real("label-smoothing");
  result.seed = static_cast<uint64_t>(options.integer("seed"));
  return result;
}

void write_log(const ParsedOptions& options, const anomaly::ClassifierTraining& training) {
  const std::string csv = anomaly::epochs_csv(training.epochs());
  if (options.has("log")) {
    AtomicFile file(options.text("log"));
    file.write(csv);
    file.commit();
  }
  if (options.has("curves"))
    write_training_curves(options.text("curves"), "Training of " + options.text("out"), csv);
}

std::string top1_text(const std::optional<double>& top1) {
  return top1 ? fixed_number(100 * *top1, 2) + " %" : "not evaluated (no folder val)";
}

/// fit: what the training depends on.
weights::Metadata manifest_of(const anomaly::ClassifierTraining& training, const nn::ResnetConfig& config,
                              const anomaly::LabelledData& data, const weights::Metadata& fit) {
  const anomaly::EpochReport& last = training.epochs().back();
  weights::Metadata metadata = {{"format", "pt"},
                                {"arch", config.arch},
                                {"width", text(config.width_factor())},
                                {"n_classes", text(config.class_count)},
                                {"n_train", text(data.train->size())},
                                {"version", version()}};
  for (const auto& [key, value] : fit) metadata["training." + key] = value;
  if (last.top1) metadata["top1"] = text(*last.top1);
  return metadata;
}

}  // namespace

CommandSpec pretrain_spec() {
  return {.name = "pretrain",
          .summary = "train a network from labelled images, for use as --weights",
          .description =
              "Trains a ResNet from scratch to tell the classes of a labelled folder apart: stochastic "
              "gradient descent, random crops and flips, smoothed labels, a cosine schedule. For sites that "
              "cannot bring pretrained weights in.\n\n"
              "The same data, options and seed give the same bits for any number of threads. An "
              "interruption (Ctrl-C) leaves FILE.checkpoint, from which --resume goes on.",
          .positionals = {},
          .options = pretrain_options(),
          .examples = {"panda pretrain --data photos --out backbone.safetensors --width 0.5 --epochs 60",
                       "panda pretrain --data photos --out backbone.safetensors --width 0.5 --epochs 60 "
                       "--resume"}};
}

int run_pretrain(const ParsedOptions& options, Context& context) {
  const std::string& out = options.text("out");
  const bool resume = resumes(options, "pretrain");
  const std::string checkpoint = anomaly::checkpoint_path(out);
  for (const char* file : {"log", "curves"}) {  // refused before the work
    if (options.has(file)) static_cast<void>(AtomicFile(options.text(file)));
  }
  const std::unique_ptr<Device> device = open_device(options, context);
  StageTimes times(&context.progress);
  const anomaly::LabelledData data = anomaly::open_labelled_data(options.text("data"));
  nn::ResnetConfig config = nn::resnet_config(options.text("arch"), options.real("width"));
  config.class_count = static_cast<int64_t>(data.class_names.size());
  const anomaly::ClassifierOptions training_options = classifier_options(options);
  anomaly::ClassifierTraining training(
      *device, config, nn::SeededResnetParameters(config, training_options.seed), data, training_options);
  weights::Metadata fit = training.fields();
  fit["images_sha256"] = file_list_sha256(*data.train, options.text("data"));
  if (options.flag("resume")) anomaly::remove_abandoned_files(out);
  if (resume) anomaly::read_checkpoint(checkpoint, fit, training);
  times.add("opening");
  while (!training.finished()) {
    const anomaly::EpochReport& report = training.run_epoch(&times);
    anomaly::write_checkpoint(checkpoint, fit, training);
    write_log(options, training);
    context.detail(text("epoch ", report.epoch, ": loss ", report.loss, ", top-1 ", top1_text(report.top1)));
  }
  anomaly::write_network(out, training.network(), dtype_from_name(options.text("dtype")),
                         manifest_of(training, config, data, fit));
  std::filesystem::remove(checkpoint);
  write_log(options, training);
  times.add("writing");

  const anomaly::EpochReport& last = training.epochs().back();
  const Json result = {{"weights", out},
                       {"sha256", weights::file_sha256(out)},
                       {"network", nn::describe(config)},
                       {"n_train", data.train->size()},
                       {"n_val", data.val == nullptr ? 0 : data.val->size()},
                       {"epochs", training.epochs().size()},
                       {"loss", last.loss},
                       {"top1", last.top1 ? Json(*last.top1) : Json(nullptr)},
                       {"seconds", times.json()},
                       {"device", device_label(*device)}};
  print_object(
      context.out, context.format, result,
      aligned_pairs({{"wrote", out},
                     {"network", nn::describe(config)},
                     {"data", text(data.train->size(), " images of ", config.class_count, " classes")},
                     {"loss", fixed_number(last.loss, 4)},
                     {"top-1", top1_text(last.top1)},
                     {"time", times.table_text()},
                     {"device", text(device->name(), ": ", device->description())}}));
  return kExitDone;
}

}  // namespace panda::tools
