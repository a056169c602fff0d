// Convolutions by cuDNN's graph interface: y = relu?(conv(x) + residual? + bias?) as one operation graph, so
// that the sum stays f32 until it is rounded to y.
#pragma once

#include <array>
#include <map>
#include <memory>

#include "kernels/cuda/vendor/cudnn.h"

namespace panda::kernels::cuda::vendor {

/// Conv2dFilter::algorithm of a filter prepared here; the packed filter is K,R,S,C in the activation dtype,
/// and `fallback` the same filter for the native kernel.
inline constexpr int kCudnnAlgorithm = 1000;

/// One problem, as its plan depends on it. Tensors are channels-last, 16-byte aligned.
struct ConvolutionShape {
  Shape x;
  Shape y;
  int64_t r = 0;
  int64_t s = 0;
  Conv2dGeometry geometry;
  DType x_dtype = DType::kF32;
  DType y_dtype = DType::kF32;
  DType residual_dtype = DType::kF32;
  bool bias = false;
  bool residual = false;
  bool relu = false;
  [[nodiscard]] std::array<int64_t, 20> key() const;
};

/// Owns a descriptor of the graph interface.
class BackendDescriptor {
 public:
  BackendDescriptor(const Cudnn& dnn, cudnnBackendDescriptorType_t type);
  BackendDescriptor(BackendDescriptor&& other) noexcept;
  BackendDescriptor(const BackendDescriptor&) = delete;
  BackendDescriptor& operator=(const BackendDescriptor&) = delete;
  BackendDescriptor& operator=(BackendDescriptor&&) = delete;
  ~BackendDescriptor();

  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
           const void* elements);
  /// One descriptor as an attribute.
  void set(cudnnBackendAttributeName_t name, const BackendDescriptor& value);
  void finalize();
  [[nodiscard]] bool try_finalize();
  [[nodiscard]] cudnnBackendDescriptor_t get() const { return descriptor_; }

 private:
  const Cudnn* dnn_;
  cudnnBackendDescriptor_t descriptor_ = nullptr;
};

/// The operations of a convolution, finalized; it needs no GPU. In order: tensors, operators, operations.
struct OperationGraph {
  std::vector<BackendDescriptor> descriptors;
  std::vector<cudnnBackendDescriptor_t> operations;  ///< owned above
};
[[nodiscard]] OperationGraph describe_convolution(const Cudnn& dnn, const ConvolutionShape& shape);

class ConvolutionPlans {
 public:
  ConvolutionPlans(CudaDevice& device, const Cudnn& dnn) : device_(device), dnn_(dnn) {}

  /// The library's first deterministic engine of the device's precision; nullptr where it has none.
  struct Plan {
    BackendDescriptor descriptor;
    int64_t workspace_bytes = 0;
  };
  [[nodiscard]] const Plan* find(const ConvolutionShape& shape);
  void run(const Plan& plan, const void* x, const void* filter, const void* bias, const void* residual,
           void* y);

 private:
  [[nodiscard]] std::unique_ptr<Plan> make(const ConvolutionShape& shape);
  [[nodiscard]] bool acceptable(cudnnBackendDescriptor_t engine_configuration) const;

  CudaDevice& device_;
  const Cudnn& dnn_;
  std::map<std::array<int64_t, 20>, std::unique_ptr<Plan>> plans_;
};

/// The table's entries. What cuDNN has no engine for runs on the native kernel.
void conv2d_prepare_filter_cudnn(Device& device, const Conv2dPrepareFilterArgs& args);
void conv2d_forward_cudnn(Device& device, const Conv2dForwardArgs& args);

}  // namespace panda::kernels::cuda::vendor
