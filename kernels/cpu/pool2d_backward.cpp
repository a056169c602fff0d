// Gradients of pooling and enlarging on the cpu device: one image's block of 16 channels per item, rows of
// vectors. A gradient that is added to is made in a buffer first, so that each element sees one addition.
#include <cstring>
#include <optional>

#include "kernels/cpu/conv2d.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/work.h"
#include "kernels/elementwise.h"
#include "kernels/pool2d.h"

namespace panda::kernels::cpu {

namespace {

TensorView image_view(CpuDevice& device, const Scratch& scratch, const Shape& shape, Layout layout) {
  return {scratch.data<float>(), DType::kF32, shape, device, layout};
}

/// make(target) writes the gradient in the blocked layout into zeroed memory; it then goes where `gradient`
/// asks.
template <typename Make>
void deliver(CpuDevice& device, const Gradient& gradient, Make make) {
  const TensorView& out = gradient.view;
  const Shape& shape = out.shape();
  const int64_t floats = stored_numel(shape, Layout::kChannelBlocked16);
  if (out.layout() == Layout::kChannelBlocked16 && !gradient.accumulates()) {
    std::memset(out.raw(), 0, static_cast<size_t>(floats) * sizeof(float));
    return make(out.data<float>());
  }
  const Scratch buffer = device.scratch().take_array<float>(floats);
  std::memset(buffer.data<float>(), 0, static_cast<size_t>(floats) * sizeof(float));
  make(buffer.data<float>());
  const TensorView made = image_view(device, buffer, shape, Layout::kChannelBlocked16);
  if (!gradient.accumulates()) return cpu::convert(device, {made, out});
  if (out.layout() == Layout::kChannelBlocked16)
    return cpu::binary_forward(device, {BinaryOp::kAdd, out, made, out});
  const Scratch dense = device.scratch().take_array<float>(shape.numel());
  const TensorView addend = image_view(device, dense, shape, Layout::kDense);
  cpu::convert(device, {made, addend});
  cpu::binary_forward(device, {BinaryOp::kAdd, out, addend, out});
}

void pool_backward(Device& base, const Pool2dBackwardArgs& args, bool max) {
  CpuDevice& device = cpu_device(base);
  const Pool2dGeometry& g = args.geometry;
  const Shape& xs = args.dL_dx.view.shape();
  const Shape& ys = args.dL_dy.shape();
  std::optional<Scratch> x_copy;
  std::optional<Scratch> dL_dy_copy;
  const float* x = max ? blocked(device, args.x, x_copy) : nullptr;
  const float* dL_dy = blocked(device, args.dL_dy, dL_dy_copy);
  const auto row_kernel = max ? device.micro().max_pool_gradient_row : device.micro().avg_pool_gradient_row;
  deliver(device, args.dL_dx, [&](float* dL_dx) {
    device.threads().parallel_for(xs[0] * ceil_div(xs[1], kChannelBlock), [&](int64_t image, int) {
      const int64_t x_offset = image * xs[2] * xs[3] * kChannelBlock;
      for (int64_t p = 0; p < ys[2]; ++p) {
        row_kernel({.x = max ? x + x_offset : nullptr,
                    .dL_dy = dL_dy + (image * ys[2] + p) * ys[3] * kChannelBlock,
                    .h = xs[2],
                    .w = xs[3],
                    .h_begin = p * g.stride_h - g.pad_h,
                    .window_h = g.window_h,
                    .window_w = g.window_w,
                    .stride_w = g.stride_w,
                    .pad_w = g.pad_w,
                    .count = ys[3],
                    .dL_dx = dL_dx + x_offset});
      }
    });
  });
}

}  // namespace

void max_pool2d_backward(Device& device, const Pool2dBackwardArgs& args) {
  pool_backward(device, args, true);
}
void avg_pool2d_backward(Device& device, const Pool2dBackwardArgs& args) {
  pool_backward(device, args, false);
}

void global_avg_pool2d_backward(Device& base, const GlobalAvgPool2dBackwardArgs& args) {
  CpuDevice& device = cpu_device(base);
  const TensorView& out = args.dL_dx.view;
  const Shape& shape = out.shape();
  const bool is_blocked = out.layout() == Layout::kChannelBlocked16;
  const int64_t width = is_blocked ? kChannelBlock : 1;
  const int64_t blocks = ceil_div(shape[1], width);
  const int64_t pixels = shape[2] * shape[3];
  const auto* dL_dy = args.dL_dy.data<float>();
  device.threads().parallel_for(shape[0] * blocks, [&](int64_t item, int) {
    float share[kChannelBlock] = {};
    const int64_t first = item % blocks * width;
    for (int64_t c = first; c < std::min(first + width, shape[1]); ++c)
      share[c - first] =
          static_cast<float>(dL_dy[item / blocks * shape[1] + c] / static_cast<double>(pixels));
    float* to = out.data<float>() + item * pixels * width;
    for (int64_t i = 0; i < pixels; ++i) {
      for (int64_t c = 0; c < width; ++c)
        to[i * width + c] = args.dL_dx.accumulates() ? to[i * width + c] + share[c] : share[c];
    }
  });
}

void upsample_nearest2d_forward(Device& base, const UpsampleNearest2dForwardArgs& args) {
  CpuDevice& device = cpu_device(base);
  const Shape& xs = args.x.shape();
  const int64_t width = args.x.layout() == Layout::kChannelBlocked16 ? kChannelBlock : 1;
  const int64_t out_w = xs[3] * args.scale_w;
  device.threads().parallel_for(xs[0] * ceil_div(xs[1], width), [&](int64_t image, int) {
    const float* from = args.x.data<float>() + image * xs[2] * xs[3] * width;
    float* to = args.y.data<float>() + image * xs[2] * args.scale_h * out_w * width;
    for (int64_t p = 0; p < xs[2] * args.scale_h; ++p) {
      const float* row = from + p / args.scale_h * xs[3] * width;
      for (int64_t q = 0; q < out_w; ++q, to += width)
        std::memcpy(to, row + q / args.scale_w * width, static_cast<size_t>(width) * sizeof(float));
    }
  });
}

void upsample_nearest2d_backward(Device& base, const UpsampleNearest2dBackwardArgs& args) {
  CpuDevice& device = cpu_device(base);
  const TensorView& out = args.dL_dx.view;
  const Shape& xs = out.shape();
  const int64_t width = out.layout() == Layout::kChannelBlocked16 ? kChannelBlock : 1;
  const int64_t in_w = xs[3] * args.scale_w;
  device.threads().parallel_for(xs[0] * ceil_div(xs[1], width), [&](int64_t image, int) {
    const float* from = args.dL_dy.data<float>() + image * xs[2] * args.scale_h * in_w * width;
    float* to = out.data<float>() + image * xs[2] * xs[3] * width;
    for (int64_t i = 0; i < xs[2] * xs[3]; ++i, to += width) {
      double sums[kChannelBlock] = {};
      for (int64_t j = 0; j < args.scale_h * args.scale_w; ++j) {
        const int64_t p = i / xs[3] * args.scale_h + j / args.scale_w;
        const int64_t q = i % xs[3] * args.scale_w + j % args.scale_w;
        for (int64_t c = 0; c < width; ++c) sums[c] += from[(p * in_w + q) * width + c];
      }
      for (int64_t c = 0; c < width; ++c)
        to[c] = static_cast<float>(args.dL_dx.accumulates() ? to[c] + sums[c] : sums[c]);
    }
  });
}

}  // namespace panda::kernels::cpu
