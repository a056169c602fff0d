// Features that a test draws.
#pragma once

#include <vector>

#include "kernels/tensor/random.h"
#include "kernels/tensor/tensor.h"

namespace panda::test {

/// Normal numbers of this spread, f32 n,d on the host.
inline Tensor random_features(uint64_t seed, int64_t n, int64_t d, double scale = 1) {
  Random random(seed);
  std::vector<float> values(static_cast<size_t>(n * d));
  for (float& value : values) value = static_cast<float>(scale * random.next_normal());
  return Tensor::from<float>({n, d}, values.data());
}

}  // namespace panda::test
