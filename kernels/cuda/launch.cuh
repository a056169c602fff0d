// Launching a kernel on a GPU, for kernels/cuda/dialect.cuh; the emulator's twin is in kernels/simt/simt.h.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/gpu_device.h"
#include "kernels/tensor/error.h"

namespace panda::kernels::cuda {

/// Shared memory that a block gets without asking: above it the launch opts in.
inline constexpr size_t kSharedBytesWithoutOptIn = 48 * 1024;

[[noreturn]] void throw_launch_error(const char* kernel, dim3 grid, dim3 block, size_t shared_bytes,
                                     cudaError_t error);

/// Gives the kernel to the device's stream and returns. Throws DeviceError naming kernel, grid and block if
/// the launch is refused; what goes wrong while it runs shows at the next synchronisation.
template <typename... Parameters, typename... Arguments>
void launch_kernel(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                   size_t shared_bytes, GpuDevice& device, Arguments&&... arguments) {
  if (shared_bytes > kSharedBytesWithoutOptIn) {
    const cudaError_t refused =
        cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
    if (refused != cudaSuccess) throw_launch_error(name, grid, block, shared_bytes, refused);
  }
  kernel<<<grid, block, shared_bytes, static_cast<cudaStream_t>(device.stream())>>>(
      static_cast<Parameters>(arguments)...);
  const cudaError_t refused = cudaGetLastError();
  if (refused != cudaSuccess) throw_launch_error(name, grid, block, shared_bytes, refused);
}

}  // namespace panda::kernels::cuda

#define PANDA_LAUNCH(kernel, grid, block, shared_bytes, device, ...) \
  ::panda::kernels::cuda::launch_kernel(#kernel, kernel, grid, block, shared_bytes, device, __VA_ARGS__)
