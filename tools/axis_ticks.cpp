#include "tools/axis_ticks.h"

#include <algorithm>
#include <cmath>

#include "kernels/tensor/error.h"
#include "tools/output.h"

namespace panda::tools {

namespace {

int decimals_of(double step) {
  return std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 9);
}

}  // namespace

double tick_step(double range, int most) {
  const double raw = range / most;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= raw) return factor * power;
  }
  return 10 * power;
}

std::vector<double> ticks(double low, double high, double step) {
  std::vector<double> all;
  // The sum makes -0 a 0.
  for (double i = std::ceil(low / step - 1e-9) + 0.0; i <= high / step + 1e-9; ++i) all.push_back(i * step);
  return all;
}

std::string tick_text(double value, double step) {
  if (step >= 1e-4 && step < 1e5) return fixed_number(value, decimals_of(step));
  if (value == 0) return "0";
  const double power = std::floor(std::log10(std::abs(value)) + 1e-9);
  return text(fixed_number(value / std::pow(10, power), decimals_of(step / std::pow(10, power))), "e", power);
}

}  // namespace panda::tools
