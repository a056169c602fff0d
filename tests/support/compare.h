// Comparators of tests. A comparator accepts only what it can show to be right: NaN never passes, shapes are
// checked first, an all-zero expectation is refused unless it is announced. They have tests of their own
// (tests/unit/support).
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/tensor/text.h"

namespace panda::test {

struct Verdict {
  bool accepted = false;
  std::string reason;  ///< "" if accepted
  explicit operator bool() const { return accepted; }
};

enum class Zeros { kRefused, kExpected };

/// Largest |x|; used to show that an expectation is not vacuous.
[[nodiscard]] inline double largest_magnitude(const std::vector<double>& values) {
  double largest = 0;
  for (const double value : values) largest = std::fmax(largest, std::abs(value));
  return largest;
}

/// |actual[i] - expected[i]| <= tolerance[i] for every i. Where `expected` is NaN or infinite, `actual` must
/// be the same.
[[nodiscard]] inline Verdict compare_elementwise(const std::vector<double>& actual,
                                                 const std::vector<double>& expected,
                                                 const std::vector<double>& tolerance,
                                                 Zeros zeros = Zeros::kRefused) {
  if (actual.size() != expected.size() || tolerance.size() != expected.size()) {
    return {false, text("sizes differ: ", actual.size(), " actual, ", expected.size(), " expected, ",
                        tolerance.size(), " tolerances")};
  }
  if (zeros == Zeros::kRefused && !expected.empty() && largest_magnitude(expected) == 0) {
    return {false, "the expectation is all zeros: it proves nothing"};
  }
  for (size_t i = 0; i < actual.size(); ++i) {
    bool accepted = false;
    if (std::isnan(expected[i])) {
      accepted = std::isnan(actual[i]);
    } else if (std::isinf(expected[i])) {
      accepted = actual[i] == expected[i];
    } else {
      accepted = std::abs(actual[i] - expected[i]) <= tolerance[i];  // false for NaN
    }
    if (!accepted) {
      std::ostringstream out;
      out.precision(9);
      out << "element " << i << " of " << actual.size() << ": actual " << actual[i] << ", expected "
          << expected[i] << ", tolerance " << tolerance[i];
      return {false, out.str()};
    }
  }
  return {true, ""};
}

/// |actual - expected|_2 / |expected|_2, infinite where it is not defined (NaN anywhere, other sizes, zero
/// expectation).
[[nodiscard]] inline double relative_error(const std::vector<double>& actual,
                                           const std::vector<double>& expected) {
  if (actual.size() != expected.size()) return INFINITY;
  double error = 0;
  double norm = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    error += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  const double relative = std::sqrt(error / norm);
  return std::isfinite(relative) ? relative : INFINITY;
}

}  // namespace panda::test
