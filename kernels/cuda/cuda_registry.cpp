#include "kernels/cuda/cuda_registry.h"

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/cuda_probe.h"
#include "kernels/cuda/vendor/vendor_libraries.h"
#include "kernels/tensor/error.h"

namespace panda::kernels::cuda {

std::vector<DeviceFacts> list_cuda_devices() {
  const CudaProbe found = probe(runtime_api());
  if (found.gpus == 0) return {{"cuda", "NVIDIA GPU", false, found.problem.reason}};
  std::vector<DeviceFacts> facts;
  for (int index = 0; index < found.gpus; ++index) {
    const std::string name = index == 0 ? "cuda" : text("cuda:", index);
    try {
      const CudaDevice device(index, Precision::kF32, 1, false);
      facts.push_back({name, device.description(), true, ""});
    } catch (const Error& error) {
      facts.push_back({name, "NVIDIA GPU", false, error.what()});
    }
  }
  return facts;
}

CudaProblem find_cuda_problem() {
  return probe(runtime_api()).problem;
}

std::unique_ptr<Device> make_cuda_device(const DeviceOptions& options, int threads, bool synchronous) {
  const int index = require_gpu(runtime_api(), options.name);
  auto device = std::make_unique<CudaDevice>(index, options.precision, threads, synchronous);
  vendor::use_engine(*device, options);
  return device;
}

}  // namespace panda::kernels::cuda
