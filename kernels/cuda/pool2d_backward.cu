// max_pool2d_backward, avg_pool2d_backward, global_avg_pool2d_backward, upsample_nearest2d_forward and
// _backward (kernels/pool2d.h).
//
// WHAT    each element of dL_dx (of y, enlarging) gathers what it gets: no two threads write one place
// READS   dL_dy, each element in every window's element; maximum: also x, up to ceil(window/stride)^2 windows
//         an element, from L1 or L2 but the first time · WRITES dL_dx
// FLOPS   one an element of a window
// LAUNCH  one thread an element, in the order of memory
// LIMITS  2^31 blocks of 256 elements; sums are f32, over the windows in row-major order
// SOURCE  kernels/pool2d.h; ties and NaN as there
#include "kernels/cuda/gpu_kernels.h"
#include "kernels/cuda/gradient_output.cuh"
#include "kernels/pool2d.h"

namespace panda::kernels::PANDA_TARGET {

namespace {

/// The windows along one axis that hold a place: first and one past the last.
struct PlaceWindows {
  int64_t begin, end;
};
__device__ PlaceWindows windows_of(int64_t place, int64_t window, int64_t stride, int64_t pad,
                                   int64_t windows) {
  int64_t rest;
  const int64_t padded = place + pad;
  const int64_t begin = padded < window ? 0 : divide(padded - window, stride, rest) + 1;
  const int64_t end = divide(padded, stride, rest) + 1;
  return {begin, end < windows ? end : windows};
}

/// True if (h, w) is the element that window (p, q) of a plane takes: the first largest, or the last NaN.
template <typename T>
__device__ bool is_largest(const T* plane, const ImageLayout& layout, const Pool2dGeometry& g, int64_t p,
                           int64_t q, int64_t h, int64_t w) {
  int64_t best_h = -1;
  int64_t best_w = -1;
  float largest = 0;
  for (int64_t r = 0; r < g.window_h; ++r) {
    const int64_t at_h = p * g.stride_h - g.pad_h + r;
    if (at_h < 0 || at_h >= layout.extent_h) continue;
    for (int64_t s = 0; s < g.window_w; ++s) {
      const int64_t at_w = q * g.stride_w - g.pad_w + s;
      if (at_w < 0 || at_w >= layout.extent_w) continue;
      const float value = as_float(plane[at_h * layout.stride_h + at_w * layout.stride_w]);
      if (best_h >= 0 && !(value > largest) && value == value) continue;
      best_h = at_h;
      best_w = at_w;
      largest = value;
    }
  }
  return best_h == h && best_w == w;
}

/// Blocks of gather_windows that a multiprocessor must be able to hold: with less than the 80 registers that
/// this leaves a thread, the maximum's windows spill on sm_75 and sm_80.
constexpr int kGatherBlocks = 3;

template <bool kMax, typename T>
__global__ void __launch_bounds__(kBlockThreads, kGatherBlocks)
    gather_windows(const T* __restrict__ x, const T* __restrict__ dL_dy, ImageLayout y_layout,
                   GradientOutput<T> dL_dx, ImageLayout x_layout, Pool2dGeometry g, int64_t count) {
  const int64_t index = thread_index();
  if (index >= count) return;
  const ImagePlace at = place_of<1>(x_layout, index);
  const PlaceWindows rows = windows_of(at.h, g.window_h, g.stride_h, g.pad_h, y_layout.extent_h);
  const PlaceWindows columns = windows_of(at.w, g.window_w, g.stride_w, g.pad_w, y_layout.extent_w);
  const int64_t plane = at.n * x_layout.stride_n + at.c * x_layout.stride_c;
  const auto share = static_cast<float>(g.window_h * g.window_w);
  float sum = 0;
  for (int64_t p = rows.begin; p < rows.end; ++p) {
    for (int64_t q = columns.begin; q < columns.end; ++q) {
      const float gradient = as_float(dL_dy[offset_of(y_layout, {at.n, at.c, p, q})]);
      if constexpr (kMax) {
        if (is_largest(x + plane, x_layout, g, p, q, at.h, at.w)) sum += gradient;
      } else {
        sum += gradient / share;
      }
    }
  }
  dL_dx.put(index, sum);
}

template <bool kMax>
void backward(GpuDevice& device, const Pool2dBackwardArgs& args) {
  const int64_t count = args.dL_dx.view.numel();
  with_image_type(args.dL_dy.dtype(), [&](auto type) {
    using T = decltype(type);
    PANDA_LAUNCH((gather_windows<kMax, T>), grid_for(count, kBlockThreads), dim3(kBlockThreads), 0, device,
                 kMax ? static_cast<const T*>(args.x.raw()) : nullptr,
                 static_cast<const T*>(args.dL_dy.raw()), image_layout(args.dL_dy),
                 gradient_output<T>(args.dL_dx), image_layout(args.dL_dx.view), args.geometry, count);
  });
}

template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    spread_mean(const float* __restrict__ dL_dy, GradientOutput<T> dL_dx, ImageLayout layout, int64_t count) {
  const int64_t index = thread_index();
  if (index >= count) return;
  const ImagePlace at = place_of<1>(layout, index);
  dL_dx.put(index,
            dL_dy[at.n * layout.extent_c + at.c] / static_cast<float>(layout.extent_h * layout.extent_w));
}

template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    enlarge(const T* __restrict__ x, ImageLayout x_layout, T* __restrict__ y, ImageLayout y_layout,
            int64_t scale_h, int64_t scale_w, int64_t count) {
  const int64_t index = thread_index();
  if (index >= count) return;
  ImagePlace at = place_of<1>(y_layout, index);
  int64_t rest;
  at.h = divide(at.h, scale_h, rest);
  at.w = divide(at.w, scale_w, rest);
  y[index] = x[offset_of(x_layout, at)];
}

template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    gather_enlarged(const T* __restrict__ dL_dy, ImageLayout y_layout, GradientOutput<T> dL_dx,
                    ImageLayout x_layout, int64_t scale_h, int64_t scale_w, int64_t count) {
  const int64_t index = thread_index();
  if (index >= count) return;
  const ImagePlace at = place_of<1>(x_layout, index);
  float sum = 0;
  for (int64_t i = 0; i < scale_h; ++i) {
    for (int64_t j = 0; j < scale_w; ++j)
      sum += as_float(dL_dy[offset_of(y_layout, {at.n, at.c, at.h * scale_h + i, at.w * scale_w + j})]);
  }
  dL_dx.put(index, sum);
}

}  // namespace

void max_pool2d_backward(Device& base, const Pool2dBackwardArgs& args) {
  backward<true>(gpu_device(base), args);
}

void avg_pool2d_backward(Device& base, const Pool2dBackwardArgs& args) {
  backward<false>(gpu_device(base), args);
}

void global_avg_pool2d_backward(Device& base, const GlobalAvgPool2dBackwardArgs& args) {
  const TensorView& dL_dx = args.dL_dx.view;
  with_image_type(dL_dx.dtype(), [&](auto type) {
    using T = decltype(type);
    PANDA_LAUNCH((spread_mean<T>), grid_for(dL_dx.numel(), kBlockThreads), dim3(kBlockThreads), 0,
                 gpu_device(base), args.dL_dy.data<float>(), gradient_output<T>(args.dL_dx),
                 image_layout(dL_dx), dL_dx.numel());
  });
}

void upsample_nearest2d_forward(Device& base, const UpsampleNearest2dForwardArgs& args) {
  with_image_type(args.x.dtype(), [&](auto type) {
    using T = decltype(type);
    PANDA_LAUNCH((enlarge<T>), grid_for(args.y.numel(), kBlockThreads), dim3(kBlockThreads), 0,
                 gpu_device(base), static_cast<const T*>(args.x.raw()), image_layout(args.x),
                 static_cast<T*>(args.y.raw()), image_layout(args.y), args.scale_h, args.scale_w,
                 args.y.numel());
  });
}

void upsample_nearest2d_backward(Device& base, const UpsampleNearest2dBackwardArgs& args) {
  const TensorView& dL_dx = args.dL_dx.view;
  with_image_type(dL_dx.dtype(), [&](auto type) {
    using T = decltype(type);
    PANDA_LAUNCH((gather_enlarged<T>), grid_for(dL_dx.numel(), kBlockThreads), dim3(kBlockThreads), 0,
                 gpu_device(base), static_cast<const T*>(args.dL_dy.raw()), image_layout(args.dL_dy),
                 gradient_output<T>(args.dL_dx), image_layout(dL_dx), args.scale_h, args.scale_w,
                 dL_dx.numel());
  });
}

}  // namespace panda::kernels::PANDA_TARGET
