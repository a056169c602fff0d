#include "nn/init.h"

#include <cmath>

#include "kernels/tensor/random.h"

namespace panda::nn {

namespace {

/// The last batch norm before a block's addition: bn2 of a basic block, bn3 of a bottleneck.
bool closes_block(const std::string& name, ResnetBlock block) {
  const char* tail = block == ResnetBlock::kBasic ? ".bn2.weight" : ".bn3.weight";
  const std::string ending = tail;
  return name.size() > ending.size() && name.compare(name.size() - ending.size(), ending.size(), ending) == 0;
}

void fill_constant(float value, const TensorView& out) {
  auto* values = out.data<float>();
  for (int64_t i = 0; i < out.numel(); ++i) values[i] = value;
}

}  // namespace

void fill_uniform(Random& random, double low, double high, const TensorView& values) {
  auto* out = values.data<float>();
  for (int64_t i = 0; i < values.numel(); ++i) out[i] = static_cast<float>(random.next_uniform(low, high));
}

void fill_normal(Random& random, double deviation, const TensorView& values) {
  auto* out = values.data<float>();
  for (int64_t i = 0; i < values.numel(); ++i) out[i] = static_cast<float>(deviation * random.next_normal());
}

void fill_xavier_uniform(Random& random, double gain, const TensorView& values) {
  const Shape& shape = values.shape();
  PANDA_CHECK(shape.rank() >= 2 && !shape.empty(), "fill_xavier_uniform: ", shape,
              ", expected K,C or K,C,R,S");
  const int64_t taps = shape.numel() / (shape[0] * shape[1]);
  const double bound = gain * std::sqrt(6.0 / static_cast<double>((shape[0] + shape[1]) * taps));
  fill_uniform(random, -bound, bound, values);
}

uint64_t stream_of_name(const std::string& name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return hash;
}

SeededResnetParameters::SeededResnetParameters(const ResnetConfig& config, uint64_t seed,
                                               BatchNormInit batch_norm)
    : config_(config), seed_(seed), batch_norm_(batch_norm) {
  for (ParameterInfo& parameter : resnet_parameters(config)) {
    const std::string name = parameter.name;
    parameters_.emplace(name, std::move(parameter));
  }
}

std::vector<TensorInfo> SeededResnetParameters::list() const {
  std::vector<TensorInfo> infos;
  for (const auto& [name, parameter] : parameters_) infos.push_back({name, DType::kF32, parameter.shape});
  return infos;
}

bool SeededResnetParameters::contains(const std::string& name) const {
  return parameters_.count(name) != 0;
}

Tensor SeededResnetParameters::load(const std::string& name) const {
  const auto found = parameters_.find(name);
  PANDA_CHECK(found != parameters_.end(), source(), ": no tensor ", printable(name));
  const Shape& shape = found->second.shape;
  Tensor tensor(host(), DType::kF32, shape, "parameter");
  Random random(seed_, stream_of_name(name));
  const bool randomized = batch_norm_ == BatchNormInit::kRandomized;
  switch (found->second.kind) {
    case ParameterKind::kFilter:
      fill_normal(random, std::sqrt(2.0 / static_cast<double>(shape[0] * shape[2] * shape[3])), tensor);
      break;
    case ParameterKind::kGamma:
      if (!randomized) {
        fill_constant(1, tensor);
      } else if (closes_block(name, config_.block)) {
        fill_uniform(random, 0.1, 0.3, tensor);
      } else {
        fill_uniform(random, 0.5, 1.5, tensor);
      }
      break;
    case ParameterKind::kBeta:
    case ParameterKind::kMean:
      randomized ? fill_normal(random, 0.2, tensor) : fill_constant(0, tensor);
      break;
    case ParameterKind::kVariance:
      randomized ? fill_uniform(random, 0.5, 1.5, tensor) : fill_constant(1, tensor);
      break;
    case ParameterKind::kLinearWeight:
    case ParameterKind::kLinearBias: {
      const double bound = 1 / std::sqrt(static_cast<double>(config_.feature_channels()));
      fill_uniform(random, -bound, bound, tensor);
      break;
    }
  }
  return tensor;
}

std::string SeededResnetParameters::source() const {
  return text("seeded ", config_.arch, " (seed ", seed_, ")");
}

}  // namespace panda::nn
