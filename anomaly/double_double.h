// Numbers of about 106 bits, as unevaluated sums of two doubles: for sums whose one rounding should be the
// last one.
//
// Source: Dekker, "A floating-point technique for extending the available precision", Numer. Math. 18 (1971);
// Knuth's TwoSum; the product's error by fused multiply-add.
#pragma once

#include <cmath>

namespace panda::anomaly {

struct DoubleDouble {
  double high = 0;
  double low = 0;  ///< |low| <= half an ulp of high

  DoubleDouble() = default;
  DoubleDouble(double value) : high(value) {}  // NOLINT: every double is one
  DoubleDouble(double h, double l) : high(h + l), low(l - (high - h)) {}

  [[nodiscard]] double rounded() const { return high; }
};

[[nodiscard]] inline DoubleDouble operator+(const DoubleDouble& a, const DoubleDouble& b) {
  const double sum = a.high + b.high;
  const double part = sum - a.high;
  const double error = (a.high - (sum - part)) + (b.high - part);
  return {sum, error + (a.low + b.low)};
}

[[nodiscard]] inline DoubleDouble operator-(const DoubleDouble& a, const DoubleDouble& b) {
  return a + DoubleDouble{-b.high, -b.low};
}

[[nodiscard]] inline DoubleDouble operator*(const DoubleDouble& a, const DoubleDouble& b) {
  const double product = a.high * b.high;
  const double error = std::fma(a.high, b.high, -product);
  return {product, error + (a.high * b.low + a.low * b.high)};
}

[[nodiscard]] inline DoubleDouble operator/(const DoubleDouble& a, const DoubleDouble& b) {
  const double first = a.high / b.high;
  const DoubleDouble rest = a - b * first;
  const double second = rest.high / b.high;
  const DoubleDouble last = rest - b * second;
  return DoubleDouble{first, second} + DoubleDouble(last.high / b.high);
}

}  // namespace panda::anomaly
