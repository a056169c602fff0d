#include "kernels/loss.h"

#include <algorithm>
#include <cmath>

#include "kernels/reference/real.h"
#include "kernels/reference/reference_kernels.h"

namespace panda::kernels::reference {

namespace {

/// The row's label, or -1 for one that is no class.
int64_t label_of(const ConstTensorView& labels, int64_t n, int64_t classes) {
  const int64_t label = labels.data<int64_t>()[n];
  return label >= 0 && label < classes ? label : -1;
}

/// log sum_c exp(x[c]).
template <typename T>
double log_sum_exp(const T* x, int64_t count) {
  double largest = x[0];
  for (int64_t c = 1; c < count; ++c) largest = std::max(largest, double{x[c]});
  double sum = 0;
  for (int64_t c = 0; c < count; ++c) sum += std::exp(x[c] - largest);
  return largest + std::log(sum);
}

template <typename T>
void cross_entropy(const SoftmaxCrossEntropyForwardArgs& args) {
  const int64_t classes = args.logits.shape()[1];
  for (int64_t n = 0; n < args.labels.numel(); ++n) {
    const T* x = args.logits.data<T>() + n * classes;
    const int64_t label = label_of(args.labels, n, classes);
    const double normalizer = log_sum_exp(x, classes);
    double sum = 0;
    for (int64_t c = 0; c < classes; ++c) sum += normalizer - x[c];
    const double of_label = label >= 0 ? normalizer - x[label] : NAN;
    const double loss = (1 - args.smoothing) * of_label + args.smoothing * sum / static_cast<double>(classes);
    args.losses.data<T>()[n] = static_cast<T>(args.scale * loss);
  }
}

template <typename T>
void cross_entropy_gradient(const SoftmaxCrossEntropyBackwardArgs& args) {
  const int64_t classes = args.logits.shape()[1];
  const GradientWriter<T> dL_dlogits(args.dL_dlogits);
  for (int64_t n = 0; n < args.labels.numel(); ++n) {
    const T* x = args.logits.data<T>() + n * classes;
    const int64_t label = label_of(args.labels, n, classes);
    const double normalizer = log_sum_exp(x, classes);
    const double weight = label >= 0 ? args.dL_dlosses.data<T>()[n] * args.scale : NAN;
    for (int64_t c = 0; c < classes; ++c) {
      const double target =
          (c == label ? 1 - args.smoothing : 0.0) + args.smoothing / static_cast<double>(classes);
      dL_dlogits.put(n * classes + c, weight * (std::exp(x[c] - normalizer) - target));
    }
  }
}

template <typename T>
void logistic(const LogisticLossForwardArgs& args) {
  for (int64_t n = 0; n < args.logits.numel(); ++n) {
    const double z = args.logits.data<T>()[n];
    const double t = args.targets.data<T>()[n];
    args.losses.data<T>()[n] =
        static_cast<T>(args.scale * ((z > 0 ? z : 0.0) - z * t + std::log1p(std::exp(-std::abs(z)))));
  }
}

template <typename T>
void logistic_gradient(const LogisticLossBackwardArgs& args) {
  const GradientWriter<T> dL_dlogits(args.dL_dlogits);
  for (int64_t n = 0; n < args.logits.numel(); ++n) {
    const double z = args.logits.data<T>()[n];
    const double e = std::exp(-std::abs(z));
    const double sigmoid = (z >= 0 ? 1.0 : e) / (1 + e);
    dL_dlogits.put(n, args.dL_dlosses.data<T>()[n] * args.scale * (sigmoid - args.targets.data<T>()[n]));
  }
}

template <typename T>
void compactness(const CompactnessForwardArgs& args) {
  const int64_t d = args.x.shape()[1];
  for (int64_t n = 0; n < args.x.shape()[0]; ++n) {
    double sum = 0;
    for (int64_t j = 0; j < d; ++j) {
      const double difference = double{args.x.data<T>()[n * d + j]} - args.center.data<T>()[j];
      sum += difference * difference;
    }
    args.losses.data<T>()[n] = static_cast<T>(args.scale * sum);
  }
}

template <typename T>
void compactness_gradient(const CompactnessBackwardArgs& args) {
  const int64_t d = args.x.shape()[1];
  const GradientWriter<T> dL_dx(args.dL_dx);
  for (int64_t i = 0; i < args.x.numel(); ++i) {
    const double difference = double{args.x.data<T>()[i]} - args.center.data<T>()[i % d];
    dL_dx.put(i, args.dL_dlosses.data<T>()[i / d] * 2 * args.scale * difference);
  }
}

}  // namespace

void softmax_cross_entropy_forward(Device&, const SoftmaxCrossEntropyForwardArgs& args) {
  with_real(args.logits.dtype(), [&](auto real) { cross_entropy<decltype(real)>(args); });
}
void softmax_cross_entropy_backward(Device&, const SoftmaxCrossEntropyBackwardArgs& args) {
  with_real(args.logits.dtype(), [&](auto real) { cross_entropy_gradient<decltype(real)>(args); });
}
void logistic_loss_forward(Device&, const LogisticLossForwardArgs& args) {
  with_real(args.logits.dtype(), [&](auto real) { logistic<decltype(real)>(args); });
}
void logistic_loss_backward(Device&, const LogisticLossBackwardArgs& args) {
  with_real(args.logits.dtype(), [&](auto real) { logistic_gradient<decltype(real)>(args); });
}
void compactness_forward(Device&, const CompactnessForwardArgs& args) {
  with_real(args.x.dtype(), [&](auto real) { compactness<decltype(real)>(args); });
}
void compactness_backward(Device&, const CompactnessBackwardArgs& args) {
  with_real(args.x.dtype(), [&](auto real) { compactness_gradient<decltype(real)>(args); });
}

}  // namespace panda::kernels::reference
