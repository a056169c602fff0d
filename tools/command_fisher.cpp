// panda fisher: the Fisher diagonal of a classifier, for panda-ewc.

#include <filesystem>

#include "anomaly/fisher_diagonal.h"
#include "kernels/tensor/file.h"
#include "tools/commands.h"
#include "tools/dataset_options.h"
#include "tools/detector.h"
#include "tools/exit_code.h"
#include "tools/resumable_output.h"
#include "tools/stage_times.h"
#include "tools/version.h"
#include "weights/embedded.h"
#include "weights/manifest.h"
#include "weights/torchvision_names.h"
#include "weights/weights_file.h"

namespace panda::tools {

namespace {

std::vector<OptionSpec> fisher_options() {
  return {required(file_option("weights", "the classifier, with its last layer")),
          {.name = "data",
           .kind = OptionKind::kDirectory,
           .value_name = "DIR",
           .default_value = "",
           .summary = "the images it was trained on: DIR/CLASS/*, or DIR/train/CLASS/*",
           .detail = "Class folders in the order of their names are the classes 0, 1, ... of the network.",
           .required = true},
          required(file_option(
              "out", "the diagonal to write; the name ends in .safetensors",
              "f32 tensors of the parameters' names and shapes. FILE.checkpoint holds what --resume "
              "needs.")),
          choice_option("definition", "NAME", "per-sample",
                        "what is squared: each image's gradient, each batch's, or nothing (all ones)",
                        "per-sample is the paper's Eq. 3; values are means over images (or batches).",
                        {"per-sample", "per-batch", "uniform"}),
          choice_option("labels", "NAME", "true",
                        "the images' classes, or classes drawn from the network's own prediction", "",
                        {"true", "sampled"}),
          integer_option("batches", "N", "100", "how many batches", "", 1),
          integer_option("batch-size", "N", "32", "images per batch", "", 1, 65536),
          {.name = "train-blocks",
           .kind = OptionKind::kIntegerList,
           .value_name = "LIST",
           .default_value = "1,2,3,4",
           .summary = "of which stages: 1 to 4 for layer1 to layer4, 0 for the stem, 5 for the last layer",
           .detail = "",
           .minimum = 0,
           .maximum = 5},
          integer_option("resize", "PX", "256", "the short side of an image becomes this", "", 1, 16384),
          integer_option("crop", "PX", "224", "central square that the network sees", "", 1, 16384),
          {.name = "resume",
           .kind = OptionKind::kFlag,
           .value_name = "",
           .default_value = "",
           .summary = "go on from FILE.checkpoint, if there is one",
           .detail = "The result has the same bits."},
          {.name = "force",
           .kind = OptionKind::kFlag,
           .value_name = "",
           .default_value = "",
           .summary = "replace FILE if it exists",
           .detail = ""}};
}

anomaly::FisherOptions parsed_options(const ParsedOptions& options) {
  anomaly::FisherOptions result;
  const std::string& definition = options.text("definition");
  result.definition = definition == "per-sample"  ? anomaly::FisherDefinition::kPerSample
                      : definition == "per-batch" ? anomaly::FisherDefinition::kPerBatch
                                                  : anomaly::FisherDefinition::kUniform;
  result.labels =
      options.text("labels") == "true" ? anomaly::FisherLabels::kTrue : anomaly::FisherLabels::kSampled;
  result.batches = options.integer("batches");
  result.batch_size = options.integer("batch-size");
  result.stages.clear();
  for (const int64_t stage : options.integers("train-blocks")) {
    if (stage == nn::kResnetStages + 1) {
      result.head = true;
    } else {
      result.stages.push_back(static_cast<int>(stage));
    }
  }
  result.transform.resize = options.integer("resize");
  result.transform.crop = options.integer("crop");
  if (result.transform.crop > result.transform.resize)
    throw UsageError(
        text("--crop ", result.transform.crop, " is larger than --resize ", result.transform.resize));
  result.seed = static_cast<uint64_t>(options.integer("seed"));
  return result;
}

constexpr int64_t kBatchesPerCheckpoint = 10;

}  // namespace

CommandSpec fisher_spec() {
  return {.name = "fisher",
          .summary = "how much each parameter of a classifier matters (for panda-ewc)",
          .description =
              "Writes the diagonal of the Fisher information of a pretrained classifier: the mean square of "
              "the gradient of its loss, by parameter (paper Eq. 3). The squares of single images are formed "
              "inside the backward pass, so batches cost about what they cost anyway.\n\n"
              "An interruption (Ctrl-C) leaves FILE.checkpoint, from which --resume goes on.",
          .positionals = {},
          .options = fisher_options(),
          .examples = {
              "panda fisher --weights resnet18.safetensors --data imagenet --out fisher.safetensors",
              "panda fisher --weights w.safetensors --data imagenet --out f.safetensors --labels sampled"}};
}

int run_fisher(const ParsedOptions& options, Context& context) {
  const std::string& out = options.text("out");
  const bool resume = resumes(options, "fisher");
  const std::string checkpoint = anomaly::checkpoint_path(out);
  const anomaly::FisherOptions fisher_options = parsed_options(options);
  const std::unique_ptr<Device> device = open_device(options, context);
  StageTimes times(&context.progress);
  const weights::ByteSourcePtr source = weights::weights_source(options.text("weights"));
  const std::unique_ptr<NamedTensors> weights =
      weights::with_torchvision_names(weights::open_weights(source));
  const std::string sha256 = weights::source_sha256(*source);
  const anomaly::LabelledData data = anomaly::open_labelled_data(options.text("data"));
  nn::TrainableResnet network(*device, nn::detect_resnet(*weights), *weights, nn::BatchNormMode::kEvaluation);
  anomaly::FisherDiagonal fisher(network, data, fisher_options);
  weights::Metadata fit = fisher.fields();
  fit["weights_sha256"] = sha256;
  fit["images_sha256"] = file_list_sha256(*data.train, options.text("data"));
  if (options.flag("resume")) anomaly::remove_abandoned_files(out);
  if (resume) anomaly::read_checkpoint(checkpoint, fit, fisher);
  times.add("opening");
  try {
    while (!fisher.finished()) {
      fisher.run_batch();
      if (fisher.steps() % kBatchesPerCheckpoint == 0) anomaly::write_checkpoint(checkpoint, fit, fisher);
      report_progress(&times, "squaring gradients", fisher.steps(), fisher.wanted());
    }
  } catch (const Interrupted&) {
    anomaly::write_checkpoint(checkpoint, fit, fisher);
    throw;
  }
  fisher.write(out, {{"weights_sha256", sha256}, {"version", version()}});
  std::filesystem::remove(checkpoint);
  times.add("writing");
  const int64_t samples = fisher.steps() * fisher_options.batch_size;
  const Json result = {{"fisher", out},
                       {"arch", network.config().arch},
                       {"definition", options.text("definition")},
                       {"labels", options.text("labels")},
                       {"batches", fisher.steps()},
                       {"samples", samples},
                       {"n_values", network.parameters().trainable_numel()},
                       {"seconds", times.json()},
                       {"device", device_label(*device)}};
  print_object(context.out, context.format, result,
               aligned_pairs({{"wrote", out},
                              {"network", nn::describe(network.config())},
                              {"definition", text(options.text("definition"), ", ", options.text("labels"),
                                                  " labels, ", samples, " images")},
                              {"values", text(network.parameters().trainable_numel())},
                              {"time", times.table_text()},
                              {"device", text(device->name(), ": ", device->description())}}));
  return kExitDone;
}

}  // namespace panda::tools
