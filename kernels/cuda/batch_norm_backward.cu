// batch_norm_backward, batch_norm_training_forward, batch_norm_training_backward (kernels/batch_norm.h).
//
// WHAT    sums over n,h,w for each channel in f64 (channel_sums.cuh), then what each element makes of them
// READS   backward: x and dL_dy twice · training forward: x three times (the variance is summed about the
//         mean: no cancellation) · WRITES dL_dx or y
// FLOPS   2 to 4 f64 operations an element of a sum, 4 f32 an element of the map
// LAUNCH  channel_sums.cuh; a thread a channel joins the images; a thread an element in the order of memory
// LIMITS  2^31 blocks; dL_dx may be dL_dy's memory: the sums are complete before it is written
// SOURCE  Ioffe, Szegedy 2015; kernels/batch_norm.h
#include "kernels/batch_norm.h"
#include "kernels/cuda/channel_sums.cuh"
#include "kernels/cuda/gpu_kernels.h"

namespace panda::kernels::PANDA_TARGET {

namespace {

/// The statistics of one channel: constants of the network or of the batch.
struct ChannelStatistics {
  const float* mean;
  const float* variance;           ///< or
  const float* inverse_deviation;  ///< whichever is there
  double epsilon;

  __device__ double inverse(int64_t c) const {
    return inverse_deviation != nullptr ? static_cast<double>(inverse_deviation[c])
                                        : 1.0 / sqrt(static_cast<double>(variance[c]) + epsilon);
  }
};

/// x: of dL_dbeta, y: of dL_dgamma before its factor 1 / deviation.
template <typename T>
struct GradientTerms {
  const T* x;
  const T* dL_dy;
  const float* mean;
  __device__ double2 operator()(int64_t element, int64_t c) const {
    const double gradient = as_float(dL_dy[element]);
    return {gradient, gradient * (static_cast<double>(as_float(x[element])) - mean[c])};
  }
};

template <typename T>
struct SumTerms {
  const T* x;
  __device__ double2 operator()(int64_t element, int64_t) const {
    return {static_cast<double>(as_float(x[element])), 0.0};
  }
};

template <typename T>
struct VarianceTerms {
  const T* x;
  const double* mean;
  __device__ double2 operator()(int64_t element, int64_t c) const {
    const double away = static_cast<double>(as_float(x[element])) - mean[c];
    return {away * away, 0.0};
  }
};

/// A channel's part of dL_dx = scale (dL_dy - shift - (x - mean) slope).
struct ChannelFactors {
  float scale, shift, mean, slope;
};

__global__ void __launch_bounds__(kBlockThreads)
    join_gradients(const double2* __restrict__ sums, ChannelImages layout, ChannelStatistics statistics,
                   const float* gamma, bool of_batch, GradientOutput<float> dL_dgamma,
                   GradientOutput<float> dL_dbeta, ChannelFactors* __restrict__ factors) {
  const int64_t c = thread_index();
  if (c >= layout.channels) return;
  const double2 total = sum_images(sums, layout, c);
  const double inverse = statistics.inverse(c);
  const double gamma_sum = total.y * inverse;
  const double scale = (gamma != nullptr ? static_cast<double>(gamma[c]) : 1.0) * inverse;
  const double count = static_cast<double>(layout.images * layout.pixels);
  ChannelFactors of_channel = {static_cast<float>(scale), 0.0F, statistics.mean[c], 0.0F};
  if (of_batch) {
    of_channel.shift = static_cast<float>(total.x / count);
    of_channel.slope = static_cast<float>(inverse * gamma_sum / count);
  }
  factors[c] = of_channel;
  dL_dgamma.put(c, gamma_sum);
  dL_dbeta.put(c, total.x);
}

// dL_dy and dL_dx may be the same memory: no __restrict__.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    map_gradient(const T* x, const T* dL_dy, GradientOutput<T> dL_dx, ChannelImages layout,
                 const ChannelFactors* factors) {
  const int64_t i = thread_index();
  if (i >= layout.images * layout.channels * layout.pixels) return;
  const int64_t c = channel_of(layout, i);
  const ChannelFactors f = factors[c];
  dL_dx.put(i, f.scale * (as_float(dL_dy[i]) - f.shift - (as_float(x[i]) - f.mean) * f.slope));
}

/// Both gradients: `of_batch` says that the statistics depend on x.
template <typename Args>
void backward(GpuDevice& device, const char* name, const Args& args, const ChannelStatistics& statistics,
              bool of_batch) {
  const ChannelImages layout = channel_images(args.x);
  const Storage sums_storage = channel_sums_storage(device, layout, name);
  const Storage factors_storage(
      device, checked_mul(layout.channels, static_cast<int64_t>(sizeof(ChannelFactors))), name);
  auto* sums = static_cast<double2*>(sums_storage.data());
  auto* factors = static_cast<ChannelFactors*>(factors_storage.data());
  with_image_type(args.x.dtype(), [&](auto type) {
    using T = decltype(type);
    const auto* x = static_cast<const T*>(args.x.raw());
    const auto* dL_dy = static_cast<const T*>(args.dL_dy.raw());
    launch_sum_channels(device, GradientTerms<T>{x, dL_dy, statistics.mean}, layout, sums);
    PANDA_LAUNCH(join_gradients, grid_for(layout.channels, kBlockThreads), dim3(kBlockThreads), 0, device,
                 sums, layout, statistics, args.gamma.present() ? args.gamma.template data<float>() : nullptr,
                 of_batch, gradient_output<float>(args.dL_dgamma), gradient_output<float>(args.dL_dbeta),
                 factors);
    if (!args.dL_dx.wanted() || args.x.numel() == 0) return;
    PANDA_LAUNCH((map_gradient<T>), grid_for(args.x.numel(), kBlockThreads), dim3(kBlockThreads), 0, device,
                 x, dL_dy, gradient_output<T>(args.dL_dx), layout, factors);
  });
}

__global__ void __launch_bounds__(kBlockThreads)
    join_mean(const double2* __restrict__ sums, ChannelImages layout, double* __restrict__ mean) {
  const int64_t c = thread_index();
  if (c >= layout.channels) return;
  mean[c] = sum_images(sums, layout, c).x / static_cast<double>(layout.images * layout.pixels);
}

/// What the training forward pass leaves behind, besides y.
struct BatchStatistics {
  const float* gamma;  ///< these two nullptr: 1 and 0
  const float* beta;
  float* mean;
  float* inverse_deviation;
  float* running_mean;  ///< these two nullptr: not kept
  float* running_variance;
  double epsilon, momentum;
};

__global__ void __launch_bounds__(kBlockThreads)
    join_variance(const double2* __restrict__ sums, ChannelImages layout, const double* __restrict__ mean,
                  BatchStatistics batch) {
  const int64_t c = thread_index();
  if (c >= layout.channels) return;
  const double squares = sum_images(sums, layout, c).x;
  const double count = static_cast<double>(layout.images * layout.pixels);
  batch.mean[c] = static_cast<float>(mean[c]);
  batch.inverse_deviation[c] = static_cast<float>(1.0 / sqrt(squares / count + batch.epsilon));
  if (batch.running_mean == nullptr) return;
  const double unbiased = count > 1 ? squares / (count - 1) : 0.0;
  const double kept = 1 - batch.momentum;
  batch.running_mean[c] = static_cast<float>(kept * batch.running_mean[c] + batch.momentum * mean[c]);
  batch.running_variance[c] =
      static_cast<float>(kept * batch.running_variance[c] + batch.momentum * unbiased);
}

template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    normalize_channels(const T* __restrict__ x, T* __restrict__ y, ChannelImages layout,
                       BatchStatistics batch) {
  const int64_t i = thread_index();
  if (i >= layout.images * layout.channels * layout.pixels) return;
  const int64_t c = channel_of(layout, i);
  const float scale = batch.inverse_deviation[c] * (batch.gamma != nullptr ? batch.gamma[c] : 1.0F);
  const float shift = batch.beta != nullptr ? batch.beta[c] : 0.0F;
  y[i] = from_float<T>((as_float(x[i]) - batch.mean[c]) * scale + shift);
}

float* data_or_null(const TensorView& view) {
  return view.present() ? view.data<float>() : nullptr;
}
const float* data_or_null(const ConstTensorView& view) {
  return view.present() ? view.data<float>() : nullptr;
}

}  // namespace

void batch_norm_backward(Device& base, const BatchNormBackwardArgs& args) {
  backward(gpu_device(base), "batch_norm_backward", args,
           {args.mean.data<float>(), args.variance.data<float>(), nullptr, args.epsilon}, false);
}

void batch_norm_training_backward(Device& base, const BatchNormTrainingBackwardArgs& args) {
  backward(gpu_device(base), "batch_norm_training_backward", args,
           {args.mean.data<float>(), nullptr, args.inverse_deviation.data<float>(), 0.0}, true);
}

void batch_norm_training_forward(Device& base, const BatchNormTrainingForwardArgs& args) {
  constexpr const char* kName = "batch_norm_training_forward";
  GpuDevice& device = gpu_device(base);
  const ChannelImages layout = channel_images(args.x);
  const Storage sums_storage = channel_sums_storage(device, layout, kName);
  const Storage mean_storage(device, checked_mul(layout.channels, static_cast<int64_t>(sizeof(double))),
                             kName);
  auto* sums = static_cast<double2*>(sums_storage.data());
  auto* mean = static_cast<double*>(mean_storage.data());
  const BatchStatistics batch = {data_or_null(args.gamma),
                                 data_or_null(args.beta),
                                 args.mean.data<float>(),
                                 args.inverse_deviation.data<float>(),
                                 data_or_null(args.running_mean),
                                 data_or_null(args.running_variance),
                                 args.epsilon,
                                 args.momentum};
  const dim3 channel_grid = grid_for(layout.channels, kBlockThreads);
  const dim3 block(kBlockThreads);
  with_image_type(args.x.dtype(), [&](auto type) {
    using T = decltype(type);
    const auto* x = static_cast<const T*>(args.x.raw());
    launch_sum_channels(device, SumTerms<T>{x}, layout, sums);
    PANDA_LAUNCH(join_mean, channel_grid, block, 0, device, sums, layout, mean);
    launch_sum_channels(device, VarianceTerms<T>{x, mean}, layout, sums);
    PANDA_LAUNCH(join_variance, channel_grid, block, 0, device, sums, layout, mean, batch);
    PANDA_LAUNCH((normalize_channels<T>), grid_for(args.x.numel(), kBlockThreads), block, 0, device, x,
                 static_cast<T*>(args.y.raw()), layout, batch);
  });
}

}  // namespace panda::kernels::PANDA_TARGET
