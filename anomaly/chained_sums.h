// Sums of f64 vectors in one defined order that vector instructions can follow.
#pragma once

#include <array>
#include <cstdint>

namespace panda::anomaly {

/// sum_i a_i b_i: eight chains, chain c of the indices i = c mod 8 in rising order, then the chains in rising
/// order, then what is left of n. The same bits on every machine (no contraction).
[[nodiscard]] inline double chained_dot(const double* a, const double* b, int64_t n) {
  constexpr int64_t kChains = 8;
  std::array<double, kChains> chains{};
  int64_t i = 0;
  for (; i + kChains <= n; i += kChains) {
    for (int64_t c = 0; c < kChains; ++c) chains[static_cast<size_t>(c)] += a[i + c] * b[i + c];
  }
  double sum = 0;
  for (const double chain : chains) sum += chain;
  for (; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace panda::anomaly
