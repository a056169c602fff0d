#include "kernels/cuda/vendor/cudnn.h"

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/vendor/cudnn_convolution.h"

namespace panda::kernels::cuda::vendor {

namespace {

/// One 4-dimensional tensor, as the older calls describe it.
class TensorDescriptor {
 public:
  TensorDescriptor(const Cudnn& dnn, const ConstTensorView& x) : dnn_(dnn) {
    dnn_.check(dnn_.api().CreateTensorDescriptor(&descriptor_), "CreateTensorDescriptor");
    const cudnnTensorFormat_t format =
        x.layout() == Layout::kChannelsLast ? CUDNN_TENSOR_NHWC : CUDNN_TENSOR_NCHW;
    int extents[4] = {1, 1, 1, 1};
    for (int i = 0; i < x.shape().rank(); ++i) extents[i] = static_cast<int>(x.shape()[i]);
    dnn_.check(dnn_.api().SetTensor4dDescriptor(descriptor_, format, cudnn_type(x.dtype()), extents[0],
                                                extents[1], extents[2], extents[3]),
               "SetTensor4dDescriptor");
  }
  TensorDescriptor(const TensorDescriptor&) = delete;
  TensorDescriptor& operator=(const TensorDescriptor&) = delete;
  ~TensorDescriptor() { (void)dnn_.api().DestroyTensorDescriptor(descriptor_); }
  [[nodiscard]] cudnnTensorDescriptor_t get() const { return descriptor_; }

 private:
  const Cudnn& dnn_;
  cudnnTensorDescriptor_t descriptor_ = nullptr;
};

bool fits_int(const ConstTensorView& x) {
  return x.numel() <= INT32_MAX;
}

}  // namespace

cudnnDataType_t cudnn_type(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return CUDNN_DATA_HALF;
    case DType::kBF16:
      return CUDNN_DATA_BFLOAT16;
    default:
      return CUDNN_DATA_FLOAT;
  }
}

void CudnnApi::load(const DynamicLibrary& library) {
#define PANDA_CALL(name) name = library.function<std::remove_pointer_t<decltype(name)>>("cudnn" #name);
  PANDA_CUDNN_CALLS(PANDA_CALL)
#undef PANDA_CALL
}

void CudnnApi::check(cudnnStatus_t status, const char* call) const {
  if (status != CUDNN_STATUS_SUCCESS) throw DeviceError(text("cudnn", call, ": ", GetErrorString(status)));
}

Cudnn::Cudnn(CudaDevice& device) : device_(device), library_(text("libcudnn.so.", CUDNN_MAJOR)) {
  api_.load(library_);
  const cudnnStatus_t status = api_.Create(&handle_);
  if (status != CUDNN_STATUS_SUCCESS)
    throw Unsupported(text("libcudnn.so.", CUDNN_MAJOR, " is broken: ", api_.GetErrorString(status)));
  check(api_.SetStream(handle_, static_cast<cudaStream_t>(device_.stream())), "SetStream");
  convolutions_ = std::make_unique<ConvolutionPlans>(device_, *this);
}

Cudnn::~Cudnn() {
  convolutions_.reset();
  if (handle_ != nullptr) (void)api_.Destroy(handle_);
}

std::string Cudnn::description() const {
  const size_t version = api_.GetVersion();
  return text("cuDNN ", version / 10000, ".", version % 10000 / 100, ".", version % 100);
}

bool Cudnn::average_pool(const Pool2dForwardArgs& args) {
  const bool alike = args.x.layout() == args.y.layout() && args.x.dtype() == args.y.dtype();
  if (!alike || !fits_int(args.x) || !fits_int(args.y)) return false;
  const TensorDescriptor x(*this, args.x);
  const TensorDescriptor y(*this, args.y);
  cudnnPoolingDescriptor_t pooling = nullptr;
  check(api_.CreatePoolingDescriptor(&pooling), "CreatePoolingDescriptor");
  const Pool2dGeometry& g = args.geometry;
  cudnnStatus_t status = api_.SetPooling2dDescriptor(
      pooling, CUDNN_POOLING_AVERAGE_COUNT_INCLUDE_PADDING, CUDNN_PROPAGATE_NAN, static_cast<int>(g.window_h),
      static_cast<int>(g.window_w), static_cast<int>(g.pad_h), static_cast<int>(g.pad_w),
      static_cast<int>(g.stride_h), static_cast<int>(g.stride_w));
  const float one = 1;
  const float zero = 0;
  if (status == CUDNN_STATUS_SUCCESS)
    status = api_.PoolingForward(handle_, pooling, &one, x.get(), args.x.raw(), &zero, y.get(), args.y.raw());
  (void)api_.DestroyPoolingDescriptor(pooling);
  if (status == CUDNN_STATUS_NOT_SUPPORTED || status == CUDNN_STATUS_BAD_PARAM) return false;
  check(status, "PoolingForward");
  return true;
}

}  // namespace panda::kernels::cuda::vendor
