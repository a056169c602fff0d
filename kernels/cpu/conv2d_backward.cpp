// The gradient of a convolution's input on the cpu device: forward convolutions of the output's gradient with
// turned filters.
//
// Input row h is read through tap r by output row p = (h + pad - r) / stride, where that is whole. Rows with
// equal (h + pad) mod stride = a, a phase, use the taps r = a, a + stride, ... alone: with h = stride j + a -
// pad and r = a + stride t it is p = j - t, a convolution with stride 1 and the phase's taps in reverse
// order. So stride 1 is one forward convolution (Winograd included), straight into dL_dx, and stride 2 four
// small ones, each over every second row and column; those go through a buffer, which costs a pass over
// dL_dx.
#include "kernels/conv2d_backward.h"

#include <cstring>

#include "kernels/cpu/conv2d.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/work.h"
#include "kernels/elementwise.h"

namespace panda::kernels::cpu {

namespace {

/// One dimension of one phase.
struct Phase {
  int64_t taps;   ///< of the forward filter: first, first + stride, ...
  int64_t pad;    ///< of the phase's convolution: may be negative
  int64_t begin;  ///< first input row; the next ones follow at `stride`

  [[nodiscard]] int64_t count(int64_t extent, int64_t stride) const {
    return begin < extent ? (extent - 1 - begin) / stride + 1 : 0;
  }
};

Phase phase_of(int64_t a, int64_t extent, int64_t stride, int64_t pad) {
  const int64_t taps = a < extent ? (extent - 1 - a) / stride + 1 : 0;
  const int64_t first = pad > a ? ceil_div(pad - a, stride) : 0;  // smallest j with h >= 0
  return {taps, taps - 1 - first, stride * first + a - pad};
}

/// The phase's filter c,k,u,v: filter[k][c][a + stride (taps - 1 - u)][...].
FilterSource turned_source(const float* filter, const Conv2dTransposedFilter& f, int64_t a_h, int64_t a_w,
                           int64_t taps_h, int64_t taps_w) {
  FilterSource source{filter, f.r * f.s, f.c * f.r * f.s, {}};
  for (int64_t u = 0; u < taps_h; ++u) {
    for (int64_t v = 0; v < taps_w; ++v) {
      source.taps.push_back((a_h + f.geometry.stride_h * (taps_h - 1 - u)) * f.s + a_w +
                            f.geometry.stride_w * (taps_w - 1 - v));
    }
  }
  return source;
}

void convolve(CpuDevice& device, const Conv2dFilter& filter, const float* dL_dy, const Shape& ys, int64_t h,
              int64_t w, const float* residual, float* out) {
  const ConvProblem problem{.device = device,
                            .filter = filter,
                            .x = dL_dy,
                            .x_layout = Layout::kChannelBlocked16,
                            .n = ys[0],
                            .h = ys[2],
                            .w = ys[3],
                            .p = h,
                            .q = w,
                            .bias = nullptr,
                            .residual = residual,
                            .y = out,
                            .relu = false};
  if (static_cast<ConvAlgorithm>(filter.algorithm) == ConvAlgorithm::kWinograd) {
    conv2d_winograd(problem);
  } else {
    conv2d_direct(problem);
  }
}

/// Where the pixels of one phase go in dL_dx: rows begin_h, begin_h + stride_h, ...
struct PhaseTarget {
  int64_t begin_h, begin_w, stride_h, stride_w, count_h, count_w;
};

/// dL_dx (+)= phase, [N*C/16][count_h][count_w][16]; zeros if phase is null.
void spread_phase(CpuDevice& device, const float* phase, const PhaseTarget& t, const Shape& xs, float* dL_dx,
                  bool accumulate) {
  const int64_t images = xs[0] * ceil_div(xs[1], kChannelBlock);
  device.threads().parallel_for(images, [&](int64_t image, int) {
    for (int64_t i = 0; i < t.count_h; ++i) {
      float* row = dL_dx + ((image * xs[2] + t.begin_h + i * t.stride_h) * xs[3] + t.begin_w) * kChannelBlock;
      const float* from =
          phase != nullptr ? phase + (image * t.count_h + i) * t.count_w * kChannelBlock : nullptr;
      for (int64_t j = 0; j < t.count_w; ++j, row += t.stride_w * kChannelBlock) {
        if (from == nullptr) {
          std::memset(row, 0, kChannelBlock * sizeof(float));
        } else if (accumulate) {
          for (int64_t c = 0; c < kChannelBlock; ++c) row[c] += from[j * kChannelBlock + c];
        } else {
          std::memcpy(row, from + j * kChannelBlock, kChannelBlock * sizeof(float));
        }
      }
    }
  });
}

/// dL_dx in the blocked layout.
void backward_input(CpuDevice& device, const Conv2dTransposedFilter& f, const float* dL_dy, const Shape& ys,
                    const Shape& xs, float* dL_dx, bool accumulate) {
  const Conv2dGeometry& g = f.geometry;
  if (ys.empty()) {
    if (!accumulate)
      std::memset(dL_dx, 0, static_cast<size_t>(stored_numel(xs, Layout::kChannelBlocked16)) * sizeof(float));
    return;
  }
  if (g.stride_h == 1 && g.stride_w == 1) {
    return convolve(device, f.phases[0], dL_dy, ys, xs[2], xs[3], accumulate ? dL_dx : nullptr, dL_dx);
  }
  for (int64_t a_h = 0; a_h < g.stride_h; ++a_h) {
    const Phase rows = phase_of(a_h, f.r, g.stride_h, g.pad_h);
    for (int64_t a_w = 0; a_w < g.stride_w; ++a_w) {
      const Phase columns = phase_of(a_w, f.s, g.stride_w, g.pad_w);
      const PhaseTarget target{rows.begin,
                               columns.begin,
                               g.stride_h,
                               g.stride_w,
                               rows.count(xs[2], g.stride_h),
                               columns.count(xs[3], g.stride_w)};
      if (target.count_h == 0 || target.count_w == 0) continue;
      if (rows.taps == 0 || columns.taps == 0) {
        if (!accumulate) spread_phase(device, nullptr, target, xs, dL_dx, false);
        continue;
      }
      const Shape phase{xs[0], xs[1], target.count_h, target.count_w};
      const Scratch buffer =
          device.scratch().take_array<float>(stored_numel(phase, Layout::kChannelBlocked16));
      convolve(device, f.phases[static_cast<size_t>(a_h * g.stride_w + a_w)], dL_dy, ys, target.count_h,
               target.count_w, nullptr, buffer.data<float>());
      spread_phase(device, buffer.data<float>(), target, xs, dL_dx, accumulate);
    }
  }
}

}  // namespace

void conv2d_prepare_transposed_filter(Device& base, const Conv2dPrepareTransposedFilterArgs& args) {
  CpuDevice& device = cpu_device(base);
  Conv2dTransposedFilter& f = *args.prepared;
  const Conv2dGeometry& g = f.geometry;
  const auto phases = static_cast<size_t>(g.stride_h * g.stride_w);
  if (f.phases.size() < phases) f.phases.resize(phases);  // never fewer: their memory serves again
  for (int64_t a_h = 0; a_h < g.stride_h; ++a_h) {
    for (int64_t a_w = 0; a_w < g.stride_w; ++a_w) {
      const Phase rows = phase_of(a_h, f.r, g.stride_h, g.pad_h);
      const Phase columns = phase_of(a_w, f.s, g.stride_w, g.pad_w);
      if (rows.taps == 0 || columns.taps == 0) continue;
      Conv2dFilter& phase = f.phases[static_cast<size_t>(a_h * g.stride_w + a_w)];
      phase.geometry = {1, 1, rows.pad, columns.pad};
      phase.k = f.c;
      phase.c = f.k;
      phase.r = rows.taps;
      phase.s = columns.taps;
      phase.device = &device;
      const ConvAlgorithm chosen = choose_algorithm(phase);
      // The narrow form knows neither negative padding nor extents of its own.
      phase.algorithm = static_cast<int>(chosen == ConvAlgorithm::kNarrow ? ConvAlgorithm::kDirect : chosen);
      pack_filter(device, turned_source(args.filter.data<float>(), f, a_h, a_w, rows.taps, columns.taps),
                  phase);
    }
  }
}

void conv2d_backward_input(Device& base, const Conv2dBackwardInputArgs& args) {
  CpuDevice& device = cpu_device(base);
  std::optional<Scratch> dL_dy_copy;
  const float* dL_dy = blocked(device, args.dL_dy, dL_dy_copy);
  const TensorView& dL_dx = args.dL_dx.view;
  const Shape& xs = dL_dx.shape();
  const bool accumulate = args.dL_dx.accumulates();
  if (dL_dx.layout() == Layout::kChannelBlocked16)
    return backward_input(device, *args.filter, dL_dy, args.dL_dy.shape(), xs, dL_dx.data<float>(),
                          accumulate);
  const Scratch buffer = device.scratch().take_array<float>(stored_numel(xs, Layout::kChannelBlocked16));
  backward_input(device, *args.filter, dL_dy, args.dL_dy.shape(), xs, buffer.data<float>(), false);
  const ConstTensorView result(buffer.data<float>(), DType::kF32, xs, device, Layout::kChannelBlocked16);
  if (!accumulate) return cpu::convert(device, {result, dL_dx});
  const Scratch dense = device.scratch().take_array<float>(xs.numel());
  const TensorView addend(dense.data<float>(), DType::kF32, xs, device);
  cpu::convert(device, {result, addend});
  cpu::binary_forward(device, {BinaryOp::kAdd, dL_dx, addend, dL_dx});
}

}  // namespace panda::kernels::cpu
