#include "kernels/cuda/runtime_api.h"

#include "kernels/tensor/text.h"

namespace panda::kernels::cuda {

const RuntimeApi& runtime_api() {
  static const RuntimeApi api = {
#define PANDA_CALL(name) .name = &::cuda##name,
      PANDA_CUDA_RUNTIME_CALLS(PANDA_CALL)
#undef PANDA_CALL
  };
  return api;
}

std::string describe(const RuntimeApi& api, cudaError_t error) {
  return text(api.GetErrorString(error), " (", api.GetErrorName(error), ")");
}

std::string cuda_version_name(int version) {
  return text(version / 1000, ".", version % 1000 / 10);
}

}  // namespace panda::kernels::cuda
