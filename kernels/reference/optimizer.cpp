#include "kernels/optimizer.h"

#include <algorithm>
#include <cmath>

#include "kernels/reference/reference_kernels.h"

namespace panda::kernels::reference {

void ewc_gradient(Device&, const EwcGradientArgs& args) {
  auto* gradient = args.gradient.data<float>();
  double squared_norm = 0;
  double penalty = 0;
  for (int64_t i = 0; i < args.gradient.numel(); ++i) {
    if (args.anchor.present()) {
      const double away = double{args.theta.data<float>()[i]} - args.anchor.data<float>()[i];
      const double importance = args.importance.present() ? args.importance.data<float>()[i] : 1.0;
      gradient[i] = static_cast<float>(gradient[i] + args.strength * importance * away);
      penalty += args.strength / 2 * importance * away * away;
    }
    squared_norm += double{gradient[i]} * gradient[i];
  }
  if (args.squared_norm.present()) *args.squared_norm.data<double>() += squared_norm;
  if (args.penalty.present()) *args.penalty.data<double>() += penalty;
}

void sgd_update(Device&, const SgdUpdateArgs& args) {
  double factor = 1;
  if (args.squared_norm.present()) {
    const double wanted = args.max_norm / (std::sqrt(*args.squared_norm.data<double>()) + 1e-6);
    factor = wanted > 1 ? 1.0 : wanted;
  }
  auto* theta = args.theta.data<float>();
  auto* velocity = args.velocity.data<float>();
  const auto* gradient = args.gradient.data<float>();
  for (int64_t i = 0; i < args.theta.numel(); ++i) {
    const double g = factor * gradient[i] + args.decay * theta[i];
    velocity[i] = static_cast<float>(args.first_step ? g : args.momentum * velocity[i] + g);
    theta[i] = static_cast<float>(theta[i] - args.rate * velocity[i]);
  }
}

void adam_update(Device&, const AdamUpdateArgs& args) {
  auto* theta = args.theta.data<float>();
  auto* m = args.first_moment.data<float>();
  auto* v = args.second_moment.data<float>();
  const auto* gradient = args.gradient.data<float>();
  const double m_correction = 1 - std::pow(args.beta1, static_cast<double>(args.step));
  const double v_correction = 1 - std::pow(args.beta2, static_cast<double>(args.step));
  for (int64_t i = 0; i < args.theta.numel(); ++i) {
    const double g = gradient[i] + args.decay * theta[i];
    m[i] = static_cast<float>(args.beta1 * m[i] + (1 - args.beta1) * g);
    v[i] = static_cast<float>(args.beta2 * v[i] + (1 - args.beta2) * g * g);
    theta[i] = static_cast<float>(theta[i] - args.rate * (m[i] / m_correction) /
                                                 (std::sqrt(v[i] / v_correction) + args.epsilon));
  }
}

}  // namespace panda::kernels::reference
