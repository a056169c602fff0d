// Is there a GPU that this build can use? Asked through the table of runtime calls, so that tests can play
// every driver.
#pragma once

#include "kernels/cuda/cuda_registry.h"
#include "kernels/cuda/runtime_api.h"

namespace panda::kernels::cuda {

inline constexpr int kOldestComputeCapability = 75;

struct CudaProbe {
  int gpus = 0;
  CudaProblem problem;  ///< empty reason if gpus > 0
};
[[nodiscard]] CudaProbe probe(const RuntimeApi& api);

/// The index of "cuda" or "cuda:N". Throws as make_cuda_device does.
[[nodiscard]] int require_gpu(const RuntimeApi& api, const std::string& name);

}  // namespace panda::kernels::cuda
