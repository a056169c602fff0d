#include "anomaly/network_head.h"

#include <cmath>

#include "anomaly/fitted_model.h"
#include "nn/init.h"

namespace panda::anomaly {

std::shared_ptr<const NamedTensors> with_head(const NamedTensors& weights, int64_t class_count, uint64_t seed,
                                              bool keep) {
  nn::ResnetConfig config = nn::detect_resnet(weights);
  if (keep && config.class_count == class_count) return {std::shared_ptr<void>(), &weights};  // not owned
  config.class_count = 0;
  std::vector<std::string> names;
  for (const nn::ParameterInfo& info : nn::resnet_parameters(config)) names.push_back(info.name);
  auto bundle = std::make_shared<TensorBundle>(weights.source());
  bundle->add_from("", weights, names);
  const int64_t d = config.feature_channels();
  const double bound = 1 / std::sqrt(static_cast<double>(d));
  const auto add = [&](const std::string& name, const Shape& shape) {
    Tensor values(host(), DType::kF32, shape, "head");
    Random random(seed, nn::stream_of_name(name));
    nn::fill_uniform(random, -bound, bound, values);
    bundle->add(name, std::move(values));
  };
  add("fc.weight", {class_count, d});
  add("fc.bias", {class_count});
  return bundle;
}

}  // namespace panda::anomaly
