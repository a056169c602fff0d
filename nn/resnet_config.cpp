#include "nn/resnet_config.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "kernels/tensor/checked_math.h"

namespace panda::nn {

namespace {

struct Architecture {
  const char* name;
  ResnetBlock block;
  std::array<int64_t, kResnetStages> depths;
  int64_t base_width;
};

constexpr Architecture kArchitectures[] = {
    {"resnet18", ResnetBlock::kBasic, {2, 2, 2, 2}, 64},
    {"resnet34", ResnetBlock::kBasic, {3, 4, 6, 3}, 64},
    {"resnet50", ResnetBlock::kBottleneck, {3, 4, 6, 3}, 64},
    {"resnet101", ResnetBlock::kBottleneck, {3, 4, 23, 3}, 64},
    {"resnet152", ResnetBlock::kBottleneck, {3, 8, 36, 3}, 64},
    {"wide_resnet50_2", ResnetBlock::kBottleneck, {3, 4, 6, 3}, 128},
    {"wide_resnet101_2", ResnetBlock::kBottleneck, {3, 4, 23, 3}, 128},
};

constexpr int64_t kBottleneckExpansion = 4;
/// Bounds on what a file may claim, far beyond any real network: channel counts stay in range of all later
/// arithmetic.
constexpr int64_t kMaxStemChannels = 4096;
constexpr int64_t kMaxBaseWidth = 4096;

void append_conv_bn(std::vector<ParameterInfo>& list, const std::string& conv, const std::string& bn,
                    int64_t k, int64_t c, int64_t extent) {
  list.push_back({conv + ".weight", {k, c, extent, extent}, ParameterKind::kFilter});
  list.push_back({bn + ".weight", {k}, ParameterKind::kGamma});
  list.push_back({bn + ".bias", {k}, ParameterKind::kBeta});
  list.push_back({bn + ".running_mean", {k}, ParameterKind::kMean});
  list.push_back({bn + ".running_var", {k}, ParameterKind::kVariance});
}

bool ends_with(const std::string& name, const std::string& tail) {
  return name.size() >= tail.size() && name.compare(name.size() - tail.size(), tail.size(), tail) == 0;
}

/// The tensors of a source, by name, with the errors that detection needs.
class Listing {
 public:
  explicit Listing(const NamedTensors& tensors) : source_(tensors.source()) {
    for (TensorInfo& info : tensors.list()) infos_.emplace(info.name, info);
  }

  [[nodiscard]] const std::map<std::string, TensorInfo>& all() const { return infos_; }
  [[nodiscard]] bool contains(const std::string& name) const { return infos_.count(name) != 0; }
  [[nodiscard]] const TensorInfo& find(const std::string& name, const std::string& network) const {
    const auto found = infos_.find(name);
    if (found == infos_.end()) fail(text("no tensor ", name, ", which ", network, " needs"));
    return found->second;
  }
  /// The tensor has this rank; its shape.
  [[nodiscard]] const Shape& shape_of(const std::string& name, int rank, const char* form) const {
    const TensorInfo& info = find(name, "a ResNet with torchvision's names");
    if (info.shape.rank() != rank || info.shape.empty()) fail(describe_tensor(info), ", expected ", form);
    return info.shape;
  }
  static std::string describe_tensor(const TensorInfo& info) {
    return text(printable(info.name), " is ", dtype_name(info.dtype), " ", info.shape);
  }
  template <typename... Values>
  [[noreturn]] void fail(const Values&... values) const {
    throw FormatError(source_, text(values...));
  }

 private:
  std::string source_;
  std::map<std::string, TensorInfo> infos_;
};

std::array<int64_t, kResnetStages> count_blocks(const Listing& listing) {
  std::array<int64_t, kResnetStages> depths{};
  for (int stage = 0; stage < kResnetStages; ++stage) {
    int64_t& depth = depths[static_cast<size_t>(stage)];
    while (listing.contains(text("layer", stage + 1, ".", depth, ".conv1.weight"))) ++depth;
    if (depth == 0)
      (void)listing.find(text("layer", stage + 1, ".0.conv1.weight"), "a ResNet with torchvision's names");
  }
  return depths;
}

std::string architecture_name(const ResnetConfig& config) {
  for (const Architecture& known : kArchitectures) {
    if (known.block == config.block && known.depths == config.depths &&
        known.base_width == config.bottleneck_base_width) {
      return known.name;
    }
  }
  return "resnet";
}

void check_tensors(const Listing& listing, const ResnetConfig& config) {
  const std::string network = describe(config);
  std::vector<std::string> known;
  for (const ParameterInfo& parameter : resnet_parameters(config)) {
    const TensorInfo& info = listing.find(parameter.name, network);
    if (!(info.shape == parameter.shape)) {
      listing.fail(Listing::describe_tensor(info), ", expected ", parameter.shape, " (", network, ")");
    }
    if (!dtype_is_float(info.dtype)) listing.fail(Listing::describe_tensor(info), ", expected floats");
    known.push_back(parameter.name);
  }
  std::sort(known.begin(), known.end());
  for (const auto& [name, info] : listing.all()) {
    if (std::binary_search(known.begin(), known.end(), name) || ends_with(name, ".num_batches_tracked"))
      continue;
    listing.fail(Listing::describe_tensor(info), ", but ", network, " has no such tensor");
  }
}

}  // namespace

int64_t ResnetConfig::inner_channels(int stage) const {
  if (block == ResnetBlock::kBasic) return planes(stage);
  return planes(stage) * bottleneck_base_width / 64;
}

int64_t ResnetConfig::stage_channels(int stage) const {
  return planes(stage) * (block == ResnetBlock::kBottleneck ? kBottleneckExpansion : 1);
}

bool ResnetConfig::has_downsample(int stage, int64_t index) const {
  return index == 0 && (stage > 0 || stage_channels(0) != stem_channels);
}

const std::vector<std::string>& resnet_architectures() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const Architecture& known : kArchitectures) list.emplace_back(known.name);
    return list;
  }();
  return names;
}

ResnetConfig resnet_config(const std::string& arch, double width_factor) {
  PANDA_CHECK(width_factor > 0 && width_factor <= 16, "width factor ", width_factor,
              ", expected more than 0, up to 16");
  std::string names;
  for (const Architecture& known : kArchitectures) {
    if (arch == known.name) {
      ResnetConfig config;
      config.arch = arch;
      config.block = known.block;
      config.depths = known.depths;
      config.bottleneck_base_width = known.base_width;
      config.stem_channels =
          8 * std::max(int64_t{1}, static_cast<int64_t>(std::floor(8 * width_factor + 0.5)));
      return config;
    }
    names += text(names.empty() ? "" : ", ", known.name);
  }
  throw InvalidArgument(text("architecture '", printable(arch), "', expected one of ", names));
}

std::vector<ParameterInfo> resnet_parameters(const ResnetConfig& config) {
  std::vector<ParameterInfo> list;
  append_conv_bn(list, "conv1", "bn1", config.stem_channels, config.input_channels, 7);
  int64_t channels = config.stem_channels;
  for (int stage = 0; stage < kResnetStages; ++stage) {
    const int64_t inner = config.inner_channels(stage);
    const int64_t out = config.stage_channels(stage);
    for (int64_t index = 0; index < config.depths[static_cast<size_t>(stage)]; ++index) {
      const std::string block = text("layer", stage + 1, ".", index, ".");
      if (config.block == ResnetBlock::kBasic) {
        append_conv_bn(list, block + "conv1", block + "bn1", inner, channels, 3);
        append_conv_bn(list, block + "conv2", block + "bn2", out, inner, 3);
      } else {
        append_conv_bn(list, block + "conv1", block + "bn1", inner, channels, 1);
        append_conv_bn(list, block + "conv2", block + "bn2", inner, inner, 3);
        append_conv_bn(list, block + "conv3", block + "bn3", out, inner, 1);
      }
      if (config.has_downsample(stage, index)) {
        append_conv_bn(list, block + "downsample.0", block + "downsample.1", out, channels, 1);
      }
      channels = out;
    }
  }
  if (config.class_count > 0) {
    list.push_back({"fc.weight", {config.class_count, channels}, ParameterKind::kLinearWeight});
    list.push_back({"fc.bias", {config.class_count}, ParameterKind::kLinearBias});
  }
  return list;
}

int resnet_stage_of(const std::string& parameter) {
  if (parameter.rfind("layer", 0) == 0) return parameter.at(5) - '0';
  return parameter.rfind("fc.", 0) == 0 ? kResnetStages + 1 : 0;
}

int64_t resnet_parameter_count(const ResnetConfig& config) {
  int64_t count = 0;
  for (const ParameterInfo& parameter : resnet_parameters(config)) {
    const bool statistic =
        parameter.kind == ParameterKind::kMean || parameter.kind == ParameterKind::kVariance;
    if (!statistic) count = checked_add(count, parameter.shape.numel());
  }
  return count;
}

ResnetConfig detect_resnet(const NamedTensors& tensors) {
  const Listing listing(tensors);
  ResnetConfig config;
  const Shape& stem = listing.shape_of("conv1.weight", 4, "K,C,7,7");
  config.stem_channels = stem[0];
  config.input_channels = stem[1];
  if (stem[0] > kMaxStemChannels)
    listing.fail("conv1.weight is ", stem, ", expected at most ", kMaxStemChannels, " channels");
  config.depths = count_blocks(listing);
  config.block = listing.contains("layer1.0.conv3.weight") ? ResnetBlock::kBottleneck : ResnetBlock::kBasic;
  if (config.block == ResnetBlock::kBottleneck) {
    // The inner width is stem x base / 64, so its ratio to the stem gives the base.
    const int64_t inner = listing.shape_of("layer1.0.conv1.weight", 4, "K,C,1,1")[0];
    config.bottleneck_base_width = inner <= kMaxBaseWidth * kMaxStemChannels ? inner * 64 / stem[0] : 0;
    const bool exact = config.bottleneck_base_width * stem[0] == inner * 64;
    if (!exact || config.bottleneck_base_width < 1 || config.bottleneck_base_width > kMaxBaseWidth) {
      listing.fail("layer1.0.conv1.weight gives ", inner, " channels beside ", stem[0],
                   " of conv1.weight, expected a multiple of 1/64 of them");
    }
  }
  const bool has_fc = listing.contains("fc.weight") || listing.contains("fc.bias");
  config.class_count = has_fc ? listing.shape_of("fc.weight", 2, "classes,features")[0] : 0;
  config.arch = architecture_name(config);
  check_tensors(listing, config);
  return config;
}

std::string describe(const ResnetConfig& config) {
  std::string line = config.arch;
  if (config.arch == "resnet") {
    line += config.block == ResnetBlock::kBasic ? " of basic blocks" : " of bottleneck blocks";
    for (int stage = 0; stage < kResnetStages; ++stage)
      line += text(stage == 0 ? " " : "-", config.depths[static_cast<size_t>(stage)]);
  }
  if (config.stem_channels != 64) line += text(", width ", config.width_factor());
  if (config.input_channels != 3)
    line +=
        text(", ", config.input_channels, config.input_channels == 1 ? " input channel" : " input channels");
  if (config.class_count == 0) line += ", no classes";
  if (config.class_count != 0 && config.class_count != 1000)
    line += text(", ", config.class_count, " classes");
  return line;
}

}  // namespace panda::nn
