#include "anomaly/ewc_importance.h"

#include "kernels/tensor/error.h"
#include "nn/parameters.h"
#include "nn/resnet_config.h"
#include "weights/manifest.h"
#include "weights/safetensors.h"
#include "weights/torchvision_names.h"
#include "weights/weights_file.h"

namespace panda::anomaly {

namespace {

constexpr const char* kFormat = "panda-fisher-diagonal";

/// What the metadata of our own files says about where they come from.
void check_origin(const weights::SafetensorsFile& file, const NamedTensors& weights,
                  const std::string& weights_sha256) {
  const weights::Metadata& metadata = file.metadata();
  const auto field = [&](const char* key) {
    const auto found = metadata.find(key);
    return found == metadata.end() ? std::string() : found->second;
  };
  if (!field("format").empty() && field("format") != kFormat) {
    throw FormatError(file.source(),
                      text("is a file of format ", printable(field("format")), ", expected ", kFormat));
  }
  const std::string arch = nn::detect_resnet(weights).arch;
  if (!field("arch").empty() && field("arch").compare(0, arch.size(), arch) != 0) {
    throw FormatError(file.source(), text("is the Fisher diagonal of a ", printable(field("arch")), ", but ",
                                          weights.source(), " holds a ", arch));
  }
  const std::string of = field("weights_sha256");
  if (of.empty() || of == weights_sha256 || of == weights::content_sha256(weights)) return;
  throw FormatError(file.source(),
                    text("is the Fisher diagonal of other weights: made of a file with SHA-256 ",
                         printable(of.substr(0, 12)), "..., but that of ", weights.source(), " is ",
                         weights_sha256.substr(0, 12), "..."));
}

}  // namespace

std::map<std::string, Tensor> read_ewc_importance(const std::string& path,
                                                  autograd::ParameterList& parameters,
                                                  const NamedTensors& weights,
                                                  const std::string& weights_sha256) {
  std::unique_ptr<NamedTensors> opened = weights::open_weights(path);
  if (const auto* file = dynamic_cast<const weights::SafetensorsFile*>(opened.get()))
    check_origin(*file, weights, weights_sha256);
  const std::vector<autograd::Parameter*> trained = parameters.trainable();
  PANDA_CHECK(!trained.empty(), path, ": nothing is trained that it could hold back");
  const std::unique_ptr<NamedTensors> tensors =
      weights::with_torchvision_names(std::move(opened), trained.front()->name);
  std::map<std::string, Tensor> importance;
  for (const autograd::Parameter* parameter : trained) {
    const std::string& name = parameter->name;
    if (!tensors->contains(name)) {
      throw FormatError(tensors->source(),
                        text("the Fisher diagonal has no ", name,
                             ", which is trained: it is of another network or of fewer layers"));
    }
    const Tensor value = nn::load_f32(*tensors, name, parameter->value.shape());
    for (int64_t i = 0; i < value.numel(); ++i) {
      if (value.data<float>()[i] < 0) {
        throw FormatError(tensors->source(),
                          text("the Fisher diagonal of ", name, " is ", value.data<float>()[i],
                               " at element ", i, ", expected at least 0"));
      }
    }
    importance.emplace(name, clone_to(value, parameters.device(), "importance"));
  }
  return importance;
}

}  // namespace panda::anomaly
