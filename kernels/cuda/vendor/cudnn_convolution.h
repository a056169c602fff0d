// Convolutions by cuDNN's graph interface: y = relu?(conv(x) + residual? + bias?) as one operation graph, so
// that the sum stays f32 until it is rounded to y; and both gradients (kernels/conv2d_backward.h), an
// operation each.
#pragma once

#include <array>
#include <map>
#include <memory>

#include "kernels/conv2d_backward.h"
#include "kernels/cuda/vendor/cudnn.h"

namespace panda::kernels::cuda::vendor {

/// Conv2dFilter::algorithm of a filter prepared here; the packed filter is K,R,S,C in the activation dtype,
/// and `fallback` the same filter for the native kernel.
inline constexpr int kCudnnAlgorithm = 1000;

/// What of y = conv(x, filter) is computed, from the other two: y, dL_dx or dL_dfilter.
enum class ConvolutionResult : uint8_t { kOutput, kInputGradient, kFilterGradient };

/// One problem, as its plan depends on it. Tensors are channels-last (a filter K,R,S,C), 16-byte aligned.
struct ConvolutionShape {
  ConvolutionResult result = ConvolutionResult::kOutput;
  Shape x;  ///< or dL_dx
  Shape y;  ///< or dL_dy
  int64_t r = 0;
  int64_t s = 0;
  Conv2dGeometry geometry;
  DType operand_dtype = DType::kF32;
  DType result_dtype = DType::kF32;
  // Of the output alone:
  DType residual_dtype = DType::kF32;
  bool bias = false;
  bool residual = false;
  bool relu = false;
  [[nodiscard]] std::array<int64_t, 20> key() const;
};

/// Owns a descriptor of the graph interface.
class BackendDescriptor {
 public:
  BackendDescriptor(const CudnnApi& api, cudnnBackendDescriptorType_t type);
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
  const CudnnApi* api_;
  cudnnBackendDescriptor_t descriptor_ = nullptr;
};

/// The operations of a convolution, finalized; it needs no GPU. In order: tensors, operators, operations.
struct OperationGraph {
  std::vector<BackendDescriptor> descriptors;
  std::vector<cudnnBackendDescriptor_t> operations;  ///< owned above
};
[[nodiscard]] OperationGraph describe_convolution(const CudnnApi& api, const ConvolutionShape& shape);

class ConvolutionPlans {
 public:
  ConvolutionPlans(CudaDevice& device, const Cudnn& dnn) : device_(device), dnn_(dnn) {}

  /// The library's first deterministic engine of the device's precision; nullptr where it has none.
  struct Plan {
    BackendDescriptor descriptor;
    int64_t workspace_bytes = 0;
  };
  [[nodiscard]] const Plan* find(const ConvolutionShape& shape);
  /// The places of a problem's tensors: operands, what may be absent, and the result, which is written.
  struct Places {
    const void* x = nullptr;
    const void* filter = nullptr;
    const void* y = nullptr;
    const void* bias = nullptr;
    const void* residual = nullptr;
  };
  void run(const Plan& plan, const Places& places);

 private:
  [[nodiscard]] std::unique_ptr<Plan> make(const ConvolutionShape& shape);
  [[nodiscard]] bool acceptable(cudnnBackendDescriptor_t engine_configuration) const;

  CudaDevice& device_;
  const Cudnn& dnn_;
  std::map<std::array<int64_t, 20>, std::unique_ptr<Plan>> plans_;
};

/// Whether cuDNN takes a tensor where it lies: channels-last and aligned.
[[nodiscard]] bool usable_as_is(const ConstTensorView& view);
/// `view`, or where cuDNN cannot take it a copy that it can: channels-last, aligned, of `dtype`. The copy is
/// `holder`'s.
[[nodiscard]] ConstTensorView operand(CudaDevice& device, const ConstTensorView& view, DType dtype,
                                      Tensor& holder);

/// packed = filter as K,R,S,C in the activation dtype; memory that fits is used again.
void pack_filter(CudaDevice& device, const ConstTensorView& filter, Tensor& packed);

/// The table's entries. What cuDNN has no engine for runs on the native kernel.
void conv2d_prepare_filter_cudnn(Device& device, const Conv2dPrepareFilterArgs& args);
void conv2d_forward_cudnn(Device& device, const Conv2dForwardArgs& args);
/// KernelTable::conv2d_forward_workspace.
[[nodiscard]] int64_t conv2d_forward_workspace_cudnn(Device& device, const Conv2dForwardArgs& args);
/// The packed filter is K,R,S,C in the activation dtype; the phases are the native kernel's.
void conv2d_prepare_transposed_filter_cudnn(Device& device, const Conv2dPrepareTransposedFilterArgs& args);
void conv2d_backward_input_cudnn(Device& device, const Conv2dBackwardInputArgs& args);
/// Sums per sample (squares, dots) are the native kernel's alone.
void conv2d_backward_filter_cudnn(Device& device, const Conv2dBackwardFilterArgs& args);

}  // namespace panda::kernels::cuda::vendor
