// Seeded parameters for a ResNet: He-normal filters under batch norms that do nothing yet.
//
// Each tensor's numbers depend on the seed and its own name alone: Random(seed, stream = FNV-1a-64 of the
// name), elements in row-major order. Order of loading, device and threads do not matter, and
// tests/golden/make_resnet_goldens.py makes the same numbers.
#pragma once

#include <map>
#include <string>

#include "kernels/tensor/random.h"
#include "nn/resnet_config.h"

namespace panda::nn {

enum class BatchNormInit : uint8_t {
  kIdentity,  ///< gamma 1, beta 0, mean 0, variance 1
  /// Every number drawn, so that a mistake in folding shows: gamma from [0.5, 1.5) ([0.1, 0.3) for the last
  /// of a block: the sum over many blocks then keeps its size), beta and mean normal with deviation 0.2,
  /// variance from [0.5, 1.5).
  kRandomized,
};

/// FNV-1a, 64 bits.
[[nodiscard]] uint64_t stream_of_name(const std::string& name);

/// Filters: normal with variance 2 / (K R S) (He et al., "Delving deep into rectifiers", ICCV 2015, fan-out
/// form, as torchvision). fc: uniform in +-1/sqrt(C). A tensor is made when it is loaded; none is kept.
class SeededResnetParameters final : public NamedTensors {
 public:
  explicit SeededResnetParameters(const ResnetConfig& config, uint64_t seed = 0,
                                  BatchNormInit batch_norm = BatchNormInit::kIdentity);

  [[nodiscard]] std::vector<TensorInfo> list() const override;
  [[nodiscard]] bool contains(const std::string& name) const override;
  [[nodiscard]] Tensor load(const std::string& name) const override;
  [[nodiscard]] std::string source() const override;

 private:
  ResnetConfig config_;
  uint64_t seed_;
  BatchNormInit batch_norm_;
  std::map<std::string, ParameterInfo> parameters_;
};

/// Each element drawn from [low, high), row-major. values: f32 on the host.
void fill_uniform(Random& random, double low, double high, const TensorView& values);
/// Each element normal with mean 0.
void fill_normal(Random& random, double deviation, const TensorView& values);
/// Uniform within +-gain sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, AISTATS 2010), fans of a filter
/// K,C,R,S or a weight K,C.
void fill_xavier_uniform(Random& random, double gain, const TensorView& values);

}  // namespace panda::nn
