// Launching a kernel on a GPU, for kernels/cuda/dialect.cuh; the emulator's twin is in kernels/simt/simt.h.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/gpu_device.h"
#include "kernels/cuda/launch_shape.h"

namespace panda::kernels::cuda {

/// Shared memory that a block gets without asking: above it the launch opts in.
inline constexpr size_t kSharedBytesWithoutOptIn = 48 * 1024;

/// Before a launch: throws if the device has failed, and makes it the current one.
void before_launch(GpuDevice& device);
/// After it: throws DeviceError naming kernel, grid, block and cause if the launch was refused.
void after_launch(GpuDevice& device, const LaunchShape& launch, cudaError_t refused);

/// Gives the kernel to the device's stream and returns; what goes wrong while it runs shows at the next
/// synchronisation.
template <typename... Parameters, typename... Arguments>
void launch_kernel(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                   size_t shared_bytes, GpuDevice& device, Arguments&&... arguments) {
  const LaunchShape launch{name, grid, block, shared_bytes};
  before_launch(device);
  if (shared_bytes > kSharedBytesWithoutOptIn) {
    const cudaError_t refused =
        cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
    if (refused != cudaSuccess) after_launch(device, launch, refused);
  }
  kernel<<<grid, block, shared_bytes, static_cast<cudaStream_t>(device.stream())>>>(
      static_cast<Parameters>(arguments)...);
  after_launch(device, launch, cudaGetLastError());
}

}  // namespace panda::kernels::cuda

#define PANDA_LAUNCH(kernel, grid, block, shared_bytes, device, ...) \
  ::panda::kernels::cuda::launch_kernel(#kernel, kernel, grid, block, shared_bytes, device, __VA_ARGS__)
