// conv2d_prepare_transposed_filter, conv2d_backward_input (kernels/conv2d_backward.h): forward convolutions
// of dL_dy with turned filters, by implicit_gemm.cuh.
//
// WHAT   Input row h is read through tap r by output row p = (h + pad - r) / stride, where that is whole.
//        Rows of one phase a = (h + pad) mod stride use the taps a, a + stride, ... alone: with
//        h = stride j + a - pad and r = a + stride t it is p = j - t, a convolution of stride 1 with the
//        phase's taps in reverse order. Stride 1 is one convolution straight into dL_dx (mode accumulate:
//        with dL_dx as its residual); other strides have a convolution a phase, whose f32 result a second
//        kernel spreads over dL_dx. No product with a zero that a stride put there is made.
// READS  dL_dy through the windows, the filters · WRITES dL_dx; with a stride also a phase's result, twice
// FLOPS  2 N P Q K C R S, rounded up to tiles
// LAUNCH conv2d.cuh; turning and spreading: a thread an element
// LIMITS those of conv2d_forward
// ORDER  that of conv2d_forward: an image's gradient does not depend on the rest of the batch
// SOURCE kernels/conv2d_backward.h
#include "kernels/conv2d_backward.h"
#include "kernels/cuda/conv2d.cuh"
#include "kernels/cuda/gpu_kernels.h"
#include "kernels/cuda/gradient_output.cuh"

namespace panda::kernels::PANDA_TARGET {

namespace {

/// One axis of one phase.
struct Phase {
  int64_t taps;   ///< of the forward filter: first, first + stride, ...
  int64_t pad;    ///< of the phase's convolution; may be negative
  int64_t begin;  ///< first place in dL_dx; the next ones follow at `stride`

  [[nodiscard]] int64_t count(int64_t extent, int64_t stride) const {
    return begin < extent ? (extent - 1 - begin) / stride + 1 : 0;
  }
};

Phase phase_of(int64_t a, int64_t taps, int64_t stride, int64_t pad) {
  const int64_t count = a < taps ? (taps - 1 - a) / stride + 1 : 0;
  const int64_t first = pad > a ? ceil_div(pad - a, stride) : 0;  // smallest j with h >= 0
  return {count, count - 1 - first, stride * first + a - pad};
}

/// turned[c,k,u,v] = filter[k,c, a_h + stride_h (taps_h - 1 - u), a_w + stride_w (taps_w - 1 - v)].
struct TurnedFilter {
  const float* filter;
  float* turned;
  int64_t k, c, r, s;
  int64_t a_h, a_w, stride_h, stride_w, taps_h, taps_w;
};

__global__ void __launch_bounds__(kBlockThreads) turn_filter(const TurnedFilter args) {
  const int64_t i = thread_index();
  if (i >= args.c * args.k * args.taps_h * args.taps_w) return;
  int64_t u, v, k;
  int64_t rest = divide(i, args.taps_w, v);
  rest = divide(rest, args.taps_h, u);
  const int64_t c = divide(rest, args.k, k);
  const int64_t r = args.a_h + args.stride_h * (args.taps_h - 1 - u);
  const int64_t s = args.a_w + args.stride_w * (args.taps_w - 1 - v);
  args.turned[i] = args.filter[((k * args.c + c) * args.r + r) * args.s + s];
}

/// Where a phase's pixels lie in dL_dx: rows begin_h, begin_h + stride_h, ...
struct PhaseTarget {
  int64_t begin_h, begin_w, stride_h, stride_w;
};

/// phase: f32, in `phase_layout`; nullptr: zeros.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    spread_phase(const float* __restrict__ phase, ImageLayout phase_layout, PhaseTarget target,
                 GradientOutput<T> dL_dx, ImageLayout x_layout, int64_t count) {
  const int64_t index = thread_index();
  if (index >= count) return;
  ImagePlace at = place_of<1>(phase_layout, index);
  at.h = target.begin_h + at.h * target.stride_h;
  at.w = target.begin_w + at.w * target.stride_w;
  dL_dx.put(offset_of(x_layout, at), phase != nullptr ? phase[index] : 0.0F);
}

void convolve(GpuDevice& device, const Conv2dForwardArgs& args) {
  switch (device.precision()) {
    case Precision::kF32:
      return conv2d_forward_as<F32Kind>(device, args, kMaxPixels);
    case Precision::kTf32:
      return conv2d_forward_as<Tf32Kind>(device, args, kMaxPixels);
    case Precision::kF16:
      return conv2d_forward_as<F16Kind>(device, args, kMaxPixels);
    case Precision::kBF16:
      return conv2d_forward_as<BF16Kind>(device, args, kMaxPixels);
  }
}

/// Turns and packs the taps of one phase; one without taps stays unprepared.
void prepare_phase(GpuDevice& device, const ConstTensorView& filter, const Conv2dTransposedFilter& whole,
                   int64_t a_h, int64_t a_w, Conv2dFilter& prepared) {
  const Conv2dGeometry& g = whole.geometry;
  const Phase rows = phase_of(a_h, whole.r, g.stride_h, g.pad_h);
  const Phase columns = phase_of(a_w, whole.s, g.stride_w, g.pad_w);
  prepared.geometry = {1, 1, rows.pad, columns.pad};
  prepared.k = whole.c;
  prepared.c = whole.k;
  prepared.r = rows.taps;
  prepared.s = columns.taps;
  prepared.device = &device;
  if (rows.taps == 0 || columns.taps == 0) return;
  const Tensor turned(device, DType::kF32, {whole.c, whole.k, rows.taps, columns.taps}, "turned filter");
  PANDA_LAUNCH(turn_filter, grid_for(turned.numel(), kBlockThreads), dim3(kBlockThreads), 0, device,
               (TurnedFilter{filter.data<float>(), turned.data<float>(), whole.k, whole.c, whole.r, whole.s,
                             a_h, a_w, g.stride_h, g.stride_w, rows.taps, columns.taps}));
  PANDA_TARGET::conv2d_prepare_filter(device, Conv2dPrepareFilterArgs{turned, prepared.geometry, &prepared});
}

template <typename T>
void spread(GpuDevice& device, const ConstTensorView& phase, const ImageLayout& layout, int64_t images,
            const PhaseTarget& target, const Gradient& dL_dx) {
  const int64_t count = images * layout.stride_n;
  PANDA_LAUNCH((spread_phase<T>), grid_for(count, kBlockThreads), dim3(kBlockThreads), 0, device,
               phase.present() ? phase.data<float>() : nullptr, layout, target, gradient_output<T>(dL_dx),
               image_layout(dL_dx.view), count);
}

void run_phase(GpuDevice& device, const Conv2dBackwardInputArgs& args, int64_t a_h, int64_t a_w) {
  const Conv2dGeometry& g = args.filter->geometry;
  const Conv2dFilter& filter = args.filter->phases[static_cast<size_t>(a_h * g.stride_w + a_w)];
  const Shape& xs = args.dL_dx.view.shape();
  const Phase rows = phase_of(a_h, args.filter->r, g.stride_h, g.pad_h);
  const Phase columns = phase_of(a_w, args.filter->s, g.stride_w, g.pad_w);
  const int64_t h = rows.count(xs[2], g.stride_h);
  const int64_t w = columns.count(xs[3], g.stride_w);
  const bool taps = filter.r > 0 && filter.s > 0;
  if (h == 0 || w == 0 || (!taps && args.dL_dx.accumulates())) return;
  const ImageLayout layout = {xs[1], h, w, h * w * xs[1], 1, w * xs[1], xs[1], true};
  Tensor phase;
  ConstTensorView result;
  if (taps) {
    phase = Tensor(device, DType::kF32, {xs[0], xs[1], h, w}, "conv2d_backward_input", Layout::kChannelsLast);
    convolve(device, {args.dL_dy, &filter, {}, {}, phase, false});
    result = phase;
  }
  const PhaseTarget target = {rows.begin, columns.begin, g.stride_h, g.stride_w};
  with_image_type(args.dL_dx.view.dtype(), [&](auto type) {
    spread<decltype(type)>(device, result, layout, xs[0], target, args.dL_dx);
  });
}

}  // namespace

void conv2d_prepare_transposed_filter(Device& base, const Conv2dPrepareTransposedFilterArgs& args) {
  GpuDevice& device = gpu_device(base);
  Conv2dTransposedFilter& prepared = *args.prepared;
  const Conv2dGeometry& g = args.geometry;
  prepared.phases.resize(static_cast<size_t>(checked_mul(g.stride_h, g.stride_w)));
  for (int64_t a_h = 0; a_h < g.stride_h; ++a_h) {
    for (int64_t a_w = 0; a_w < g.stride_w; ++a_w) {
      Conv2dFilter& phase = prepared.phases[static_cast<size_t>(a_h * g.stride_w + a_w)];
      prepare_phase(device, args.filter, prepared, a_h, a_w, phase);
    }
  }
}

void conv2d_backward_input(Device& base, const Conv2dBackwardInputArgs& args) {
  GpuDevice& device = gpu_device(base);
  const Conv2dGeometry& g = args.filter->geometry;
  if (g.stride_h == 1 && g.stride_w == 1) {
    const ConstTensorView residual = args.dL_dx.accumulates() ? args.dL_dx.view : TensorView();
    return convolve(device, {args.dL_dy, &args.filter->phases[0], {}, residual, args.dL_dx.view, false});
  }
  for (int64_t a_h = 0; a_h < g.stride_h; ++a_h) {
    for (int64_t a_w = 0; a_w < g.stride_w; ++a_w) run_phase(device, args, a_h, a_w);
  }
}

}  // namespace panda::kernels::PANDA_TARGET
