// max_pool2d_forward, avg_pool2d_forward, global_avg_pool2d_forward (kernels/pool2d.h).
//
// WHAT    x: N,C,H,W -> y: N,C,P,Q (windows), N,C (whole image)
// READS   windows: x, each element in up to ceil(window/stride)^2 windows, from L1 or L2 but the first time;
//         whole image: x once · WRITES y
// FLOPS   one an element of a window
// LAUNCH  windows: one thread an element of y, or a pack of channels (16 B) where both sides are channels
// last
//         and C and the pointers allow it, in the order of y's memory
//         whole image, channels last: a block of 32 channel packs x 8 rows of pixels, whose sums are added in
//         the rows' order; dense: a warp a plane
// LIMITS  sums are f32: 8 or 32 partial sums of the whole image, in a fixed order
// SOURCE  kernels/pool2d.h
#include "kernels/pool2d.h"

#include <type_traits>

#include "kernels/cuda/gpu_kernels.h"
#include "kernels/cuda/work.cuh"

namespace panda::kernels::PANDA_TARGET {

namespace {

constexpr int kPixelRows = kBlockThreads / kWarpThreads;
/// Blocks of pool_windows that share a multiprocessor: 1024 threads hide the loads' latency, and each may
/// have 64 registers.
constexpr int kWindowBlocks = 4;

/// Begin and end of a window along one axis, cut to the image.
struct WindowRange {
  int64_t begin, end;
};
__device__ WindowRange window_range(int64_t place, int64_t window, int64_t stride, int64_t pad,
                                    int64_t extent) {
  const int64_t begin = place * stride - pad;
  const int64_t end = begin + window;
  return {begin < 0 ? 0 : begin, end < extent ? end : extent};
}

template <bool kMax, typename TX, typename TY, int kPack>
__global__ void __launch_bounds__(kBlockThreads, kWindowBlocks)
    pool_windows(const TX* __restrict__ x, ImageLayout x_layout, TY* __restrict__ y, ImageLayout y_layout,
                 Pool2dGeometry geometry, float divisor, int64_t count) {
  const int64_t index = thread_index();
  if (index >= count) return;
  const ImagePlace at = place_of<kPack>(y_layout, index);
  const WindowRange rows =
      window_range(at.h, geometry.window_h, geometry.stride_h, geometry.pad_h, x_layout.extent_h);
  const WindowRange columns =
      window_range(at.w, geometry.window_w, geometry.stride_w, geometry.pad_w, x_layout.extent_w);
  float result[kPack];
  for (float& one : result) one = kMax ? -INFINITY : 0.0F;
  for (int64_t h = rows.begin; h < rows.end; ++h) {
    const TX* from = x + offset_of(x_layout, {at.n, at.c, h, columns.begin});
    for (int64_t w = columns.begin; w < columns.end; ++w, from += x_layout.stride_w) {
      const Pack<TX, kPack> pack = load_pack<kPack>(from);
      for (int i = 0; i < kPack; ++i) {
        const float value = as_float(pack.at[i]);
        if (!kMax) {
          result[i] += value;
        } else if (value > result[i] || value != value) {  // a comparison: fmaxf would lose a NaN
          result[i] = value;
        }
      }
    }
  }
  Pack<TY, kPack> out;
  for (int i = 0; i < kPack; ++i) out.at[i] = from_float<TY>(kMax ? result[i] : result[i] / divisor);
  store_pack(y + index * kPack, out);
}

/// x: images of `pixels` x `channels` · y: images x channels.
template <typename T, int kPack>
__global__ void __launch_bounds__(kBlockThreads)
    average_channels_last(const T* __restrict__ x, float* __restrict__ y, int64_t pixels, int64_t channels) {
  PANDA_SHARED(float, sums, [kPixelRows][kWarpThreads * kPack]);
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int row = static_cast<int>(threadIdx.x) / kWarpThreads;
  int64_t column_block;
  const int64_t image =
      divide(blockIdx.x, (channels + kWarpThreads * kPack - 1) / (kWarpThreads * kPack), column_block);
  const int64_t first = column_block * kWarpThreads * kPack;
  const int64_t c = first + lane * kPack;
  float sum[kPack] = {};
  if (c < channels) {
    const T* from = x + image * pixels * channels + c;
    for (int64_t pixel = row; pixel < pixels; pixel += kPixelRows) {
      const Pack<T, kPack> pack = load_pack<kPack>(from + pixel * channels);
      for (int i = 0; i < kPack; ++i) sum[i] += as_float(pack.at[i]);
    }
  }
  for (int i = 0; i < kPack; ++i) sums[row][lane * kPack + i] = sum[i];
  __syncthreads();  // all rows' sums are there before they are added
  for (int i = static_cast<int>(threadIdx.x); i < kWarpThreads * kPack; i += kBlockThreads) {
    float total = 0;
    for (int r = 0; r < kPixelRows; ++r) total += sums[r][i];
    if (first + i < channels) y[image * channels + first + i] = total / static_cast<float>(pixels);
  }
}

/// x: f32 planes of `pixels` · y: planes.
__global__ void __launch_bounds__(kBlockThreads)
    average_planes(const float* __restrict__ x, float* __restrict__ y, int64_t planes, int64_t pixels) {
  const int64_t plane = thread_index() / kWarpThreads;
  if (plane >= planes) return;  // whole warps
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  float sum = 0;
  for (int64_t pixel = lane; pixel < pixels; pixel += kWarpThreads) sum += x[plane * pixels + pixel];
  for (int step = kWarpThreads / 2; step >= 1; step /= 2) sum += __shfl_xor_sync(kWholeWarp, sum, step);
  if (lane == 0) y[plane] = sum / static_cast<float>(pixels);
}

template <bool kMax, typename TX, typename TY, int kPack>
void launch_windows(GpuDevice& device, const Pool2dForwardArgs& args) {
  const Pool2dGeometry& g = args.geometry;
  const int64_t count = args.y.numel() / kPack;
  PANDA_LAUNCH((pool_windows<kMax, TX, TY, kPack>), grid_for(count, kBlockThreads), dim3(kBlockThreads), 0,
               device, static_cast<const TX*>(args.x.raw()), image_layout(args.x),
               static_cast<TY*>(args.y.raw()), image_layout(args.y), g,
               static_cast<float>(g.window_h * g.window_w), count);
}

template <bool kMax>
void pool2d(GpuDevice& device, const Pool2dForwardArgs& args) {
  const bool channels_last =
      args.x.layout() == Layout::kChannelsLast && args.y.layout() == Layout::kChannelsLast;
  with_image_types(args.x.dtype(), args.y.dtype(), [&](auto from, auto to) {
    using TX = decltype(from);
    using TY = decltype(to);
    if constexpr (std::is_same_v<TX, TY>) {
      if (channels_last && args.x.shape()[1] % kPackOf<TX> == 0 && packs_fit(args.x.raw(), 16) &&
          packs_fit(args.y.raw(), 16))
        return launch_windows<kMax, TX, TY, kPackOf<TX>>(device, args);
    }
    launch_windows<kMax, TX, TY, 1>(device, args);
  });
}

template <typename T, int kPack>
void launch_average(GpuDevice& device, const GlobalAvgPool2dForwardArgs& args) {
  const Shape& shape = args.x.shape();
  const int64_t blocks = checked_mul(shape[0], ceil_div(shape[1], kWarpThreads * kPack));
  PANDA_LAUNCH((average_channels_last<T, kPack>), grid_for(blocks, 1), dim3(kBlockThreads), 0, device,
               static_cast<const T*>(args.x.raw()), args.y.data<float>(), shape[2] * shape[3], shape[1]);
}

template <typename T>
void average_layout(GpuDevice& device, const GlobalAvgPool2dForwardArgs& args) {
  if (args.x.shape()[1] % kPackOf<T> == 0 && packs_fit(args.x.raw(), 16))
    return launch_average<T, kPackOf<T>>(device, args);
  launch_average<T, 1>(device, args);
}

}  // namespace

void max_pool2d_forward(Device& base, const Pool2dForwardArgs& args) {
  pool2d<true>(gpu_device(base), args);
}

void avg_pool2d_forward(Device& base, const Pool2dForwardArgs& args) {
  pool2d<false>(gpu_device(base), args);
}

void global_avg_pool2d_forward(Device& base, const GlobalAvgPool2dForwardArgs& args) {
  GpuDevice& device = gpu_device(base);
  if (args.x.layout() == Layout::kDense) {
    const int64_t planes = args.y.numel();
    PANDA_LAUNCH(average_planes, grid_for(planes, kBlockThreads / kWarpThreads), dim3(kBlockThreads), 0,
                 device, args.x.data<float>(), args.y.data<float>(), planes,
                 args.x.shape()[2] * args.x.shape()[3]);
    return;
  }
  switch (args.x.dtype()) {
    case DType::kF16:
      return average_layout<Float16>(device, args);
    case DType::kBF16:
      return average_layout<BFloat16>(device, args);
    default:
      return average_layout<float>(device, args);
  }
}

}  // namespace panda::kernels::PANDA_TARGET
