// Launching a kernel on the emulator: the twin of kernels/cuda/launch.cuh.
#pragma once

#include <functional>
#include <tuple>

#include "kernels/cuda/gpu_device.h"
#include "kernels/simt/vector_types.h"

namespace panda::kernels::simt {

namespace emulator {

/// Runs body(context) once per thread of the grid. Throws DeviceError for a grid, block or amount of shared
/// memory that no GPU takes, InternalError for what the kernel does wrong.
void run_grid(const char* kernel, dim3 grid, dim3 block, size_t shared_bytes, GpuDevice& device,
              void (*body)(void* context), void* context);

/// True if the device records: the launch is taken down and waits for the replay.
[[nodiscard]] bool take_down(GpuDevice& device, const std::function<void()>& launch);

}  // namespace emulator

/// Runs the kernel to its end, on this thread; or takes it down, where the device records.
template <typename... Parameters, typename... Arguments>
void launch_kernel(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                   size_t shared_bytes, GpuDevice& device, Arguments&&... arguments) {
  static_assert((std::is_trivially_copyable_v<Parameters> && ... && true),
                "a kernel's parameters are copied as bytes");
  static_assert((sizeof(Parameters) + ... + 0) <= 4096, "a kernel's parameters have 4096 bytes at most");
  struct Call {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> parameters;
  } call = {kernel, std::tuple<Parameters...>(static_cast<Parameters>(arguments)...)};
  const auto launch = [=, &device] {
    Call one_launch = call;
    emulator::run_grid(
        name, grid, block, shared_bytes, device,
        [](void* context) {
          const Call& one = *static_cast<Call*>(context);
          std::apply(one.kernel, one.parameters);
        },
        &one_launch);
  };
  if (!emulator::take_down(device, launch)) launch();
}

}  // namespace panda::kernels::simt

#define PANDA_LAUNCH(kernel, grid, block, shared_bytes, device, ...) \
  ::panda::kernels::simt::launch_kernel(#kernel, kernel, grid, block, shared_bytes, device, __VA_ARGS__)
