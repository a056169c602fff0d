// What this machine offers the device `cuda`, for kernels/device_registry.cpp. No CUDA header: a build
// without CUDA has the same functions (cuda_absent.cpp).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/device_registry.h"

namespace panda::kernels::cuda {

/// Why there is no GPU to be had: one line.
struct CudaProblem {
  std::string reason;
  bool broken = false;   ///< a driver that is there and fails, not one that is missing
  bool in_build = true;  ///< false: this build has no CUDA at all
};

/// The devices "cuda", "cuda:1", ...; one entry "cuda" with the reason where there are none.
[[nodiscard]] std::vector<DeviceFacts> list_cuda_devices();

/// Whether "auto" may take a GPU: empty reason if so.
[[nodiscard]] CudaProblem find_cuda_problem();

/// `options.name` is "cuda" or "cuda:N". `threads`: host threads for decoding beside the GPU. Throws
/// InvalidArgument for a name or an index out of range, Unsupported where there is no usable driver, GPU,
/// precision or vendor library, DeviceError where the driver fails.
[[nodiscard]] std::unique_ptr<Device> make_cuda_device(const DeviceOptions& options, int threads,
                                                       bool synchronous);

}  // namespace panda::kernels::cuda
