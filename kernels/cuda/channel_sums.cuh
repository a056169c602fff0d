// Sums over the pixels of each image and channel, in f64: what the gradients of a bias and of a batch norm
// have in common.
//
// WHAT    sums[n,c] = sum_{h,w} terms(element, c), a pair of sums
// READS   what the terms read, once · WRITES 16 B an image and channel
// LAUNCH  a block of 256 threads an image and 32 channels (channels last) or one channel (dense), so that
//         neighbouring lanes read neighbouring elements
// ORDER   a thread adds its pixels in rising order, then a tree adds the threads: the same bits whatever the
//         grid. Who needs a sum over the images adds them in rising order.
#pragma once

#include "kernels/cuda/gradient_output.cuh"

namespace panda::kernels::PANDA_TARGET {

/// N images of C channels and `pixels` pixels; rows of a matrix are images of one pixel.
struct ChannelImages {
  int64_t images, channels, pixels;
  int64_t stride_n, stride_c, stride_pixel;  ///< elements
  bool channels_last;
};
inline ChannelImages channel_images(const ConstTensorView& view) {
  const Shape& s = view.shape();
  if (s.rank() == 2) return {s[0], s[1], 1, s[1], 1, s[1], true};
  const int64_t pixels = s[2] * s[3];
  if (view.layout() == Layout::kChannelsLast) return {s[0], s[1], pixels, s[1] * pixels, 1, s[1], true};
  return {s[0], s[1], pixels, s[1] * pixels, pixels, 1, false};
}

/// The channel of element number i in memory.
__device__ inline int64_t channel_of(const ChannelImages& layout, int64_t i) {
  int64_t c;
  if (layout.channels_last) {
    divide(i, layout.channels, c);
  } else {
    int64_t pixel;
    divide(divide(i, layout.pixels, pixel), layout.channels, c);
  }
  return c;
}

template <typename Terms, int kChannels>
__global__ void __launch_bounds__(kBlockThreads)
    sum_channels(const Terms terms, const ChannelImages layout, double2* __restrict__ sums) {
  constexpr int kRows = kBlockThreads / kChannels;
  PANDA_SHARED(double2, shared, [kBlockThreads]);
  int64_t channel_block;
  const int64_t n = divide(blockIdx.x, (layout.channels + kChannels - 1) / kChannels, channel_block);
  const int thread = static_cast<int>(threadIdx.x);
  const int row = thread / kChannels;
  const int64_t c = channel_block * kChannels + thread % kChannels;
  double2 sum = {0.0, 0.0};
  if (c < layout.channels) {
    const int64_t begin = n * layout.stride_n + c * layout.stride_c;
    for (int64_t pixel = row; pixel < layout.pixels; pixel += kRows) {
      const double2 term = terms(begin + pixel * layout.stride_pixel, c);
      sum.x += term.x;
      sum.y += term.y;
    }
  }
  shared[thread] = sum;
  for (int step = kRows / 2; step >= 1; step /= 2) {
    __syncthreads();  // the sums of the step before are there
    if (row < step) {
      sum.x += shared[thread + step * kChannels].x;
      sum.y += shared[thread + step * kChannels].y;
      shared[thread] = sum;
    }
  }
  if (row == 0 && c < layout.channels) sums[n * layout.channels + c] = sum;
}

/// sums: images x channels. No images or no pixels: nothing is launched or the sums are zeros.
template <typename Terms>
void launch_sum_channels(GpuDevice& device, const Terms& terms, const ChannelImages& layout, double2* sums) {
  constexpr int kLast = kWarpThreads;
  const int64_t per_image = layout.channels_last ? ceil_div(layout.channels, kLast) : layout.channels;
  const int64_t blocks = checked_mul(layout.images, per_image);
  if (blocks == 0) return;
  if (layout.channels_last) {
    PANDA_LAUNCH((sum_channels<Terms, kLast>), grid_for(blocks, 1), dim3(kBlockThreads), 0, device, terms,
                 layout, sums);
  } else {
    PANDA_LAUNCH((sum_channels<Terms, 1>), grid_for(blocks, 1), dim3(kBlockThreads), 0, device, terms, layout,
                 sums);
  }
}

/// The sum over the images, in rising order.
__device__ inline double2 sum_images(const double2* sums, const ChannelImages& layout, int64_t c) {
  double2 total = {0.0, 0.0};
  for (int64_t n = 0; n < layout.images; ++n) {
    total.x += sums[n * layout.channels + c].x;
    total.y += sums[n * layout.channels + c].y;
  }
  return total;
}

/// Memory for launch_sum_channels.
inline Storage channel_sums_storage(Device& device, const ChannelImages& layout, const char* kernel) {
  return {device, checked_mul(checked_mul(layout.images, layout.channels), sizeof(double2)), kernel};
}

}  // namespace panda::kernels::PANDA_TARGET
