#include "kernels/cuda/vendor/vendor_libraries.h"

#include <utility>

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/vendor/cublas_lt.h"
#include "kernels/gemm.h"
#include "kernels/pool2d.h"

#if PANDA_WITH_CUDNN
#include "kernels/cuda/vendor/cudnn.h"
#include "kernels/cuda/vendor/cudnn_convolution.h"
#else
namespace panda::kernels::cuda::vendor {
class Cudnn {};
}  // namespace panda::kernels::cuda::vendor
#endif

namespace panda::kernels::cuda::vendor {

namespace {

void gemm_cublas(Device& device, const GemmArgs& args) {
  if (!cuda_device(device).vendor().blas().multiply(args, {}))
    run_native("gemm", native_kernels().gemm, device, args);
}

void linear_forward_cublas(Device& device, const LinearForwardArgs& args) {
  const GemmArgs product{.a = args.x,
                         .b = args.weight,
                         .c = args.y,
                         .transpose_a = false,
                         .transpose_b = true,
                         .accumulate = false};
  if (!cuda_device(device).vendor().blas().multiply(product, args.bias))
    run_native("linear_forward", native_kernels().linear_forward, device, args);
}

#if PANDA_WITH_CUDNN

void avg_pool2d_forward_cudnn(Device& device, const Pool2dForwardArgs& args) {
  if (!cuda_device(device).vendor().dnn().average_pool(args))
    run_native("avg_pool2d_forward", native_kernels().avg_pool2d_forward, device, args);
}

#endif

}  // namespace

VendorLibraries::VendorLibraries(CudaDevice& device, std::vector<std::string>& missing) {
  try {
    blas_ = std::make_unique<CublasLt>(device);
  } catch (const Unsupported& error) {
    missing.push_back(text("cuBLAS: ", error.what()));
  }
#if PANDA_WITH_CUDNN
  try {
    dnn_ = std::make_unique<Cudnn>(device);
  } catch (const Unsupported& error) {
    missing.push_back(text("cuDNN: ", error.what()));
  }
#else
  missing.emplace_back("cuDNN: this build was made without its headers");
#endif
}

VendorLibraries::~VendorLibraries() = default;

std::string VendorLibraries::description() const {
  std::string names;
  if (blas_ != nullptr) names = blas_->description();
#if PANDA_WITH_CUDNN
  if (dnn_ != nullptr) names += (names.empty() ? "" : ", ") + dnn_->description();
#endif
  return names;
}

void VendorLibraries::override_kernels(KernelTable& table) const {
  if (blas_ != nullptr) {
    table.gemm = gemm_cublas;
    table.linear_forward = linear_forward_cublas;
  }
#if PANDA_WITH_CUDNN
  if (dnn_ != nullptr) {
    table.conv2d_prepare_filter = conv2d_prepare_filter_cudnn;
    table.conv2d_forward = conv2d_forward_cudnn;
    table.conv2d_forward_workspace = conv2d_forward_workspace_cudnn;
    table.conv2d_prepare_transposed_filter = conv2d_prepare_transposed_filter_cudnn;
    table.conv2d_backward_input = conv2d_backward_input_cudnn;
    table.conv2d_backward_filter = conv2d_backward_filter_cudnn;
    // Not max pooling, which makes the lowest finite number of a window of minus infinities, and not softmax,
    // which makes 0 of a row of them instead of NaN.
    table.avg_pool2d_forward = avg_pool2d_forward_cudnn;
  }
#endif
}

void use_engine(CudaDevice& device, const DeviceOptions& options) {
  if (options.engine == Engine::kNative) return;
  std::vector<std::string> missing;
  auto libraries = std::make_unique<VendorLibraries>(device, missing);
  if (options.engine == Engine::kVendor && !missing.empty())
    throw Unsupported(text(options.name, ": ", missing[0]));
  for (const std::string& line : missing) {
    if (options.warn) options.warn(text(options.name, ": ", line, "; native kernels take its place"));
  }
  if (libraries->any()) device.use_vendor(std::move(libraries));
}

}  // namespace panda::kernels::cuda::vendor
