// bias_backward (kernels/conv2d_backward.h): sums of a gradient over pixels, per image and over the batch.
//
// WHAT    b[n,k] = sum_{p,q} dL_dy[n,k,p,q] · dL_dbias[k] = sum_n b · squares[k] = sum_n b^2 · per_sample = b
// READS   dL_dy once, 16 B an image and channel twice · WRITES the gradients
// FLOPS   one f64 addition an element
// LAUNCH  channel_sums.cuh, then a thread a channel
// LIMITS  2^31 blocks
// SOURCE  kernels/conv2d_backward.h
#include "kernels/conv2d_backward.h"
#include "kernels/cuda/channel_sums.cuh"
#include "kernels/cuda/gpu_kernels.h"

namespace panda::kernels::PANDA_TARGET {

namespace {

template <typename T>
struct BiasTerms {
  const T* dL_dy;
  __device__ double2 operator()(int64_t element, int64_t) const {
    return {static_cast<double>(as_float(dL_dy[element])), 0.0};
  }
};

__global__ void __launch_bounds__(kBlockThreads)
    join_bias(const double2* __restrict__ sums, ChannelImages layout, GradientOutput<float> dL_dbias,
              GradientOutput<float> squares, float* __restrict__ per_sample) {
  const int64_t k = thread_index();
  if (k >= layout.channels) return;
  double sum = 0;
  double sum_of_squares = 0;
  for (int64_t n = 0; n < layout.images; ++n) {
    const double of_sample = sums[n * layout.channels + k].x;
    sum += of_sample;
    sum_of_squares += of_sample * of_sample;
    if (per_sample != nullptr) per_sample[n * layout.channels + k] = static_cast<float>(of_sample);
  }
  dL_dbias.put(k, sum);
  squares.put(k, sum_of_squares);
}

}  // namespace

void bias_backward(Device& base, const BiasBackwardArgs& args) {
  GpuDevice& device = gpu_device(base);
  const ChannelImages layout = channel_images(args.dL_dy);
  const Storage storage = channel_sums_storage(device, layout, "bias_backward");
  auto* sums = static_cast<double2*>(storage.data());
  with_image_type(args.dL_dy.dtype(), [&](auto type) {
    using T = decltype(type);
    launch_sum_channels(device, BiasTerms<T>{static_cast<const T*>(args.dL_dy.raw())}, layout, sums);
  });
  PANDA_LAUNCH(join_bias, grid_for(layout.channels, kBlockThreads), dim3(kBlockThreads), 0, device, sums,
               layout, gradient_output<float>(args.dL_dbias), gradient_output<float>(args.squares),
               args.per_sample.present() ? args.per_sample.data<float>() : nullptr);
}

}  // namespace panda::kernels::PANDA_TARGET
