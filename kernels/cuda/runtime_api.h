// The calls of the CUDA runtime that the device makes, as a table: a test puts its own functions there, and
// so sees what a GPU would be asked, or plays a driver that fails. Kernel launches alone go past it.
#pragma once

#include <string>

#include <cuda_runtime_api.h>

namespace panda::kernels::cuda {

#define PANDA_CUDA_RUNTIME_CALLS(call)                                                                    \
  call(GetDeviceCount) call(DriverGetVersion) call(RuntimeGetVersion) call(GetDeviceProperties)           \
      call(SetDevice) call(MemGetInfo) call(StreamCreateWithFlags) call(StreamDestroy)                    \
          call(StreamSynchronize) call(EventCreateWithFlags) call(EventRecord) call(EventSynchronize)     \
              call(EventDestroy) call(Malloc) call(Free) call(HostAlloc) call(FreeHost) call(MemcpyAsync) \
                  call(MemsetAsync) call(GetLastError) call(GetErrorName) call(GetErrorString)            \
                      call(StreamBeginCapture) call(StreamEndCapture) call(GraphInstantiate)              \
                          call(GraphLaunch) call(GraphExecDestroy) call(GraphDestroy)

struct RuntimeApi {
#define PANDA_CALL(name) decltype(&::cuda##name) name = nullptr;
  PANDA_CUDA_RUNTIME_CALLS(PANDA_CALL)
#undef PANDA_CALL
};

/// The runtime linked into this binary.
[[nodiscard]] const RuntimeApi& runtime_api();

/// "an illegal memory access was encountered (cudaErrorIllegalAddress)"
[[nodiscard]] std::string describe(const RuntimeApi& api, cudaError_t error);

/// "12.2" of 12020.
[[nodiscard]] std::string cuda_version_name(int version);

}  // namespace panda::kernels::cuda
