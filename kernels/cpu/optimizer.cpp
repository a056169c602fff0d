// Parameter updates on the cpu device: blocks of 4096 elements (simd/training.inl) cut among the threads; the
// blocks' sums are added in order.
#include "kernels/optimizer.h"

#include <cmath>
#include <vector>

#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

namespace {

constexpr int64_t kBlock = 4096;

/// body(begin, count, index) for each block of [0, total).
template <typename Body>
void for_blocks(CpuDevice& device, int64_t total, Body body) {
  device.threads().parallel_for(ceil_div(total, kBlock), [&](int64_t block, int) {
    body(block * kBlock, std::min(kBlock, total - block * kBlock), block);
  });
}

void add_in_order(const TensorView& scalar, const std::vector<double>& parts) {
  if (!scalar.present()) return;
  double sum = 0;
  for (const double part : parts) sum += part;
  *scalar.data<double>() += sum;
}

}  // namespace

void ewc_gradient(Device& base, const EwcGradientArgs& args) {
  CpuDevice& device = cpu_device(base);
  const int64_t total = args.gradient.numel();
  std::vector<double> norms(static_cast<size_t>(ceil_div(total, kBlock)));
  std::vector<double> penalties(norms.size());
  const auto part = [](const ConstTensorView& view, int64_t begin) {
    return view.present() ? view.data<float>() + begin : nullptr;
  };
  for_blocks(device, total, [&](int64_t begin, int64_t count, int64_t block) {
    device.micro().ewc_block({.gradient = args.gradient.data<float>() + begin,
                              .theta = part(args.theta, begin),
                              .anchor = part(args.anchor, begin),
                              .importance = part(args.importance, begin),
                              .strength = args.strength,
                              .count = count,
                              .squared_norm = &norms[static_cast<size_t>(block)],
                              .penalty = &penalties[static_cast<size_t>(block)]});
  });
  add_in_order(args.squared_norm, norms);
  add_in_order(args.penalty, penalties);
}

void sgd_update(Device& base, const SgdUpdateArgs& args) {
  CpuDevice& device = cpu_device(base);
  double factor = 1;
  if (args.squared_norm.present()) {
    const double wanted = args.max_norm / (std::sqrt(*args.squared_norm.data<double>()) + 1e-6);
    factor = wanted > 1 ? 1.0 : wanted;  // a NaN stays
  }
  for_blocks(device, args.theta.numel(), [&](int64_t begin, int64_t count, int64_t) {
    device.micro().sgd_block({.theta = args.theta.data<float>() + begin,
                              .velocity = args.velocity.data<float>() + begin,
                              .gradient = args.gradient.data<float>() + begin,
                              .factor = factor,
                              .rate = args.rate,
                              .momentum = args.momentum,
                              .decay = args.decay,
                              .first_step = args.first_step,
                              .count = count});
  });
}

void adam_update(Device& base, const AdamUpdateArgs& args) {
  CpuDevice& device = cpu_device(base);
  const auto step = static_cast<double>(args.step);
  for_blocks(device, args.theta.numel(), [&](int64_t begin, int64_t count, int64_t) {
    device.micro().adam_block({.theta = args.theta.data<float>() + begin,
                               .first_moment = args.first_moment.data<float>() + begin,
                               .second_moment = args.second_moment.data<float>() + begin,
                               .gradient = args.gradient.data<float>() + begin,
                               .rate = args.rate,
                               .beta1 = args.beta1,
                               .beta2 = args.beta2,
                               .epsilon = args.epsilon,
                               .decay = args.decay,
                               .first_correction = 1 - std::pow(args.beta1, step),
                               .second_correction = 1 - std::pow(args.beta2, step),
                               .count = count});
  });
}

}  // namespace panda::kernels::cpu
