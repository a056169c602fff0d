// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011).
//
// The value at a counter depends on (seed, stream, counter) alone, so that work may be cut in any way among
// threads and devices and a resumed run continues with the same numbers.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace panda {

/// The bijection itself: ten rounds on a 128-bit counter under a 64-bit key.
[[nodiscard]] std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter,
                                                 std::array<uint32_t, 2> key);

/// A sequence of random numbers. `stream` separates uses of one seed (shuffling, initialisation, ...).
class Random {
 public:
  explicit Random(uint64_t seed, uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  [[nodiscard]] uint32_t next_u32();
  [[nodiscard]] uint64_t next_u64();
  /// Uniform in [0, bound), without bias, for bound >= 1.
  [[nodiscard]] int64_t next_below(int64_t bound);
  /// Uniform in [0, 1): 53 random bits.
  [[nodiscard]] double next_uniform();
  /// Uniform in [low, high).
  [[nodiscard]] double next_uniform(double low, double high) { return low + (high - low) * next_uniform(); }
  /// Standard normal by Box-Muller (both values of a pair are used).
  [[nodiscard]] double next_normal();
  /// A uniformly drawn permutation of 0..count-1 (Fisher-Yates).
  [[nodiscard]] std::vector<int64_t> permutation(int64_t count);

 private:
  uint64_t seed_;
  uint64_t stream_;
  uint64_t block_ = 0;
  std::array<uint32_t, 4> values_{};
  int left_ = 0;
  bool has_spare_normal_ = false;
  double spare_normal_ = 0;
};

/// A permutation of 0..count-1 that takes no memory: a Feistel network of six rounds over an even number of
/// bits, with Philox as its round function, walked until it meets a number below `count` (Black and Rogaway
/// 2002). Of the count! permutations it draws among those that such networks make.
class RandomOrder {
 public:
  RandomOrder(int64_t count, uint64_t seed, uint64_t stream);
  /// Which comes i-th, 0 <= i < count.
  [[nodiscard]] int64_t operator[](int64_t i) const;

 private:
  [[nodiscard]] uint64_t permuted(uint64_t x) const;

  uint64_t count_;
  uint64_t seed_;
  uint64_t stream_;
  int half_bits_ = 1;
};

}  // namespace panda
