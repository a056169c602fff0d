#include "kernels/batch_norm.h"

#include <cmath>

#include "kernels/reference/real.h"
#include "kernels/reference/reference_kernels.h"

namespace panda::kernels::reference {

namespace {

template <typename T>
void forward(const BatchNormForwardArgs& args) {
  const Shape& shape = args.x.shape();
  const ImageReader<T> x(args.x);
  T* y = args.y.data<T>();
  const T* gamma = args.gamma.data<T>();
  const T* beta = args.beta.data<T>();
  const T* mean = args.mean.data<T>();
  const T* variance = args.variance.data<T>();
  for_each_pixel(shape, [&](int64_t n, int64_t h, int64_t w) {
    for (int64_t c = 0; c < stored_channels(shape, args.y.layout()); ++c) {
      double result = 0;
      if (c < shape[1])
        result = (x(n, c, h, w) - mean[c]) / std::sqrt(variance[c] + args.epsilon) * gamma[c] + beta[c];
      y[image_offset(shape, args.y.layout(), n, c, h, w)] = static_cast<T>(result);
    }
  });
}

template <typename T>
void backward(const BatchNormBackwardArgs& args) {
  const Shape& shape = args.x.shape();
  const ImageReader<T> x(args.x);
  const ImageReader<T> dL_dy(args.dL_dy);
  const GradientWriter<T> dL_dx(args.dL_dx);
  for (int64_t c = 0; c < shape[1]; ++c) {
    const double mean = args.mean.data<T>()[c];
    const double a = 1 / std::sqrt(args.variance.data<T>()[c] + args.epsilon);
    double gamma_sum = 0;
    double beta_sum = 0;
    for_each_pixel(shape, [&](int64_t n, int64_t h, int64_t w) {
      const double gradient = dL_dy(n, c, h, w);
      beta_sum += gradient;
      gamma_sum += gradient * (x(n, c, h, w) - mean) * a;
      dL_dx.put(n, c, h, w, gradient * args.gamma.data<T>()[c] * a);
    });
    GradientWriter<T>(args.dL_dgamma).put(c, gamma_sum);
    GradientWriter<T>(args.dL_dbeta).put(c, beta_sum);
  }
}

template <typename T>
void training_forward(const BatchNormTrainingForwardArgs& args) {
  const Shape& shape = args.x.shape();
  const ImageReader<T> x(args.x);
  T* y = args.y.data<T>();
  const auto count = static_cast<double>(shape[0] * shape[2] * shape[3]);
  for (int64_t c = 0; c < shape[1]; ++c) {
    double sum = 0;
    for_each_pixel(shape, [&](int64_t n, int64_t h, int64_t w) { sum += x(n, c, h, w); });
    const double mean = sum / count;
    double squares = 0;
    for_each_pixel(shape, [&](int64_t n, int64_t h, int64_t w) {
      squares += (x(n, c, h, w) - mean) * (x(n, c, h, w) - mean);
    });
    const double a = 1 / std::sqrt(squares / count + args.epsilon);
    const double gamma = args.gamma.present() ? args.gamma.data<T>()[c] : 1.0;
    const double beta = args.beta.present() ? args.beta.data<T>()[c] : 0.0;
    for_each_pixel(shape, [&](int64_t n, int64_t h, int64_t w) {
      y[image_offset(shape, args.y.layout(), n, c, h, w)] =
          static_cast<T>((x(n, c, h, w) - mean) * a * gamma + beta);
    });
    args.mean.data<T>()[c] = static_cast<T>(mean);
    args.inverse_deviation.data<T>()[c] = static_cast<T>(a);
    if (!args.running_mean.present()) continue;
    T& running_mean = args.running_mean.data<T>()[c];
    T& running_variance = args.running_variance.data<T>()[c];
    const double unbiased = count > 1 ? squares / (count - 1) : 0.0;
    running_mean = static_cast<T>((1 - args.momentum) * running_mean + args.momentum * mean);
    running_variance = static_cast<T>((1 - args.momentum) * running_variance + args.momentum * unbiased);
  }
}

template <typename T>
void training_backward(const BatchNormTrainingBackwardArgs& args) {
  const Shape& shape = args.x.shape();
  const ImageReader<T> x(args.x);
  const ImageReader<T> dL_dy(args.dL_dy);
  const GradientWriter<T> dL_dx(args.dL_dx);
  const auto count = static_cast<double>(shape[0] * shape[2] * shape[3]);
  for (int64_t c = 0; c < shape[1]; ++c) {
    const double mean = args.mean.data<T>()[c];
    const double a = args.inverse_deviation.data<T>()[c];
    const double gamma = args.gamma.present() ? args.gamma.data<T>()[c] : 1.0;
    double gamma_sum = 0;
    double beta_sum = 0;
    for_each_pixel(shape, [&](int64_t n, int64_t h, int64_t w) {
      beta_sum += dL_dy(n, c, h, w);
      gamma_sum += dL_dy(n, c, h, w) * (x(n, c, h, w) - mean) * a;
    });
    for_each_pixel(shape, [&](int64_t n, int64_t h, int64_t w) {
      const double xhat = (x(n, c, h, w) - mean) * a;
      dL_dx.put(n, c, h, w, gamma * a * (dL_dy(n, c, h, w) - beta_sum / count - xhat * gamma_sum / count));
    });
    GradientWriter<T>(args.dL_dgamma).put(c, gamma_sum);
    GradientWriter<T>(args.dL_dbeta).put(c, beta_sum);
  }
}

template <typename T>
void fold_forward(const FoldBatchNormForwardArgs& args) {
  const int64_t channels = args.filter.shape()[0];
  const int64_t row = args.filter.numel() / channels;
  for (int64_t k = 0; k < channels; ++k) {
    const double a = args.gamma.data<T>()[k] / std::sqrt(args.variance.data<T>()[k] + args.epsilon);
    args.folded_bias.data<T>()[k] = static_cast<T>(args.beta.data<T>()[k] - args.mean.data<T>()[k] * a);
    for (int64_t i = k * row; i < (k + 1) * row; ++i)
      args.folded_filter.data<T>()[i] = static_cast<T>(args.filter.data<T>()[i] * a);
  }
}

template <typename T>
void fold_backward(const FoldBatchNormBackwardArgs& args) {
  const int64_t channels = args.filter.shape()[0];
  const int64_t row = args.filter.numel() / channels;
  const GradientWriter<T> dL_dfilter(args.dL_dfilter);
  for (int64_t k = 0; k < channels; ++k) {
    const double inverse = 1 / std::sqrt(args.variance.data<T>()[k] + args.epsilon);
    const double b = args.dL_dfolded_bias.data<T>()[k];
    double dot = 0;
    for (int64_t i = k * row; i < (k + 1) * row; ++i) {
      const double gradient = args.dL_dfolded_filter.data<T>()[i];
      dot += args.filter.data<T>()[i] * gradient;
      dL_dfilter.put(i, args.gamma.data<T>()[k] * inverse * gradient);
    }
    GradientWriter<T>(args.dL_dgamma).put(k, (dot - args.mean.data<T>()[k] * b) * inverse);
    GradientWriter<T>(args.dL_dbeta).put(k, b);
  }
}

template <typename T>
void fold_squares(const FoldBatchNormSquaresArgs& args) {
  const int64_t channels = args.squares.shape()[0];
  const int64_t row = args.squares.numel() / channels;
  const GradientWriter<T> filter_squares(args.filter_squares);
  for (int64_t k = 0; k < channels; ++k) {
    const double inverse = 1 / std::sqrt(args.variance.data<T>()[k] + args.epsilon);
    const double a = args.gamma.data<T>()[k] * inverse;
    for (int64_t i = k * row; i < (k + 1) * row; ++i)
      filter_squares.put(i, a * a * args.squares.data<T>()[i]);
    double gamma_sum = 0;
    double beta_sum = 0;
    for (int64_t n = 0; n < args.dots.shape()[0]; ++n) {
      const double b = args.per_sample.data<T>()[n * channels + k];
      const double of_gamma = (args.dots.data<T>()[n * channels + k] - args.mean.data<T>()[k] * b) * inverse;
      gamma_sum += of_gamma * of_gamma;
      beta_sum += b * b;
    }
    GradientWriter<T>(args.gamma_squares).put(k, gamma_sum);
    GradientWriter<T>(args.beta_squares).put(k, beta_sum);
  }
}

}  // namespace

void batch_norm_forward(Device&, const BatchNormForwardArgs& args) {
  with_real(args.x.dtype(), [&](auto real) { forward<decltype(real)>(args); });
}
void batch_norm_backward(Device&, const BatchNormBackwardArgs& args) {
  with_real(args.x.dtype(), [&](auto real) { backward<decltype(real)>(args); });
}
void batch_norm_training_forward(Device&, const BatchNormTrainingForwardArgs& args) {
  with_real(args.x.dtype(), [&](auto real) { training_forward<decltype(real)>(args); });
}
void batch_norm_training_backward(Device&, const BatchNormTrainingBackwardArgs& args) {
  with_real(args.x.dtype(), [&](auto real) { training_backward<decltype(real)>(args); });
}
void fold_batch_norm_forward(Device&, const FoldBatchNormForwardArgs& args) {
  with_real(args.filter.dtype(), [&](auto real) { fold_forward<decltype(real)>(args); });
}
void fold_batch_norm_backward(Device&, const FoldBatchNormBackwardArgs& args) {
  with_real(args.filter.dtype(), [&](auto real) { fold_backward<decltype(real)>(args); });
}
void fold_batch_norm_squares(Device&, const FoldBatchNormSquaresArgs& args) {
  with_real(args.squares.dtype(), [&](auto real) { fold_squares<decltype(real)>(args); });
}

}  // namespace panda::kernels::reference
