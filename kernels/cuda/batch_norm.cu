// batch_norm_forward (kernels/batch_norm.h): an affine map per channel.
//
// WHAT    y = (x - mean[c]) * (gamma[c] / sqrt(variance[c] + epsilon)) + beta[c], N,C,H,W
// READS   x, and four f32 a channel and thread (from L2) · WRITES y
// FLOPS   3 an element
// LAUNCH  channels last: one thread a pack of channels (16 B, or one channel where C or a pointer does not
//         allow it) of up to kPixelsPerThread pixels, so that the factor's root and division are shared by
//         them · other layouts: one thread an element, in the order of y's memory
// LIMITS  in place only where the layouts are equal (the public call checks it)
// SOURCE  Ioffe, Szegedy 2015, algorithm 2
#include "kernels/batch_norm.h"

#include <type_traits>

#include "kernels/cuda/gpu_kernels.h"
#include "kernels/cuda/work.cuh"

namespace panda::kernels::PANDA_TARGET {

namespace {

/// Enough to make the 30-odd instructions of a factor cheap beside the pixels' traffic; few enough that a
/// batch of one 7x7 image still fills a warp per channel pack.
constexpr int64_t kPixelsPerThread = 8;

struct ChannelMap {
  const float* gamma;
  const float* beta;
  const float* mean;
  const float* variance;
  float epsilon;
};

__device__ float factor_of(const ChannelMap& map, int64_t c) {
  return map.gamma[c] / sqrtf(map.variance[c] + map.epsilon);
}

// x and y may be the same memory: no __restrict__.
template <typename T, int kPack>
__global__ void __launch_bounds__(kBlockThreads)
    batch_norm_channels_last(const T* x, T* y, ChannelMap map, int64_t pixels, int64_t channels) {
  const int64_t packs = channels / kPack;
  const int64_t groups = (pixels + kPixelsPerThread - 1) / kPixelsPerThread;
  int64_t c;
  const int64_t group = divide(thread_index(), packs, c);
  if (group >= groups) return;
  c *= kPack;
  float factor[kPack], mean[kPack], beta[kPack];
  for (int i = 0; i < kPack; ++i) {
    factor[i] = factor_of(map, c + i);
    mean[i] = map.mean[c + i];
    beta[i] = map.beta[c + i];
  }
  // A step of all groups: neighbouring threads stay neighbours in memory.
  for (int64_t pixel = group; pixel < pixels; pixel += groups) {
    Pack<T, kPack> pack = load_pack<kPack>(x + pixel * channels + c);
    for (int i = 0; i < kPack; ++i)
      pack.at[i] = from_float<T>((as_float(pack.at[i]) - mean[i]) * factor[i] + beta[i]);
    store_pack(y + pixel * channels + c, pack);
  }
}

template <typename TX, typename TY>
__global__ void __launch_bounds__(kBlockThreads)
    batch_norm_any(const TX* x, ImageLayout x_layout, TY* y, ImageLayout y_layout, ChannelMap map,
                   int64_t count) {
  const int64_t index = thread_index();
  if (index >= count) return;
  const ImagePlace at = place_of<1>(y_layout, index);
  const float value = as_float(x[offset_of(x_layout, at)]);
  y[index] = from_float<TY>((value - map.mean[at.c]) * factor_of(map, at.c) + map.beta[at.c]);
}

template <typename T, int kPack>
void launch_channels_last(GpuDevice& device, const BatchNormForwardArgs& args, const ChannelMap& map) {
  const Shape& shape = args.x.shape();
  const int64_t pixels = shape[0] * shape[2] * shape[3];
  const int64_t threads = ceil_div(pixels, kPixelsPerThread) * (shape[1] / kPack);
  PANDA_LAUNCH((batch_norm_channels_last<T, kPack>), grid_for(threads, kBlockThreads), dim3(kBlockThreads), 0,
               device, static_cast<const T*>(args.x.raw()), static_cast<T*>(args.y.raw()), map, pixels,
               shape[1]);
}

}  // namespace

void batch_norm_forward(Device& base, const BatchNormForwardArgs& args) {
  GpuDevice& device = gpu_device(base);
  const ChannelMap map = {args.gamma.data<float>(), args.beta.data<float>(), args.mean.data<float>(),
                          args.variance.data<float>(), static_cast<float>(args.epsilon)};
  const bool channels_last =
      args.x.layout() == Layout::kChannelsLast && args.y.layout() == Layout::kChannelsLast;
  with_image_types(args.x.dtype(), args.y.dtype(), [&](auto from, auto to) {
    using TX = decltype(from);
    using TY = decltype(to);
    if constexpr (std::is_same_v<TX, TY>) {
      if (channels_last) {
        const bool whole = args.x.shape()[1] % kPackOf<TX> == 0;
        if (whole && packs_fit(args.x.raw(), 16) && packs_fit(args.y.raw(), 16))
          return launch_channels_last<TX, kPackOf<TX>>(device, args, map);
        return launch_channels_last<TX, 1>(device, args, map);
      }
    }
    PANDA_LAUNCH((batch_norm_any<TX, TY>), grid_for(args.y.numel(), kBlockThreads), dim3(kBlockThreads), 0,
                 device, static_cast<const TX*>(args.x.raw()), image_layout(args.x),
                 static_cast<TY*>(args.y.raw()), image_layout(args.y), map, args.y.numel());
  });
}

}  // namespace panda::kernels::PANDA_TARGET
