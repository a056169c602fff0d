// Batch normalisation in training on the cpu device: gradients of the evaluation form, the batch-statistics
// form, folding and its gradients.
//
// An item is a block of 16 channels over the whole batch, so a channel's sum is in the order of the batch.
// Dense images are brought into the blocked layout first.
#include <cmath>
#include <cstring>
#include <optional>

#include "kernels/batch_norm.h"
#include "kernels/cpu/conv2d.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/work.h"
#include "kernels/elementwise.h"

namespace panda::kernels::cpu {

namespace {

constexpr double kZeros[kChannelBlock] = {};

/// The images of a batch in blocks of channels.
struct Blocks {
  int64_t n;
  int64_t blocks;
  int64_t pixels;
  int64_t channels;

  explicit Blocks(const Shape& shape)
      : n(shape[0]),
        blocks(ceil_div(shape[1], kChannelBlock)),
        pixels(shape[2] * shape[3]),
        channels(shape[1]) {}
  [[nodiscard]] int64_t offset(int64_t image, int64_t block) const {
    return (image * blocks + block) * pixels * kChannelBlock;
  }
  [[nodiscard]] Range channels_of(int64_t block) const {
    return {block * kChannelBlock, std::min((block + 1) * kChannelBlock, channels)};
  }
};

/// Where a blocked result goes: the gradient's own memory, or a copy that is brought into its layout.
class BlockedGradient {
 public:
  BlockedGradient(CpuDevice& device, const Gradient& gradient) : device_(device), gradient_(gradient) {
    if (!gradient.wanted() || gradient.view.layout() == Layout::kChannelBlocked16) return;
    copy_.emplace(
        device.scratch().take_array<float>(stored_numel(gradient.view.shape(), Layout::kChannelBlocked16)));
  }
  [[nodiscard]] float* data() const { return copy_ ? copy_->data<float>() : gradient_.view.data<float>(); }
  [[nodiscard]] bool accumulates() const { return !copy_ && gradient_.accumulates(); }
  void finish() {
    if (!copy_) return;
    const TensorView& out = gradient_.view;
    const ConstTensorView result(copy_->data<float>(), DType::kF32, out.shape(), device_,
                                 Layout::kChannelBlocked16);
    if (!gradient_.accumulates()) return cpu::convert(device_, {result, out});
    const Scratch dense = device_.scratch().take_array<float>(out.numel());
    const TensorView addend(dense.data<float>(), DType::kF32, out.shape(), device_);
    cpu::convert(device_, {result, addend});
    cpu::binary_forward(device_, {BinaryOp::kAdd, out, addend, out});
  }

 private:
  CpuDevice& device_;
  const Gradient& gradient_;
  std::optional<Scratch> copy_;
};

void put(const Gradient& gradient, int64_t i, double value) {
  if (!gradient.wanted()) return;
  float& out = gradient.view.data<float>()[i];
  out = static_cast<float>(gradient.accumulates() ? out + value : value);
}

/// sum over the batch of dL_dy, and of dL_dy (x - shift), per channel of the block.
struct ChannelSums {
  double gradient[kChannelBlock] = {};
  double product[kChannelBlock] = {};
};

ChannelSums channel_sums(CpuDevice& device, const Blocks& b, int64_t block, const float* x,
                         const float* dL_dy, const double* shift) {
  ChannelSums sums;
  for (int64_t n = 0; n < b.n; ++n) {
    const float* gradient = dL_dy + b.offset(n, block);
    device.micro().reduce_columns(SimdReduce::kSum, gradient, b.pixels, kChannelBlock, kChannelBlock,
                                  sums.gradient);
    device.micro().channel_products(gradient, kZeros, x + b.offset(n, block), shift, b.pixels, sums.product);
  }
  return sums;
}

/// Per channel of a block, zero beyond the last channel: what batch_norm_gradient multiplies with.
struct Coefficients {
  float mean[kChannelBlock] = {};
  float of_gradient[kChannelBlock] = {};
  float of_deviation[kChannelBlock] = {};
  float constant[kChannelBlock] = {};
};

void write_input_gradient(CpuDevice& device, const Blocks& b, int64_t block, const float* x,
                          const float* dL_dy, const Coefficients& c, const BlockedGradient& dL_dx) {
  for (int64_t n = 0; n < b.n; ++n) {
    const int64_t at = b.offset(n, block);
    device.micro().batch_norm_gradient({.x = x != nullptr ? x + at : nullptr,
                                        .dL_dy = dL_dy + at,
                                        .mean = c.mean,
                                        .of_gradient = c.of_gradient,
                                        .of_deviation = c.of_deviation,
                                        .constant = c.constant,
                                        .dL_dx = dL_dx.data() + at,
                                        .accumulate = dL_dx.accumulates(),
                                        .pixels = b.pixels});
  }
}

}  // namespace

void batch_norm_backward(Device& base, const BatchNormBackwardArgs& args) {
  CpuDevice& device = cpu_device(base);
  const Blocks b(args.x.shape());
  std::optional<Scratch> x_copy;
  std::optional<Scratch> dL_dy_copy;
  const float* x = blocked(device, args.x, x_copy);
  const float* dL_dy = blocked(device, args.dL_dy, dL_dy_copy);
  BlockedGradient dL_dx(device, args.dL_dx);
  device.threads().parallel_for(b.blocks, [&](int64_t block, int) {
    const Range channels = b.channels_of(block);
    double mean[kChannelBlock] = {};
    double inverse[kChannelBlock] = {};
    Coefficients coefficients;
    for (int64_t c = channels.begin; c < channels.end; ++c) {
      const int64_t i = c - channels.begin;
      mean[i] = args.mean.data<float>()[c];
      inverse[i] = 1 / std::sqrt(args.variance.data<float>()[c] + args.epsilon);
      coefficients.of_gradient[i] = static_cast<float>(args.gamma.data<float>()[c] * inverse[i]);
    }
    if (args.dL_dgamma.wanted() || args.dL_dbeta.wanted()) {
      const ChannelSums sums = channel_sums(device, b, block, x, dL_dy, mean);
      for (int64_t c = channels.begin; c < channels.end; ++c) {
        put(args.dL_dgamma, c, sums.product[c - channels.begin] * inverse[c - channels.begin]);
        put(args.dL_dbeta, c, sums.gradient[c - channels.begin]);
      }
    }
    if (args.dL_dx.wanted()) write_input_gradient(device, b, block, nullptr, dL_dy, coefficients, dL_dx);
  });
  dL_dx.finish();
}

void batch_norm_training_forward(Device& base, const BatchNormTrainingForwardArgs& args) {
  CpuDevice& device = cpu_device(base);
  const Blocks b(args.x.shape());
  std::optional<Scratch> x_copy;
  const float* x = blocked(device, args.x, x_copy);
  const Gradient out{args.y, GradientMode::kOverwrite};
  BlockedGradient y(device, out);
  const auto count = static_cast<double>(b.n * b.pixels);
  device.threads().parallel_for(b.blocks, [&](int64_t block, int) {
    const Range channels = b.channels_of(block);
    double mean[kChannelBlock] = {};
    double squares[kChannelBlock] = {};
    for (int64_t n = 0; n < b.n; ++n) {
      device.micro().reduce_columns(SimdReduce::kSum, x + b.offset(n, block), b.pixels, kChannelBlock,
                                    kChannelBlock, mean);
    }
    for (double& value : mean) value /= count;
    for (int64_t n = 0; n < b.n; ++n) {
      const float* image = x + b.offset(n, block);
      device.micro().channel_products(image, mean, image, mean, b.pixels, squares);
    }
    float scale[kChannelBlock] = {};
    float shift[kChannelBlock] = {};
    for (int64_t c = channels.begin; c < channels.end; ++c) {
      const int64_t i = c - channels.begin;
      const double inverse = 1 / std::sqrt(squares[i] / count + args.epsilon);
      const double gamma = args.gamma.present() ? args.gamma.data<float>()[c] : 1.0;
      const double beta = args.beta.present() ? args.beta.data<float>()[c] : 0.0;
      scale[i] = static_cast<float>(gamma * inverse);
      shift[i] = static_cast<float>(beta - mean[i] * gamma * inverse);
      args.mean.data<float>()[c] = static_cast<float>(mean[i]);
      args.inverse_deviation.data<float>()[c] = static_cast<float>(inverse);
      if (!args.running_mean.present()) continue;
      float& running_mean = args.running_mean.data<float>()[c];
      float& running_variance = args.running_variance.data<float>()[c];
      const double unbiased = count > 1 ? squares[i] / (count - 1) : 0.0;
      running_mean = static_cast<float>((1 - args.momentum) * running_mean + args.momentum * mean[i]);
      running_variance =
          static_cast<float>((1 - args.momentum) * running_variance + args.momentum * unbiased);
    }
    for (int64_t n = 0; n < b.n; ++n) {
      const int64_t at = b.offset(n, block);
      device.micro().affine_blocked(x + at, scale, shift, y.data() + at, b.pixels);
    }
  });
  y.finish();
}

void batch_norm_training_backward(Device& base, const BatchNormTrainingBackwardArgs& args) {
  CpuDevice& device = cpu_device(base);
  const Blocks b(args.x.shape());
  std::optional<Scratch> x_copy;
  std::optional<Scratch> dL_dy_copy;
  const float* x = blocked(device, args.x, x_copy);
  const float* dL_dy = blocked(device, args.dL_dy, dL_dy_copy);
  BlockedGradient dL_dx(device, args.dL_dx);
  const auto count = static_cast<double>(b.n * b.pixels);
  device.threads().parallel_for(b.blocks, [&](int64_t block, int) {
    const Range channels = b.channels_of(block);
    double mean[kChannelBlock] = {};
    for (int64_t c = channels.begin; c < channels.end; ++c)
      mean[c - channels.begin] = args.mean.data<float>()[c];
    const ChannelSums sums = channel_sums(device, b, block, x, dL_dy, mean);
    Coefficients coefficients;
    for (int64_t c = channels.begin; c < channels.end; ++c) {
      const int64_t i = c - channels.begin;
      const double inverse = args.inverse_deviation.data<float>()[c];
      const double gamma = args.gamma.present() ? args.gamma.data<float>()[c] : 1.0;
      const double dL_dgamma = sums.product[i] * inverse;
      put(args.dL_dgamma, c, dL_dgamma);
      put(args.dL_dbeta, c, sums.gradient[i]);
      coefficients.mean[i] = static_cast<float>(mean[i]);
      coefficients.of_gradient[i] = static_cast<float>(gamma * inverse);
      coefficients.of_deviation[i] = static_cast<float>(-gamma * inverse * inverse * dL_dgamma / count);
      coefficients.constant[i] = static_cast<float>(-gamma * inverse * sums.gradient[i] / count);
    }
    if (args.dL_dx.wanted()) write_input_gradient(device, b, block, x, dL_dy, coefficients, dL_dx);
  });
  dL_dx.finish();
}

void fold_batch_norm_forward(Device& base, const FoldBatchNormForwardArgs& args) {
  CpuDevice& device = cpu_device(base);
  const int64_t row = args.filter.numel() / args.filter.shape()[0];
  device.threads().parallel_for(args.filter.shape()[0], [&](int64_t k, int) {
    const double a = args.gamma.data<float>()[k] / std::sqrt(args.variance.data<float>()[k] + args.epsilon);
    args.folded_bias.data<float>()[k] =
        static_cast<float>(args.beta.data<float>()[k] - args.mean.data<float>()[k] * a);
    device.micro().scale(args.filter.data<float>() + k * row, a, args.folded_filter.data<float>() + k * row,
                         false, row);
  });
}

void fold_batch_norm_backward(Device& base, const FoldBatchNormBackwardArgs& args) {
  CpuDevice& device = cpu_device(base);
  const int64_t row = args.filter.numel() / args.filter.shape()[0];
  device.threads().parallel_for(args.filter.shape()[0], [&](int64_t k, int) {
    const double inverse = 1 / std::sqrt(args.variance.data<float>()[k] + args.epsilon);
    const double b = args.dL_dfolded_bias.data<float>()[k];
    const float* gradient = args.dL_dfolded_filter.data<float>() + k * row;
    if (args.dL_dgamma.wanted()) {
      const double dot = device.micro().dot(args.filter.data<float>() + k * row, gradient, row);
      put(args.dL_dgamma, k, (dot - args.mean.data<float>()[k] * b) * inverse);
    }
    put(args.dL_dbeta, k, b);
    if (!args.dL_dfilter.wanted()) return;
    device.micro().scale(gradient, args.gamma.data<float>()[k] * inverse,
                         args.dL_dfilter.view.data<float>() + k * row, args.dL_dfilter.accumulates(), row);
  });
}

void fold_batch_norm_squares(Device& base, const FoldBatchNormSquaresArgs& args) {
  CpuDevice& device = cpu_device(base);
  const int64_t channels = args.squares.shape()[0];
  const int64_t row = args.squares.numel() / channels;
  device.threads().parallel_for(channels, [&](int64_t k, int) {
    const double inverse = 1 / std::sqrt(args.variance.data<float>()[k] + args.epsilon);
    const double a = args.gamma.data<float>()[k] * inverse;
    double gamma_sum = 0;
    double beta_sum = 0;
    for (int64_t n = 0; n < args.dots.shape()[0]; ++n) {
      const double b = args.per_sample.data<float>()[n * channels + k];
      const double of_gamma =
          (args.dots.data<float>()[n * channels + k] - args.mean.data<float>()[k] * b) * inverse;
      gamma_sum += of_gamma * of_gamma;
      beta_sum += b * b;
    }
    put(args.gamma_squares, k, gamma_sum);
    put(args.beta_squares, k, beta_sum);
    if (!args.filter_squares.wanted()) return;
    device.micro().scale(args.squares.data<float>() + k * row, a * a,
                         args.filter_squares.view.data<float>() + k * row, args.filter_squares.accumulates(),
                         row);
  });
}

}  // namespace panda::kernels::cpu
