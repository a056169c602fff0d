// panda synth: a small data set with defects and masks, made from the seed.

#include <chrono>
#include <map>

#include "data/synthetic.h"
#include "tools/commands.h"
#include "tools/exit_code.h"

namespace panda::tools {

CommandSpec synth_spec() {
  return {
      .name = "synth",
      .summary = "make a small data set with defects and exact masks",
      .description =
          "Draws pictures of one product and writes them as an MVTec-layout data set: train/good, test/good, "
          "test/KIND and "
          "ground_truth/KIND with a mask for each defective picture (255 where the defect changed it). The "
          "seed chooses the "
          "product: 0, 3, 6... a weave or a gasket; 1, 4, 7... brushed metal or a nut; 2, 5, 8... leather or "
          "a capsule. The "
          "same seed gives the same files.\n\n"
          "DIR appears whole or not at all. It must be new or empty; --force also replaces an earlier "
          "synthetic data set, and "
          "nothing else.",
      .positionals = {},
      .options = {{.name = "out",
                   .kind = OptionKind::kDirectory,
                   .value_name = "DIR",
                   .default_value = "",
                   .summary = "the directory to make",
                   .detail = "",
                   .required = true},
                  {.name = "kind",
                   .kind = OptionKind::kChoice,
                   .value_name = "KIND",
                   .default_value = "texture",
                   .summary = "what the pictures show",
                   .detail = "",
                   .choices = {"texture", "objects"}},
                  {.name = "count",
                   .kind = OptionKind::kInteger,
                   .value_name = "N",
                   .default_value = "60",
                   .summary = "pictures in all",
                   .detail = "60 % to train, 15 % good and 25 % defective to test.",
                   .minimum = data::kSmallestSyntheticCount,
                   .maximum = data::kLargestSyntheticCount},
                  {.name = "size",
                   .kind = OptionKind::kInteger,
                   .value_name = "PX",
                   .default_value = "256",
                   .summary = "height and width in pixels",
                   .detail = "",
                   .minimum = data::kSmallestSyntheticSize,
                   .maximum = data::kLargestSyntheticSize},
                  {.name = "force",
                   .kind = OptionKind::kFlag,
                   .value_name = "",
                   .default_value = "",
                   .summary = "replace an earlier synthetic data set",
                   .detail = ""}},
      .examples = {"panda synth --out fabric", "panda synth --out nuts --kind objects --seed 1 --count 200"}};
}

int run_synth(const ParsedOptions& options, Context& context) {
  data::SyntheticOptions synthetic;
  synthetic.kind =
      options.text("kind") == "objects" ? data::SyntheticKind::kObjects : data::SyntheticKind::kTexture;
  synthetic.count = options.integer("count");
  synthetic.size = options.integer("size");
  synthetic.seed = static_cast<uint64_t>(options.integer("seed"));
  kernels::DeviceOptions cpu = device_options(options);
  cpu.precision = Precision::kF32;
  cpu.name = "cpu";  // pictures are drawn on the host, whatever computes later
  const std::unique_ptr<Device> device = kernels::make_device(cpu);

  const auto start = std::chrono::steady_clock::now();
  data::write_synthetic(options.text("out"), synthetic, options.flag("force"), device->threads(),
                        &context.progress);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  int64_t train = 0;
  int64_t good = 0;
  std::map<std::string, int64_t> by_kind;
  for (const data::SyntheticItem& item : data::list_synthetic(synthetic)) {
    if (item.path.compare(0, 6, "train/") == 0) {
      ++train;
    } else if (item.mask_path.empty()) {
      ++good;
    } else {
      ++by_kind[item.defect_kind];
    }
  }
  Json result = {{"directory", options.text("out")},
                 {"design", data::synthetic_design(synthetic)},
                 {"size", synthetic.size},
                 {"seed", synthetic.seed},
                 {"n_train", train},
                 {"n_test_good", good},
                 {"n_defective", Json::object()},
                 {"seconds", seconds}};
  std::string defects;
  for (const auto& [kind, count] : by_kind) {
    result["n_defective"][kind] = count;
    defects += text(defects.empty() ? "" : ", ", count, " ", kind);
  }
  print_object(context.out, context.format, result,
               aligned_pairs({{"data set", options.text("out")},
                              {"shows", text(result["design"].get<std::string>(), ", ", synthetic.size, " x ",
                                             synthetic.size, " pixels, seed ", synthetic.seed)},
                              {"train", text(train, " good")},
                              {"test", text(good, " good, ", defects)},
                              {"time", duration_text(seconds)}}));
  return kExitDone;
}

}  // namespace panda::tools
