// The registry's questions in a build without CUDA.
#include "kernels/cuda/cuda_registry.h"
#include "kernels/tensor/error.h"

namespace panda::kernels::cuda {

namespace {
constexpr const char* kReason = "this build has no CUDA device";
}  // namespace

std::vector<DeviceFacts> list_cuda_devices() {
  return {{"cuda", "NVIDIA GPU", false, kReason}};
}

CudaProblem find_cuda_problem() {
  return {kReason, false, false};
}

std::unique_ptr<Device> make_cuda_device(const DeviceOptions& options, int, bool) {
  throw Unsupported(text(options.name, ": ", kReason));
}

}  // namespace panda::kernels::cuda
