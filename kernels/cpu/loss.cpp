// Losses on the cpu device: a row per item, all in f64. A batch has few rows: nothing here is worth more than
// plain loops.
#include "kernels/loss.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/cpu_kernels.h"

namespace panda::kernels::cpu {

namespace {

/// The row's label, or -1 for one that is no class.
int64_t label_of(const ConstTensorView& labels, int64_t n, int64_t classes) {
  const int64_t label = labels.data<int64_t>()[n];
  return label >= 0 && label < classes ? label : -1;
}

double log_sum_exp(const float* x, int64_t count) {
  const double largest = *std::max_element(x, x + count);
  double sum = 0;
  for (int64_t c = 0; c < count; ++c) sum += std::exp(x[c] - largest);
  return largest + std::log(sum);
}

void put(const Gradient& gradient, int64_t i, double value) {
  float& out = gradient.view.data<float>()[i];
  out = static_cast<float>(gradient.accumulates() ? out + value : value);
}

}  // namespace

void softmax_cross_entropy_forward(Device& device, const SoftmaxCrossEntropyForwardArgs& args) {
  const int64_t classes = args.logits.shape()[1];
  device.threads().parallel_for(args.labels.numel(), [&](int64_t n, int) {
    const float* x = args.logits.data<float>() + n * classes;
    const int64_t label = label_of(args.labels, n, classes);
    const double normalizer = log_sum_exp(x, classes);
    double sum = 0;
    for (int64_t c = 0; c < classes; ++c) sum += normalizer - x[c];
    const double of_label = label >= 0 ? normalizer - x[label] : NAN;
    const double loss = (1 - args.smoothing) * of_label + args.smoothing * sum / static_cast<double>(classes);
    args.losses.data<float>()[n] = static_cast<float>(args.scale * loss);
  });
}

void softmax_cross_entropy_backward(Device& device, const SoftmaxCrossEntropyBackwardArgs& args) {
  const int64_t classes = args.logits.shape()[1];
  device.threads().parallel_for(args.labels.numel(), [&](int64_t n, int) {
    const float* x = args.logits.data<float>() + n * classes;
    const int64_t label = label_of(args.labels, n, classes);
    const double normalizer = log_sum_exp(x, classes);
    const double weight = label >= 0 ? args.dL_dlosses.data<float>()[n] * args.scale : NAN;
    const double elsewhere = args.smoothing / static_cast<double>(classes);
    for (int64_t c = 0; c < classes; ++c) {
      const double target = (c == label ? 1 - args.smoothing : 0.0) + elsewhere;
      put(args.dL_dlogits, n * classes + c, weight * (std::exp(x[c] - normalizer) - target));
    }
  });
}

void logistic_loss_forward(Device&, const LogisticLossForwardArgs& args) {
  for (int64_t n = 0; n < args.logits.numel(); ++n) {
    const double z = args.logits.data<float>()[n];
    const double t = args.targets.data<float>()[n];
    const double loss = (z > 0 ? z : 0.0) - z * t + std::log1p(std::exp(-std::abs(z)));
    args.losses.data<float>()[n] = static_cast<float>(args.scale * loss);
  }
}

void logistic_loss_backward(Device&, const LogisticLossBackwardArgs& args) {
  for (int64_t n = 0; n < args.logits.numel(); ++n) {
    const double z = args.logits.data<float>()[n];
    const double e = std::exp(-std::abs(z));
    const double sigmoid = (z >= 0 ? 1.0 : e) / (1 + e);
    put(args.dL_dlogits, n,
        args.dL_dlosses.data<float>()[n] * args.scale * (sigmoid - args.targets.data<float>()[n]));
  }
}

void compactness_forward(Device& device, const CompactnessForwardArgs& args) {
  const int64_t d = args.x.shape()[1];
  device.threads().parallel_for(args.x.shape()[0], [&](int64_t n, int) {
    double sum = 0;
    for (int64_t j = 0; j < d; ++j) {
      const double difference = double{args.x.data<float>()[n * d + j]} - args.center.data<float>()[j];
      sum += difference * difference;
    }
    args.losses.data<float>()[n] = static_cast<float>(args.scale * sum);
  });
}

void compactness_backward(Device& device, const CompactnessBackwardArgs& args) {
  const int64_t d = args.x.shape()[1];
  device.threads().parallel_for(args.x.shape()[0], [&](int64_t n, int) {
    const double weight = args.dL_dlosses.data<float>()[n] * 2 * args.scale;
    for (int64_t j = 0; j < d; ++j) {
      const double difference = double{args.x.data<float>()[n * d + j]} - args.center.data<float>()[j];
      put(args.dL_dx, n * d + j, weight * difference);
    }
  });
}

}  // namespace panda::kernels::cpu
