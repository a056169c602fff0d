// The losses of kernels/loss.h and their gradients: a row of a batch at a time.
//
// WHAT    softmax cross-entropy, N,C · logistic loss, N · compactness, N,D
// READS   the rows, twice for the softmax and its gradient · WRITES losses or gradients
// FLOPS   a few f64 operations an element, an exponential for the softmax
// LAUNCH  a warp a row where a row has a sum; a thread an element where it has none
// ORDER   a lane adds its elements in rising order, then the lanes are added by a butterfly
// LIMITS  2^31 blocks. The row of a label that is no class gives NaN, and nothing beyond the row is read
// SOURCE  kernels/loss.h
#include "kernels/loss.h"

#include "kernels/cuda/gpu_kernels.h"
#include "kernels/cuda/gradient_output.cuh"

namespace panda::kernels::PANDA_TARGET {

namespace {

constexpr int kRowsPerBlock = kBlockThreads / kWarpThreads;

__device__ double sum_of_warp(double value) {
  // a + b has the bits of b + a, so that all lanes hold the same.
  for (int step = kWarpThreads / 2; step >= 1; step /= 2) value += __shfl_xor_sync(kWholeWarp, value, step);
  return value;
}

/// log sum_c exp(x[c]), in all lanes of the warp.
__device__ double log_sum_exp(const float* x, int64_t count, int lane) {
  float largest = -INFINITY;
  for (int64_t c = lane; c < count; c += kWarpThreads)
    if (x[c] > largest || x[c] != x[c]) largest = x[c];  // a comparison: fmaxf would lose a NaN
  for (int step = kWarpThreads / 2; step >= 1; step /= 2) {
    const float other = __shfl_xor_sync(kWholeWarp, largest, step);
    if (other > largest || other != other) largest = other;
  }
  double sum = 0;
  for (int64_t c = lane; c < count; c += kWarpThreads) sum += exp(static_cast<double>(x[c]) - largest);
  return largest + log(sum_of_warp(sum));
}

struct CrossEntropy {
  const float* logits;
  const int64_t* labels;
  int64_t rows, classes;
  double smoothing, scale;
};

__global__ void __launch_bounds__(kBlockThreads)
    cross_entropy(const CrossEntropy args, float* __restrict__ losses) {
  const int64_t n = thread_index() / kWarpThreads;
  if (n >= args.rows) return;  // whole warps
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const float* x = args.logits + n * args.classes;
  const double normalizer = log_sum_exp(x, args.classes, lane);
  double sum = 0;
  for (int64_t c = lane; c < args.classes; c += kWarpThreads) sum += normalizer - x[c];
  sum = sum_of_warp(sum);
  if (lane != 0) return;
  const int64_t label = args.labels[n];
  const bool is_class = label >= 0 && label < args.classes;
  const double of_label = is_class ? normalizer - x[label] : static_cast<double>(NAN);
  const double loss =
      (1 - args.smoothing) * of_label + args.smoothing * sum / static_cast<double>(args.classes);
  losses[n] = static_cast<float>(args.scale * loss);
}

__global__ void __launch_bounds__(kBlockThreads)
    cross_entropy_gradient(const CrossEntropy args, const float* __restrict__ dL_dlosses,
                           GradientOutput<float> dL_dlogits) {
  const int64_t n = thread_index() / kWarpThreads;
  if (n >= args.rows) return;  // whole warps
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const float* x = args.logits + n * args.classes;
  const double normalizer = log_sum_exp(x, args.classes, lane);
  const int64_t label = args.labels[n];
  const bool is_class = label >= 0 && label < args.classes;
  const double weight = is_class ? dL_dlosses[n] * args.scale : static_cast<double>(NAN);
  const double elsewhere = args.smoothing / static_cast<double>(args.classes);
  for (int64_t c = lane; c < args.classes; c += kWarpThreads) {
    const double target = (c == label ? 1 - args.smoothing : 0.0) + elsewhere;
    dL_dlogits.put(n * args.classes + c, weight * (exp(x[c] - normalizer) - target));
  }
}

__global__ void __launch_bounds__(kBlockThreads)
    logistic(const float* __restrict__ logits, const float* __restrict__ targets, double scale,
             float* __restrict__ losses, int64_t count) {
  const int64_t n = thread_index();
  if (n >= count) return;
  const double z = logits[n];
  const double loss = (z > 0 ? z : 0.0) - z * targets[n] + log1p(exp(-fabs(z)));
  losses[n] = static_cast<float>(scale * loss);
}

__global__ void __launch_bounds__(kBlockThreads)
    logistic_gradient(const float* __restrict__ logits, const float* __restrict__ targets,
                      const float* __restrict__ dL_dlosses, double scale, GradientOutput<float> dL_dlogits,
                      int64_t count) {
  const int64_t n = thread_index();
  if (n >= count) return;
  const double z = logits[n];
  const double e = exp(-fabs(z));
  const double sigmoid = (z >= 0 ? 1.0 : e) / (1 + e);
  dL_dlogits.put(n, dL_dlosses[n] * scale * (sigmoid - targets[n]));
}

__global__ void __launch_bounds__(kBlockThreads)
    compactness(const float* __restrict__ x, const float* __restrict__ center, double scale,
                float* __restrict__ losses, int64_t rows, int64_t d) {
  const int64_t n = thread_index() / kWarpThreads;
  if (n >= rows) return;  // whole warps
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  double sum = 0;
  for (int64_t j = lane; j < d; j += kWarpThreads) {
    const double away = static_cast<double>(x[n * d + j]) - center[j];
    sum += away * away;
  }
  sum = sum_of_warp(sum);
  if (lane == 0) losses[n] = static_cast<float>(scale * sum);
}

__global__ void __launch_bounds__(kBlockThreads)
    compactness_gradient(const float* __restrict__ x, const float* __restrict__ center,
                         const float* __restrict__ dL_dlosses, double scale, GradientOutput<float> dL_dx,
                         int64_t count, int64_t d) {
  const int64_t i = thread_index();
  if (i >= count) return;
  int64_t j;
  const int64_t n = divide(i, d, j);
  dL_dx.put(i, dL_dlosses[n] * 2 * scale * (static_cast<double>(x[i]) - center[j]));
}

template <typename Args>
CrossEntropy cross_entropy_of(const Args& args) {
  return {args.logits.template data<float>(),
          args.labels.template data<int64_t>(),
          args.logits.shape()[0],
          args.logits.shape()[1],
          args.smoothing,
          args.scale};
}

}  // namespace

void softmax_cross_entropy_forward(Device& base, const SoftmaxCrossEntropyForwardArgs& args) {
  GpuDevice& device = gpu_device(base);
  const CrossEntropy rows = cross_entropy_of(args);
  PANDA_LAUNCH(cross_entropy, grid_for(rows.rows, kRowsPerBlock), dim3(kBlockThreads), 0, device, rows,
               args.losses.data<float>());
}

void softmax_cross_entropy_backward(Device& base, const SoftmaxCrossEntropyBackwardArgs& args) {
  GpuDevice& device = gpu_device(base);
  const CrossEntropy rows = cross_entropy_of(args);
  PANDA_LAUNCH(cross_entropy_gradient, grid_for(rows.rows, kRowsPerBlock), dim3(kBlockThreads), 0, device,
               rows, args.dL_dlosses.data<float>(), gradient_output<float>(args.dL_dlogits));
}

void logistic_loss_forward(Device& base, const LogisticLossForwardArgs& args) {
  const int64_t count = args.logits.numel();
  PANDA_LAUNCH(logistic, grid_for(count, kBlockThreads), dim3(kBlockThreads), 0, gpu_device(base),
               args.logits.data<float>(), args.targets.data<float>(), args.scale, args.losses.data<float>(),
               count);
}

void logistic_loss_backward(Device& base, const LogisticLossBackwardArgs& args) {
  const int64_t count = args.logits.numel();
  PANDA_LAUNCH(logistic_gradient, grid_for(count, kBlockThreads), dim3(kBlockThreads), 0, gpu_device(base),
               args.logits.data<float>(), args.targets.data<float>(), args.dL_dlosses.data<float>(),
               args.scale, gradient_output<float>(args.dL_dlogits), count);
}

void compactness_forward(Device& base, const CompactnessForwardArgs& args) {
  const Shape& shape = args.x.shape();
  PANDA_LAUNCH(compactness, grid_for(shape[0], kRowsPerBlock), dim3(kBlockThreads), 0, gpu_device(base),
               args.x.data<float>(), args.center.data<float>(), args.scale, args.losses.data<float>(),
               shape[0], shape[1]);
}

void compactness_backward(Device& base, const CompactnessBackwardArgs& args) {
  const int64_t count = args.x.numel();
  PANDA_LAUNCH(compactness_gradient, grid_for(count, kBlockThreads), dim3(kBlockThreads), 0, gpu_device(base),
               args.x.data<float>(), args.center.data<float>(), args.dL_dlosses.data<float>(), args.scale,
               gradient_output<float>(args.dL_dx), count, args.x.shape()[1]);
}

}  // namespace panda::kernels::PANDA_TARGET
