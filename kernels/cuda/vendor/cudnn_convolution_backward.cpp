// The gradients of a convolution by cuDNN (kernels/conv2d_backward.h).
//
// cuDNN computes dL_dx straight into its place where that is channels-last, aligned and to be overwritten.
// Any other gradient it leaves in f32 beside, from where it is converted or, in mode accumulate, added: in
// f32 and rounded once. Its own accumulation (beta) would serve dL_dx in f32 alone: the gradient of a filter
// has another layout, and one of 16 bits would be rounded twice.
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/vendor/cudnn_convolution.h"
#include "kernels/cuda/vendor/vendor_libraries.h"
#include "kernels/elementwise.h"

namespace panda::kernels::cuda::vendor {

namespace {

/// gradient = value or gradient + value; `value` is f32.
void give(CudaDevice& device, const Tensor& value, const Gradient& gradient) {
  if (!gradient.accumulates()) return convert(device, {value, gradient.view});
  if (gradient.view.dtype() == value.dtype() && gradient.view.layout() == value.layout())
    return binary_forward(device, {BinaryOp::kAdd, gradient.view, value, gradient.view});
  const Tensor sum(device, value.dtype(), value.shape(), "cuDNN gradient", value.layout());
  convert(device, {gradient.view, sum});
  binary_forward(device, {BinaryOp::kAdd, sum, value, sum});
  convert(device, {sum, gradient.view});
}

Tensor beside(CudaDevice& device, const Shape& shape) {
  return {device, DType::kF32, shape, "cuDNN gradient", Layout::kChannelsLast};
}

}  // namespace

void conv2d_prepare_transposed_filter_cudnn(Device& device, const Conv2dPrepareTransposedFilterArgs& args) {
  run_native("conv2d_prepare_transposed_filter", native_kernels().conv2d_prepare_transposed_filter, device,
             args);
  pack_filter(cuda_device(device), args.filter, args.prepared->packed);
}

void conv2d_backward_input_cudnn(Device& device, const Conv2dBackwardInputArgs& args) {
  CudaDevice& gpu = cuda_device(device);
  ConvolutionPlans& plans = gpu.vendor().dnn().convolutions();
  const Conv2dTransposedFilter& filter = *args.filter;
  const TensorView& dL_dx = args.dL_dx.view;
  const bool in_place = !args.dL_dx.accumulates() && usable_as_is(dL_dx);
  const ConvolutionShape shape{
      .result = ConvolutionResult::kInputGradient,
      .x = dL_dx.shape(),
      .y = args.dL_dy.shape(),
      .r = filter.r,
      .s = filter.s,
      .geometry = filter.geometry,
      .operand_dtype = activation_dtype(gpu.precision()),
      .result_dtype = in_place ? dL_dx.dtype() : DType::kF32,
  };
  // Without a pixel of y there is nothing that cuDNN would describe: the gradient is zero.
  const ConvolutionPlans::Plan* plan = args.dL_dy.shape().empty() ? nullptr : plans.find(shape);
  if (plan == nullptr)
    return run_native("conv2d_backward_input", native_kernels().conv2d_backward_input, device, args);
  Tensor dL_dy_copy;
  const ConstTensorView dL_dy = operand(gpu, args.dL_dy, shape.operand_dtype, dL_dy_copy);
  const Tensor result = in_place ? Tensor() : beside(gpu, shape.x);
  plans.run(*plan, {.x = in_place ? dL_dx.raw() : result.view().raw(),
                    .filter = filter.packed.view().raw(),
                    .y = dL_dy.raw()});
  if (!in_place) give(gpu, result, args.dL_dx);
}

void conv2d_backward_filter_cudnn(Device& device, const Conv2dBackwardFilterArgs& args) {
  CudaDevice& gpu = cuda_device(device);
  ConvolutionPlans& plans = gpu.vendor().dnn().convolutions();
  const bool per_sample = args.squares.wanted() || args.dots.present();
  const bool served = !per_sample && !args.x.shape().empty() && !args.dL_dy.shape().empty();
  const Shape& filter = args.dL_dfilter.view.shape();
  const ConvolutionPlans::Plan* plan = nullptr;
  const DType dtype = activation_dtype(gpu.precision());
  if (served) {
    plan = plans.find({
        .result = ConvolutionResult::kFilterGradient,
        .x = args.x.shape(),
        .y = args.dL_dy.shape(),
        .r = filter[2],
        .s = filter[3],
        .geometry = args.geometry,
        .operand_dtype = dtype,
        .result_dtype = DType::kF32,
    });
  }
  if (plan == nullptr)
    return run_native("conv2d_backward_filter", native_kernels().conv2d_backward_filter, device, args);
  Tensor x_copy;
  Tensor dL_dy_copy;
  const ConstTensorView x = operand(gpu, args.x, dtype, x_copy);
  const ConstTensorView dL_dy = operand(gpu, args.dL_dy, dtype, dL_dy_copy);
  const Tensor result = beside(gpu, filter);
  plans.run(*plan, {.x = x.raw(), .filter = result.view().raw(), .y = dL_dy.raw()});
  give(gpu, result, args.dL_dfilter);
}

}  // namespace panda::kernels::cuda::vendor
