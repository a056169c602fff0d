// Pooling on the cpu device: rows of the blocked layout, 16 channels of a pixel per vector. Dense operands
// are converted first.
#include "kernels/pool2d.h"

#include <cmath>
#include <optional>

#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/work.h"
#include "kernels/elementwise.h"

namespace panda::kernels::cpu {

namespace {

/// The last block's channels beyond C are zeros in x; a window of padding alone cannot be, so max gives zeros
/// too.
void pool2d(Device& base, const Pool2dForwardArgs& args, void (*row_kernel)(const PoolRowArgs&)) {
  CpuDevice& device = cpu_device(base);
  const Pool2dGeometry& g = args.geometry;
  const Shape& xs = args.x.shape();
  const Shape& ys = args.y.shape();
  const bool x_as_is = args.x.layout() == Layout::kChannelBlocked16;
  const bool y_as_is = args.y.layout() == Layout::kChannelBlocked16;
  std::optional<Scratch> x_copy;
  std::optional<Scratch> y_copy;
  const auto* x = x_as_is ? args.x.data<float>() : nullptr;
  if (!x_as_is) {
    x_copy.emplace(device.scratch().take_array<float>(stored_numel(xs, Layout::kChannelBlocked16)));
    x = x_copy->data<float>();
    cpu::convert(device, {args.x, TensorView(x_copy->data<float>(), DType::kF32, xs, device,
                                             Layout::kChannelBlocked16)});
  }
  if (!y_as_is)
    y_copy.emplace(device.scratch().take_array<float>(stored_numel(ys, Layout::kChannelBlocked16)));
  float* y = y_as_is ? args.y.data<float>() : y_copy->data<float>();

  const int64_t images = xs[0] * ceil_div(xs[1], kChannelBlock);
  const int64_t parts = parts_for(images, ys[2], device.threads().thread_count());
  device.threads().parallel_for(images * parts, [&](int64_t item, int) {
    const int64_t image = item / parts;
    const Range rows = part_of(ys[2], parts, item % parts);
    for (int64_t p = rows.begin; p < rows.end; ++p) {
      row_kernel({.x = x + image * xs[2] * xs[3] * kChannelBlock,
                  .h = xs[2],
                  .w = xs[3],
                  .h_begin = p * g.stride_h - g.pad_h,
                  .window_h = g.window_h,
                  .window_w = g.window_w,
                  .stride_w = g.stride_w,
                  .pad_w = g.pad_w,
                  .count = ys[3],
                  .y = y + (image * ys[2] + p) * ys[3] * kChannelBlock});
    }
  });
  if (!y_as_is)
    cpu::convert(device, {ConstTensorView(y, DType::kF32, ys, device, Layout::kChannelBlocked16), args.y});
}

}  // namespace

void max_pool2d_forward(Device& device, const Pool2dForwardArgs& args) {
  pool2d(device, args, cpu_device(device).micro().max_pool_row);
}

void avg_pool2d_forward(Device& device, const Pool2dForwardArgs& args) {
  pool2d(device, args, cpu_device(device).micro().avg_pool_row);
}

void global_avg_pool2d_forward(Device& base, const GlobalAvgPool2dForwardArgs& args) {
  CpuDevice& device = cpu_device(base);
  const Shape& xs = args.x.shape();
  const int64_t pixels = xs[2] * xs[3];
  const auto* x = args.x.data<float>();
  auto* y = args.y.data<float>();
  const double divisor = static_cast<double>(pixels);
  if (args.x.layout() == Layout::kDense) {
    device.threads().parallel_for(xs[0] * xs[1], [&](int64_t item, int) {
      y[item] = static_cast<float>(device.micro().reduce_line(SimdReduce::kSum, x + item * pixels, pixels) /
                                   divisor);
    });
    return;
  }
  const int64_t blocks = ceil_div(xs[1], kChannelBlock);
  device.threads().parallel_for(xs[0] * blocks, [&](int64_t item, int) {
    double sums[kChannelBlock] = {};
    device.micro().reduce_columns(SimdReduce::kSum, x + item * pixels * kChannelBlock, pixels, kChannelBlock,
                                  kChannelBlock, sums);
    const int64_t first = item % blocks * kChannelBlock;
    for (int64_t c = first; c < std::min(first + kChannelBlock, xs[1]); ++c) {
      y[item / blocks * xs[1] + c] = static_cast<float>(sums[c - first] / divisor);
    }
  });
}

}  // namespace panda::kernels::cpu
