// cuDNN, loaded at run time: the handle and average pooling; convolutions are in cudnn_convolution.h.
#pragma once

#include <map>
#include <memory>
#include <string>

#include <cudnn.h>

#include "kernels/conv2d.h"
#include "kernels/cuda/vendor/dynamic_library.h"
#include "kernels/pool2d.h"

namespace panda::kernels::cuda {
class CudaDevice;
}

namespace panda::kernels::cuda::vendor {

#define PANDA_CUDNN_CALLS(call)                                                                     \
  call(Create) call(Destroy) call(SetStream) call(GetVersion) call(GetErrorString)                  \
      call(CreateTensorDescriptor) call(DestroyTensorDescriptor) call(SetTensor4dDescriptor)        \
          call(CreatePoolingDescriptor) call(DestroyPoolingDescriptor) call(SetPooling2dDescriptor) \
              call(PoolingForward) call(BackendCreateDescriptor) call(BackendDestroyDescriptor)     \
                  call(BackendSetAttribute) call(BackendGetAttribute) call(BackendFinalize)         \
                      call(BackendExecute)

struct CudnnApi {
#define PANDA_CALL(name) decltype(&::cudnn##name) name = nullptr;
  PANDA_CUDNN_CALLS(PANDA_CALL)
#undef PANDA_CALL
  /// Throws Unsupported if the library lacks one.
  void load(const DynamicLibrary& library);
  /// Throws DeviceError naming the call.
  void check(cudnnStatus_t status, const char* call) const;
};

[[nodiscard]] cudnnDataType_t cudnn_type(DType dtype);

class ConvolutionPlans;

class Cudnn {
 public:
  /// Throws Unsupported if the library is absent, broken or of another major version.
  explicit Cudnn(CudaDevice& device);
  Cudnn(const Cudnn&) = delete;
  Cudnn& operator=(const Cudnn&) = delete;
  ~Cudnn();

  [[nodiscard]] std::string description() const;
  [[nodiscard]] const CudnnApi& api() const { return api_; }
  [[nodiscard]] cudnnHandle_t handle() const { return handle_; }
  void check(cudnnStatus_t status, const char* call) const { api_.check(status, call); }

  /// False, with nothing done, where the library does not serve the case.
  [[nodiscard]] bool average_pool(const Pool2dForwardArgs& args);
  [[nodiscard]] ConvolutionPlans& convolutions() { return *convolutions_; }

 private:
  CudaDevice& device_;
  DynamicLibrary library_;
  CudnnApi api_;
  cudnnHandle_t handle_ = nullptr;
  std::unique_ptr<ConvolutionPlans> convolutions_;
};

}  // namespace panda::kernels::cuda::vendor
