#include "kernels/cuda/cuda_probe.h"

#include <algorithm>

#include "kernels/tensor/error.h"

namespace panda::kernels::cuda {

namespace {

CudaProblem problem_of(const RuntimeApi& api, cudaError_t error) {
  int driver = 0;
  int runtime = 0;
  if (api.DriverGetVersion(&driver) != cudaSuccess) driver = 0;
  (void)api.RuntimeGetVersion(&runtime);
  if (error == cudaErrorInsufficientDriver && driver == 0) return {"no NVIDIA driver on this machine"};
  if (error == cudaErrorInsufficientDriver) {
    return {text("the NVIDIA driver is too old: it serves CUDA ", cuda_version_name(driver),
                 ", this build needs ", cuda_version_name(runtime))};
  }
  if (error == cudaErrorNoDevice) return {"no NVIDIA GPU on this machine"};
  return {text("the NVIDIA driver fails: ", describe(api, error)), true};
}

}  // namespace

CudaProbe probe(const RuntimeApi& api) {
  int count = 0;
  const cudaError_t error = api.GetDeviceCount(&count);
  if (error != cudaSuccess) {
    (void)api.GetLastError();
    return {0, problem_of(api, error)};
  }
  if (count == 0) return {0, problem_of(api, cudaErrorNoDevice)};
  return {count, {}};
}

int require_gpu(const RuntimeApi& api, const std::string& name) {
  int index = 0;
  if (name != "cuda") {
    const std::string digits = name.substr(std::min(name.size(), std::string("cuda:").size()));
    const bool number =
        !digits.empty() && digits.size() <= 4 &&
        std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
    PANDA_CHECK(name.starts_with("cuda:") && number, "device '", printable(name),
                "', expected cuda or cuda:N");
    index = std::stoi(digits);
  }
  const CudaProbe found = probe(api);
  if (found.problem.broken) throw DeviceError(text(name, ": ", found.problem.reason));
  if (found.gpus == 0) throw Unsupported(text(name, ": ", found.problem.reason));
  PANDA_CHECK(index < found.gpus, name, ": this machine has ", found.gpus, found.gpus == 1 ? " GPU" : " GPUs",
              ", expected cuda:0", found.gpus == 1 ? "" : text(" to cuda:", found.gpus - 1));
  return index;
}

}  // namespace panda::kernels::cuda
