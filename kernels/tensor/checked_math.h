// Integer arithmetic on sizes that come from files and users: an overflow is an error, never a small number.
#pragma once

#include <cstdint>

#include "kernels/tensor/error.h"

namespace panda {

[[nodiscard]] inline int64_t checked_add(int64_t a, int64_t b) {
  int64_t sum = 0;
  PANDA_CHECK(!__builtin_add_overflow(a, b, &sum), "size overflow: ", a, " + ", b);
  return sum;
}

[[nodiscard]] inline int64_t checked_mul(int64_t a, int64_t b) {
  int64_t product = 0;
  PANDA_CHECK(!__builtin_mul_overflow(a, b, &product), "size overflow: ", a, " * ", b);
  return product;
}

/// Smallest multiple of `step` that is >= value, for value >= 0 and step > 0.
[[nodiscard]] inline int64_t round_up(int64_t value, int64_t step) {
  return checked_add(value, step - 1) / step * step;
}

[[nodiscard]] constexpr int64_t ceil_div(int64_t value, int64_t step) {
  return (value + step - 1) / step;
}

}  // namespace panda
