// ewc_gradient, sgd_update, adam_update (kernels/optimizer.h): n numbers, in f64 from f32 operands.
//
// WHAT    the penalty's gradient with the norm's sum · one step of SGD or Adam
// READS   each operand once · WRITES gradient, or theta and its moments
// FLOPS   6 to 20 f64 operations an element
// LAUNCH  ewc: a block of 256 threads 4096 elements, then one thread adds the blocks in rising order (a
//         filter of 2^21 elements has 512) · updates: a thread an element
// ORDER   a thread adds its 16 elements in rising order, then a tree adds the threads, then the blocks
// LIMITS  2^31 blocks. The clip factor is computed on the device from squared_norm: no step waits for the
//         host, and all three can be recorded.
// SOURCE  kernels/optimizer.h
#include "kernels/optimizer.h"

#include <cmath>

#include "kernels/cuda/gpu_kernels.h"
#include "kernels/cuda/work.cuh"

namespace panda::kernels::PANDA_TARGET {

namespace {

constexpr int64_t kSumBlock = 4096;

struct EwcOperands {
  float* gradient;
  const float* theta;
  const float* anchor;      ///< nullptr: no penalty
  const float* importance;  ///< nullptr: 1 everywhere
  double strength;
  int64_t count;
};

/// partial[block]: x the sum of squares, y the penalty.
__global__ void __launch_bounds__(kBlockThreads)
    add_penalty(const EwcOperands args, double2* __restrict__ partial) {
  PANDA_SHARED(double2, sums, [kBlockThreads]);
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t begin = int64_t{blockIdx.x} * kSumBlock;
  const int64_t end = begin + kSumBlock < args.count ? begin + kSumBlock : args.count;
  double2 sum = {0.0, 0.0};
  for (int64_t i = begin + thread; i < end; i += kBlockThreads) {
    float gradient = args.gradient[i];
    if (args.anchor != nullptr) {
      const double away = static_cast<double>(args.theta[i]) - args.anchor[i];
      const double importance = args.importance != nullptr ? static_cast<double>(args.importance[i]) : 1.0;
      gradient = static_cast<float>(gradient + args.strength * importance * away);
      args.gradient[i] = gradient;
      sum.y += args.strength / 2 * importance * away * away;
    }
    sum.x += static_cast<double>(gradient) * gradient;
  }
  sums[thread] = sum;
  for (int step = kBlockThreads / 2; step >= 1; step /= 2) {
    __syncthreads();  // the sums of the step before are there
    if (thread < step) {
      sum.x += sums[thread + step].x;
      sum.y += sums[thread + step].y;
      sums[thread] = sum;
    }
  }
  if (thread == 0) partial[blockIdx.x] = sum;
}

__global__ void add_blocks(const double2* __restrict__ partial, int64_t blocks, double* squared_norm,
                           double* penalty) {
  double2 sum = {0.0, 0.0};
#pragma unroll 8
  for (int64_t i = 0; i < blocks; ++i) {
    sum.x += partial[i].x;
    sum.y += partial[i].y;
  }
  if (squared_norm != nullptr) *squared_norm += sum.x;
  if (penalty != nullptr) *penalty += sum.y;
}

struct SgdOperands {
  float* theta;
  float* velocity;
  const float* gradient;
  const double* squared_norm;  ///< nullptr: no clipping
  double rate, momentum, decay, max_norm;
  bool first_step;
  int64_t count;
};

__global__ void __launch_bounds__(kBlockThreads) sgd(const SgdOperands args) {
  const int64_t i = thread_index();
  if (i >= args.count) return;
  double factor = 1;
  if (args.squared_norm != nullptr) {
    const double wanted = args.max_norm / (sqrt(*args.squared_norm) + 1e-6);
    factor = wanted > 1 ? 1.0 : wanted;  // a comparison: fmin would lose a NaN
  }
  const double g = factor * args.gradient[i] + args.decay * args.theta[i];
  const auto velocity = static_cast<float>(args.first_step ? g : args.momentum * args.velocity[i] + g);
  args.velocity[i] = velocity;
  args.theta[i] = static_cast<float>(args.theta[i] - args.rate * velocity);
}

struct AdamOperands {
  float* theta;
  float* first_moment;
  float* second_moment;
  const float* gradient;
  double rate, beta1, beta2, epsilon, decay;
  double first_correction, second_correction;  ///< 1 - beta^t
  int64_t count;
};

__global__ void __launch_bounds__(kBlockThreads) adam(const AdamOperands args) {
  const int64_t i = thread_index();
  if (i >= args.count) return;
  const double g = args.gradient[i] + args.decay * args.theta[i];
  const auto m = static_cast<float>(args.beta1 * args.first_moment[i] + (1 - args.beta1) * g);
  const auto v = static_cast<float>(args.beta2 * args.second_moment[i] + (1 - args.beta2) * g * g);
  args.first_moment[i] = m;
  args.second_moment[i] = v;
  args.theta[i] = static_cast<float>(args.theta[i] - args.rate * (m / args.first_correction) /
                                                         (sqrt(v / args.second_correction) + args.epsilon));
}

}  // namespace

void ewc_gradient(Device& base, const EwcGradientArgs& args) {
  GpuDevice& device = gpu_device(base);
  const bool penalised = args.anchor.present();
  const EwcOperands operands = {args.gradient.data<float>(),
                                penalised ? args.theta.data<float>() : nullptr,
                                penalised ? args.anchor.data<float>() : nullptr,
                                args.importance.present() ? args.importance.data<float>() : nullptr,
                                args.strength,
                                args.gradient.numel()};
  const int64_t blocks = ceil_div(operands.count, kSumBlock);
  const Storage storage(device, checked_mul(blocks, static_cast<int64_t>(sizeof(double2))), "ewc_gradient");
  auto* partial = static_cast<double2*>(storage.data());
  PANDA_LAUNCH(add_penalty, grid_for(blocks, 1), dim3(kBlockThreads), 0, device, operands, partial);
  if (!args.squared_norm.present() && !args.penalty.present()) return;
  PANDA_LAUNCH(add_blocks, dim3(1), dim3(1), 0, device, partial, blocks,
               args.squared_norm.present() ? args.squared_norm.data<double>() : nullptr,
               args.penalty.present() ? args.penalty.data<double>() : nullptr);
}

void sgd_update(Device& base, const SgdUpdateArgs& args) {
  const SgdOperands operands = {args.theta.data<float>(),
                                args.velocity.data<float>(),
                                args.gradient.data<float>(),
                                args.squared_norm.present() ? args.squared_norm.data<double>() : nullptr,
                                args.rate,
                                args.momentum,
                                args.decay,
                                args.max_norm,
                                args.first_step,
                                args.theta.numel()};
  PANDA_LAUNCH(sgd, grid_for(operands.count, kBlockThreads), dim3(kBlockThreads), 0, gpu_device(base),
               operands);
}

void adam_update(Device& base, const AdamUpdateArgs& args) {
  const auto step = static_cast<double>(args.step);
  const AdamOperands operands = {args.theta.data<float>(),
                                 args.first_moment.data<float>(),
                                 args.second_moment.data<float>(),
                                 args.gradient.data<float>(),
                                 args.rate,
                                 args.beta1,
                                 args.beta2,
                                 args.epsilon,
                                 args.decay,
                                 1 - std::pow(args.beta1, step),
                                 1 - std::pow(args.beta2, step),
                                 args.theta.numel()};
  PANDA_LAUNCH(adam, grid_for(operands.count, kBlockThreads), dim3(kBlockThreads), 0, gpu_device(base),
               operands);
}

}  // namespace panda::kernels::PANDA_TARGET
