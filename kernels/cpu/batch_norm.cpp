// Batch normalisation in evaluation mode on the cpu device: y = x * scale[c] + shift[c], scale and shift from
// f64.
#include "kernels/batch_norm.h"

#include <cmath>

#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/work.h"
#include "kernels/elementwise.h"

namespace panda::kernels::cpu {

namespace {

/// In place on y's memory or from x, equal layouts; `table` holds scale then shift, each padded with zeros to
/// whole blocks.
void apply(CpuDevice& device, const float* x, const TensorView& y, const float* table, int64_t padded) {
  const Shape& shape = y.shape();
  const int64_t pixels = shape[2] * shape[3];
  auto* to = y.data<float>();
  if (y.layout() == Layout::kDense) {
    device.threads().parallel_for(shape[0] * shape[1], [&](int64_t item, int) {
      const int64_t c = item % shape[1];
      device.micro().affine(x + item * pixels, table[c], table[padded + c], to + item * pixels, pixels);
    });
    return;
  }
  const int64_t blocks = padded / kChannelBlock;
  device.threads().parallel_for(shape[0] * blocks, [&](int64_t item, int) {
    const float* scale = table + item % blocks * kChannelBlock;
    const int64_t offset = item * pixels * kChannelBlock;
    device.micro().affine_blocked(x + offset, scale, scale + padded, to + offset, pixels);
  });
}

}  // namespace

void batch_norm_forward(Device& base, const BatchNormForwardArgs& args) {
  CpuDevice& device = cpu_device(base);
  const int64_t channels = args.x.shape()[1];
  const int64_t padded = round_up(channels, kChannelBlock);
  const Scratch scratch = device.scratch().take_array<float>(2 * padded);
  auto* table = scratch.data<float>();
  for (int64_t c = 0; c < padded; ++c) {
    table[c] = table[padded + c] = 0;
    if (c >= channels) continue;
    const double scale =
        args.gamma.data<float>()[c] / std::sqrt(args.variance.data<float>()[c] + args.epsilon);
    table[c] = static_cast<float>(scale);
    table[padded + c] = static_cast<float>(args.beta.data<float>()[c] - args.mean.data<float>()[c] * scale);
  }
  const bool same_layout = args.x.layout() == args.y.layout();
  if (!same_layout) cpu::convert(device, {args.x, args.y});
  apply(device, same_layout ? args.x.data<float>() : args.y.data<float>(), args.y, table, padded);
}

}  // namespace panda::kernels::cpu
