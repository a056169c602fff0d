// fold_batch_norm_forward, fold_batch_norm_backward, fold_batch_norm_squares (kernels/batch_norm.h).
//
// WHAT    filters K,C,R,S scaled row by row, and what each row's batch norm gets: row products and sums over
//         samples, all in f64
// READS   the filter, its gradient · WRITES the outputs once
// FLOPS   2 f64 operations an element
// LAUNCH  a block of 256 threads a filter (a row of C R S elements)
// ORDER   a thread adds its elements in rising order, then a tree adds the threads; samples in rising order
// LIMITS  K < 2^31; dL_dfilter may be G's memory: a thread reads an element before it writes it
// SOURCE  kernels/batch_norm.h
#include "kernels/batch_norm.h"
#include "kernels/cuda/gpu_kernels.h"
#include "kernels/cuda/gradient_output.cuh"

namespace panda::kernels::PANDA_TARGET {

namespace {

/// A batch norm's constants; gamma and beta may be absent.
struct FoldedNorm {
  const float* gamma;
  const float* mean;
  const float* variance;
  double epsilon;

  __device__ double inverse(int64_t k) const {
    return 1.0 / sqrt(static_cast<double>(variance[k]) + epsilon);
  }
};

__global__ void __launch_bounds__(kBlockThreads)
    fold_filter(const float* __restrict__ filter, FoldedNorm norm, const float* __restrict__ beta,
                float* __restrict__ folded_filter, float* __restrict__ folded_bias, int64_t row) {
  const int64_t k = blockIdx.x;
  const double a = norm.gamma[k] / sqrt(static_cast<double>(norm.variance[k]) + norm.epsilon);
  for (int64_t i = k * row + threadIdx.x; i < (k + 1) * row; i += kBlockThreads)
    folded_filter[i] = static_cast<float>(filter[i] * a);
  if (threadIdx.x == 0) folded_bias[k] = static_cast<float>(beta[k] - norm.mean[k] * a);
}

// G and dL_dfilter may be the same memory: no __restrict__.
__global__ void __launch_bounds__(kBlockThreads)
    fold_gradient(const float* __restrict__ filter, FoldedNorm norm, const float* folded_gradient,
                  const float* __restrict__ bias_gradient, GradientOutput<float> dL_dfilter,
                  GradientOutput<float> dL_dgamma, GradientOutput<float> dL_dbeta, int64_t row) {
  PANDA_SHARED(double, products, [kBlockThreads]);
  const int64_t k = blockIdx.x;
  const int thread = static_cast<int>(threadIdx.x);
  const double inverse = norm.inverse(k);
  const double scale = norm.gamma[k] * inverse;
  double product = 0;
  for (int64_t i = k * row + thread; i < (k + 1) * row; i += kBlockThreads) {
    const double gradient = folded_gradient[i];
    product += filter[i] * gradient;
    dL_dfilter.put(i, scale * gradient);
  }
  products[thread] = product;
  for (int step = kBlockThreads / 2; step >= 1; step /= 2) {
    __syncthreads();  // the sums of the step before are there
    if (thread < step) products[thread] = product += products[thread + step];
  }
  if (thread != 0) return;
  const double b = bias_gradient[k];
  dL_dgamma.put(k, (product - norm.mean[k] * b) * inverse);
  dL_dbeta.put(k, b);
}

/// samples: N of dots and per_sample, both N,K.
struct SampleSums {
  const float* dots;
  const float* per_sample;
  int64_t samples, channels;
};

__global__ void __launch_bounds__(kBlockThreads)
    fold_squares(const float* squares, FoldedNorm norm, SampleSums sums, GradientOutput<float> filter_squares,
                 GradientOutput<float> gamma_squares, GradientOutput<float> beta_squares, int64_t row) {
  const int64_t k = blockIdx.x;
  const double inverse = norm.inverse(k);
  const double scale = norm.gamma[k] * inverse;
  for (int64_t i = k * row + threadIdx.x; i < (k + 1) * row; i += kBlockThreads)
    filter_squares.put(i, scale * scale * squares[i]);
  if (threadIdx.x != 0) return;
  double gamma_sum = 0;
  double beta_sum = 0;
  for (int64_t n = 0; n < sums.samples; ++n) {
    const double b = sums.per_sample[n * sums.channels + k];
    const double of_gamma = (sums.dots[n * sums.channels + k] - norm.mean[k] * b) * inverse;
    gamma_sum += of_gamma * of_gamma;
    beta_sum += b * b;
  }
  gamma_squares.put(k, gamma_sum);
  beta_squares.put(k, beta_sum);
}

template <typename Args>
FoldedNorm folded_norm(const Args& args) {
  return {args.gamma.template data<float>(), args.mean.template data<float>(),
          args.variance.template data<float>(), args.epsilon};
}

}  // namespace

void fold_batch_norm_forward(Device& base, const FoldBatchNormForwardArgs& args) {
  const int64_t channels = args.filter.shape()[0];
  PANDA_LAUNCH(fold_filter, grid_for(channels, 1), dim3(kBlockThreads), 0, gpu_device(base),
               args.filter.data<float>(), folded_norm(args), args.beta.data<float>(),
               args.folded_filter.data<float>(), args.folded_bias.data<float>(),
               args.filter.numel() / channels);
}

void fold_batch_norm_backward(Device& base, const FoldBatchNormBackwardArgs& args) {
  const int64_t channels = args.filter.shape()[0];
  PANDA_LAUNCH(fold_gradient, grid_for(channels, 1), dim3(kBlockThreads), 0, gpu_device(base),
               args.filter.data<float>(), folded_norm(args), args.dL_dfolded_filter.data<float>(),
               args.dL_dfolded_bias.data<float>(), gradient_output<float>(args.dL_dfilter),
               gradient_output<float>(args.dL_dgamma), gradient_output<float>(args.dL_dbeta),
               args.filter.numel() / channels);
}

void fold_batch_norm_squares(Device& base, const FoldBatchNormSquaresArgs& args) {
  const int64_t channels = args.squares.shape()[0];
  const SampleSums sums = {args.dots.data<float>(), args.per_sample.data<float>(), args.dots.shape()[0],
                           channels};
  PANDA_LAUNCH(fold_squares, grid_for(channels, 1), dim3(kBlockThreads), 0, gpu_device(base),
               args.squares.data<float>(), folded_norm(args), sums,
               gradient_output<float>(args.filter_squares), gradient_output<float>(args.gamma_squares),
               gradient_output<float>(args.beta_squares), args.squares.numel() / channels);
}

}  // namespace panda::kernels::PANDA_TARGET
