#include "kernels/cuda/vendor/cudnn_convolution.h"

#include <algorithm>
#include <utility>

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/vendor/vendor_libraries.h"
#include "kernels/elementwise.h"

namespace panda::kernels::cuda::vendor {

namespace {

// Enough for every precomputed index table and split sum of a ResNet; a plan that wants more is passed over.
constexpr int64_t kMostWorkspaceBytes = int64_t{256} << 20;
constexpr int64_t kTensorAlignment = 16;

/// The graph's names of its real tensors.
enum TensorId : int64_t { kX = 1, kFilter, kBias, kResidual, kY, kFirstVirtual };

/// Strides, in elements, of extents N,C,H,W stored N,H,W,C.
std::array<int64_t, 4> channels_last_strides(const std::array<int64_t, 4>& e) {
  return {e[1] * e[2] * e[3], 1, e[1] * e[3], e[1]};
}

/// What cuDNN calls one of the three operations and its parts.
struct ConvolutionNames {
  cudnnBackendDescriptorType_t operation;
  cudnnBackendAttributeName_t convolution, x, filter, y, alpha, beta;
};

const ConvolutionNames& names_of(ConvolutionResult result) {
  static constexpr ConvolutionNames kOutput = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                                               CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                                               CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                                               CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                                               CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                                               CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                                               CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
  static constexpr ConvolutionNames kInput = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                                              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                                              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                                              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                                              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                                              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                                              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
  static constexpr ConvolutionNames kFilter = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                                               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                                               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                                               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                                               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                                               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                                               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
  switch (result) {
    case ConvolutionResult::kInputGradient:
      return kInput;
    case ConvolutionResult::kFilterGradient:
      return kFilter;
    default:
      return kOutput;
  }
}

class GraphBuilder {
 public:
  explicit GraphBuilder(const CudnnApi& api) : api_(api) {
    // Sixteen at most; references to them must hold while one is being made.
    graph_.descriptors.reserve(16);
  }

  size_t tensor(int64_t id, const std::array<int64_t, 4>& extents, DType dtype, bool is_virtual) {
    BackendDescriptor& tensor = add(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    const std::array<int64_t, 4> strides = channels_last_strides(extents);
    const cudnnDataType_t type = cudnn_type(dtype);
    tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
    tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    tensor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &kTensorAlignment);
    tensor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, extents.data());
    tensor.set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides.data());
    tensor.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
    tensor.finalize();
    return graph_.descriptors.size() - 1;
  }

  /// Gives the one of x, filter and y that `result` says, from the others.
  void convolution(ConvolutionResult result, const Conv2dGeometry& g, size_t x, size_t filter, size_t y) {
    const ConvolutionNames& names = names_of(result);
    BackendDescriptor& operator_descriptor = add(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    const cudnnDataType_t sums = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const int64_t dimensions = 2;
    const int64_t padding[2] = {g.pad_h, g.pad_w};
    const int64_t strides[2] = {g.stride_h, g.stride_w};
    const int64_t dilations[2] = {1, 1};
    operator_descriptor.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &sums);
    operator_descriptor.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    operator_descriptor.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &dimensions);
    operator_descriptor.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, padding);
    operator_descriptor.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, padding);
    operator_descriptor.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, strides);
    operator_descriptor.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilations);
    operator_descriptor.finalize();
    const size_t operator_index = graph_.descriptors.size() - 1;
    BackendDescriptor& operation = add(names.operation);
    const float one = 1;
    const float zero = 0;
    operation.set(names.convolution, at(operator_index));
    operation.set(names.x, at(x));
    operation.set(names.filter, at(filter));
    operation.set(names.y, at(y));
    operation.set(names.alpha, CUDNN_TYPE_FLOAT, 1, &one);
    operation.set(names.beta, CUDNN_TYPE_FLOAT, 1, &zero);
    finish(operation);
  }

  /// y = x + b, or y = relu(x) where there is no b.
  void pointwise(cudnnPointwiseMode_t mode, size_t x, const size_t* b, size_t y) {
    BackendDescriptor& operator_descriptor = add(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    const cudnnDataType_t sums = CUDNN_DATA_FLOAT;
    operator_descriptor.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    operator_descriptor.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &sums);
    operator_descriptor.finalize();
    const size_t operator_index = graph_.descriptors.size() - 1;
    BackendDescriptor& operation = add(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, at(operator_index));
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, at(x));
    if (b != nullptr) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, at(*b));
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, at(y));
    finish(operation);
  }

  [[nodiscard]] OperationGraph take() { return std::move(graph_); }

 private:
  BackendDescriptor& add(cudnnBackendDescriptorType_t type) {
    return graph_.descriptors.emplace_back(api_, type);
  }
  [[nodiscard]] const BackendDescriptor& at(size_t index) const { return graph_.descriptors[index]; }
  void finish(BackendDescriptor& operation) {
    operation.finalize();
    graph_.operations.push_back(operation.get());
  }

  const CudnnApi& api_;
  OperationGraph graph_;
};

std::array<int64_t, 4> extents_of(const Shape& shape) {
  return {shape[0], shape[1], shape[2], shape[3]};
}

}  // namespace

std::array<int64_t, 20> ConvolutionShape::key() const {
  return {x[0],
          x[1],
          x[2],
          x[3],
          y[1],
          r,
          s,
          geometry.stride_h,
          geometry.stride_w,
          geometry.pad_h,
          geometry.pad_w,
          static_cast<int64_t>(operand_dtype),
          static_cast<int64_t>(result_dtype),
          static_cast<int64_t>(residual_dtype),
          bias,
          residual,
          relu,
          y[2],
          y[3],
          static_cast<int64_t>(result)};
}

BackendDescriptor::BackendDescriptor(const CudnnApi& api, cudnnBackendDescriptorType_t type) : api_(&api) {
  api_->check(api_->BackendCreateDescriptor(type, &descriptor_), "BackendCreateDescriptor");
}

BackendDescriptor::BackendDescriptor(BackendDescriptor&& other) noexcept
    : api_(other.api_), descriptor_(std::exchange(other.descriptor_, nullptr)) {}

BackendDescriptor::~BackendDescriptor() {
  if (descriptor_ != nullptr) (void)api_->BackendDestroyDescriptor(descriptor_);
}

void BackendDescriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                            const void* elements) {
  api_->check(api_->BackendSetAttribute(descriptor_, name, type, count, elements), "BackendSetAttribute");
}

void BackendDescriptor::set(cudnnBackendAttributeName_t name, const BackendDescriptor& value) {
  cudnnBackendDescriptor_t descriptor = value.get();
  set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &descriptor);
}

bool BackendDescriptor::try_finalize() {
  return api_->BackendFinalize(descriptor_) == CUDNN_STATUS_SUCCESS;
}

void BackendDescriptor::finalize() {
  api_->check(api_->BackendFinalize(descriptor_), "BackendFinalize");
}

OperationGraph describe_convolution(const CudnnApi& api, const ConvolutionShape& shape) {
  GraphBuilder graph(api);
  const std::array<int64_t, 4> y_extents = extents_of(shape.y);
  const int64_t channels = shape.y[1];
  const auto dtype = [&](ConvolutionResult tensor) {
    return tensor == shape.result ? shape.result_dtype : shape.operand_dtype;
  };
  const size_t x = graph.tensor(kX, extents_of(shape.x), dtype(ConvolutionResult::kInputGradient), false);
  const size_t filter = graph.tensor(kFilter, {channels, shape.x[1], shape.r, shape.s},
                                     dtype(ConvolutionResult::kFilterGradient), false);
  if (shape.result != ConvolutionResult::kOutput) {
    const size_t y = graph.tensor(kY, y_extents, shape.operand_dtype, false);
    graph.convolution(shape.result, shape.geometry, x, filter, y);
    return graph.take();
  }
  // The chain conv -> + residual -> + bias -> relu: each stage that is there, the last into y, the others
  // into f32 that lives in registers alone.
  int stages = 1 + (shape.residual ? 1 : 0) + (shape.bias ? 1 : 0) + (shape.relu ? 1 : 0);
  int64_t next_virtual = kFirstVirtual;
  const auto stage_output = [&] {
    return --stages == 0 ? graph.tensor(kY, y_extents, shape.result_dtype, false)
                         : graph.tensor(next_virtual++, y_extents, DType::kF32, true);
  };
  size_t value = stage_output();
  graph.convolution(shape.result, shape.geometry, x, filter, value);
  if (shape.residual) {
    const size_t residual = graph.tensor(kResidual, y_extents, shape.residual_dtype, false);
    const size_t sum = stage_output();
    graph.pointwise(CUDNN_POINTWISE_ADD, value, &residual, sum);
    value = sum;
  }
  if (shape.bias) {
    const size_t bias = graph.tensor(kBias, {1, channels, 1, 1}, DType::kF32, false);
    const size_t sum = stage_output();
    graph.pointwise(CUDNN_POINTWISE_ADD, value, &bias, sum);
    value = sum;
  }
  if (shape.relu) graph.pointwise(CUDNN_POINTWISE_RELU_FWD, value, nullptr, stage_output());
  return graph.take();
}

bool ConvolutionPlans::acceptable(cudnnBackendDescriptor_t engine_configuration) const {
  const BackendDescriptor engine(dnn_.api(), CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t engine_descriptor = engine.get();
  int64_t count = 0;
  dnn_.check(dnn_.api().BackendGetAttribute(engine_configuration, CUDNN_ATTR_ENGINECFG_ENGINE,
                                            CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &engine_descriptor),
             "BackendGetAttribute");
  cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
  dnn_.check(dnn_.api().BackendGetAttribute(engine_descriptor, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                            CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT,
                                            &count, notes),
             "BackendGetAttribute");
  const bool exact = device_.precision() == Precision::kF32;
  return std::none_of(notes, notes + count, [&](cudnnBackendNumericalNote_t note) {
    switch (note) {
      // Sums as they come; sums in 16 bits; another algorithm's rounding.
      case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC:
      case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
      case CUDNN_NUMERICAL_NOTE_FFT:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13:
        return true;
      // On f32 operands these mean tf32 products.
      case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
      case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
        return exact;
      default:
        return false;
    }
  });
}

std::unique_ptr<ConvolutionPlans::Plan> ConvolutionPlans::make(const ConvolutionShape& shape) {
  const OperationGraph operations = describe_convolution(dnn_.api(), shape);
  BackendDescriptor graph(dnn_.api(), CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  cudnnHandle_t handle = dnn_.handle();
// The attributes that replace these two are not in every release of this major version.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  const cudnnBackendAttributeName_t graph_handle = CUDNN_ATTR_OPERATIONGRAPH_HANDLE;
  const cudnnBackendAttributeName_t plan_handle = CUDNN_ATTR_EXECUTION_PLAN_HANDLE;
#pragma GCC diagnostic pop
  graph.set(graph_handle, CUDNN_TYPE_HANDLE, 1, &handle);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
            static_cast<int64_t>(operations.operations.size()), operations.operations.data());
  if (!graph.try_finalize()) return nullptr;
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    BackendDescriptor heuristic(dnn_.api(), CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    heuristic.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (!heuristic.try_finalize()) continue;
    int64_t count = 0;
    dnn_.check(dnn_.api().BackendGetAttribute(heuristic.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                              CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &count, nullptr),
               "BackendGetAttribute");
    std::vector<BackendDescriptor> configurations;
    std::vector<cudnnBackendDescriptor_t> handles;
    for (int64_t i = 0; i < count; ++i) {
      configurations.emplace_back(dnn_.api(), CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
      handles.push_back(configurations.back().get());
    }
    dnn_.check(dnn_.api().BackendGetAttribute(heuristic.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                              CUDNN_TYPE_BACKEND_DESCRIPTOR, count, &count, handles.data()),
               "BackendGetAttribute");
    for (int64_t i = 0; i < count; ++i) {
      const BackendDescriptor& configuration = configurations[static_cast<size_t>(i)];
      if (!acceptable(configuration.get())) continue;
      BackendDescriptor plan(dnn_.api(), CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      plan.set(plan_handle, CUDNN_TYPE_HANDLE, 1, &handle);
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
      if (!plan.try_finalize()) continue;
      int64_t workspace_bytes = 0;
      int64_t got = 0;
      dnn_.check(dnn_.api().BackendGetAttribute(plan.get(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                                CUDNN_TYPE_INT64, 1, &got, &workspace_bytes),
                 "BackendGetAttribute");
      if (workspace_bytes > kMostWorkspaceBytes) continue;
      return std::make_unique<Plan>(Plan{std::move(plan), workspace_bytes});
    }
  }
  return nullptr;
}

const ConvolutionPlans::Plan* ConvolutionPlans::find(const ConvolutionShape& shape) {
  const auto [entry, added] = plans_.try_emplace(shape.key(), nullptr);
  if (added) {
    try {
      entry->second = make(shape);
    } catch (...) {
      plans_.erase(entry);
      throw;
    }
  }
  return entry->second.get();
}

void ConvolutionPlans::run(const Plan& plan, const Places& places) {
  const Tensor workspace(device_, DType::kU8, {plan.workspace_bytes}, "cuDNN workspace");
  std::vector<int64_t> ids;
  std::vector<void*> pointers;
  const auto bind = [&](int64_t id, const void* pointer) {
    if (pointer == nullptr) return;
    ids.push_back(id);
    pointers.push_back(const_cast<void*>(pointer));
  };
  bind(kX, places.x);
  bind(kFilter, places.filter);
  bind(kBias, places.bias);
  bind(kResidual, places.residual);
  bind(kY, places.y);
  void* scratch = workspace.view().raw();
  BackendDescriptor pack(dnn_.api(), CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  const auto count = static_cast<int64_t>(ids.size());
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, ids.data());
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, pointers.data());
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &scratch);
  pack.finalize();
  dnn_.check(dnn_.api().BackendExecute(dnn_.handle(), plan.descriptor.get(), pack.get()), "BackendExecute");
}

namespace {

ConvolutionShape shape_of(const CudaDevice& gpu, const Conv2dForwardArgs& args) {
  const Conv2dFilter& filter = *args.filter;
  return {
      .x = args.x.shape(),
      .y = args.y.shape(),
      .r = filter.r,
      .s = filter.s,
      .geometry = filter.geometry,
      .operand_dtype = activation_dtype(gpu.precision()),
      .result_dtype = args.y.dtype(),
      .residual_dtype = args.residual.present() ? args.residual.dtype() : DType::kF32,
      .bias = args.bias.present(),
      .residual = args.residual.present(),
      .relu = args.relu,
  };
}

}  // namespace

bool usable_as_is(const ConstTensorView& view) {
  return view.layout() == Layout::kChannelsLast &&
         reinterpret_cast<uintptr_t>(view.raw()) % static_cast<uintptr_t>(kTensorAlignment) == 0;
}

ConstTensorView operand(CudaDevice& device, const ConstTensorView& view, DType dtype, Tensor& holder) {
  if (usable_as_is(view) && view.dtype() == dtype) return view;
  holder = Tensor(device, dtype, view.shape(), "cuDNN operand", Layout::kChannelsLast);
  convert(device, {view, holder.view()});
  return holder;
}

void pack_filter(CudaDevice& device, const ConstTensorView& filter, Tensor& packed) {
  const DType dtype = activation_dtype(device.precision());
  const bool fits = packed.present() && packed.layout() == Layout::kChannelsLast && packed.dtype() == dtype &&
                    packed.shape() == filter.shape();
  if (!fits) packed = Tensor(device, dtype, filter.shape(), "filter", Layout::kChannelsLast);
  convert(device, {filter, packed.view()});
}

void conv2d_prepare_filter_cudnn(Device& device, const Conv2dPrepareFilterArgs& args) {
  CudaDevice& gpu = cuda_device(device);
  const KernelTable& native = native_kernels();
  Conv2dFilter& prepared = *args.prepared;
  if (native.conv2d_prepare_filter != nullptr) {
    auto fallback = std::make_shared<Conv2dFilter>(prepared);
    fallback->packed = prepared.fallback == nullptr ? Tensor() : prepared.fallback->packed;
    fallback->fallback = nullptr;
    native.conv2d_prepare_filter(device, {args.filter, args.geometry, fallback.get()});
    prepared.fallback = std::move(fallback);
  }
  prepared.algorithm = kCudnnAlgorithm;
  pack_filter(gpu, args.filter, prepared.packed);
}

int64_t conv2d_forward_workspace_cudnn(Device& device, const Conv2dForwardArgs& args) {
  CudaDevice& gpu = cuda_device(device);
  const ConvolutionShape shape = shape_of(gpu, args);
  const ConvolutionPlans::Plan* plan = gpu.vendor().dnn().convolutions().find(shape);
  if (plan == nullptr) return 0;
  int64_t bytes = plan->workspace_bytes;
  if (!usable_as_is(args.x)) bytes += args.x.numel() * dtype_bytes(shape.operand_dtype);
  if (shape.residual && !usable_as_is(args.residual)) bytes += args.residual.bytes();
  if (!usable_as_is(args.y)) bytes += args.y.bytes();
  return bytes;
}

void conv2d_forward_cudnn(Device& device, const Conv2dForwardArgs& args) {
  CudaDevice& gpu = cuda_device(device);
  ConvolutionPlans& plans = gpu.vendor().dnn().convolutions();
  const Conv2dFilter& filter = *args.filter;
  const ConvolutionShape shape = shape_of(gpu, args);
  const ConvolutionPlans::Plan* plan = plans.find(shape);
  if (plan == nullptr) {
    const KernelTable& native = native_kernels();
    if (native.conv2d_forward == nullptr || filter.fallback == nullptr) {
      throw Unsupported(text("conv2d_forward: cuDNN has no engine for x ", args.x.to_string(), ", filter ",
                             filter.k, "x", filter.c, "x", filter.r, "x", filter.s, " in ",
                             precision_name(gpu.precision())));
    }
    Conv2dForwardArgs native_args = args;
    native_args.filter = filter.fallback.get();
    native.conv2d_forward(device, native_args);
    return;
  }
  Tensor x_copy;
  Tensor bias_copy;
  Tensor residual_copy;
  Tensor y_copy;
  const ConstTensorView x = operand(gpu, args.x, shape.operand_dtype, x_copy);
  ConstTensorView residual;
  if (shape.residual) residual = operand(gpu, args.residual, shape.residual_dtype, residual_copy);
  ConstTensorView bias = args.bias;
  if (shape.bias && reinterpret_cast<uintptr_t>(bias.raw()) % static_cast<uintptr_t>(kTensorAlignment) != 0) {
    bias_copy = clone_to(bias, gpu, "cuDNN operand");
    bias = bias_copy;
  }
  TensorView y = args.y;
  if (!usable_as_is(y)) {
    y_copy = Tensor(gpu, y.dtype(), y.shape(), "cuDNN result", Layout::kChannelsLast);
    y = y_copy;
  }
  plans.run(*plan, {x.raw(), filter.packed.view().raw(), y.raw(), shape.bias ? bias.raw() : nullptr,
                    shape.residual ? residual.raw() : nullptr});
  if (y_copy.present()) convert(gpu, {y_copy, args.y});
}

}  // namespace panda::kernels::cuda::vendor
