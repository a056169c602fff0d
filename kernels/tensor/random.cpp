#include "kernels/tensor/random.h"

#include <cmath>
#include <numbers>
#include <numeric>

#include "kernels/tensor/error.h"

namespace panda {

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

uint32_t Random::next_u32() {
  if (left_ == 0) {
    values_ = philox4x32({static_cast<uint32_t>(block_), static_cast<uint32_t>(block_ >> 32),
                          static_cast<uint32_t>(stream_), static_cast<uint32_t>(stream_ >> 32)},
                         {static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32)});
    ++block_;
    left_ = 4;
  }
  return values_[static_cast<size_t>(4 - left_--)];
}

uint64_t Random::next_u64() {
  const uint64_t low = next_u32();
  return low | (uint64_t{next_u32()} << 32);
}

int64_t Random::next_below(int64_t bound) {
  PANDA_CHECK(bound >= 1, "next_below: bound ", bound);
  const auto range = static_cast<uint64_t>(bound);
  const uint64_t rejected =
      (UINT64_MAX - range + 1) % range;  // 2^64 mod range: the uneven tail is drawn again
  for (;;) {
    const uint64_t value = next_u64();
    if (value <= UINT64_MAX - rejected) return static_cast<int64_t>(value % range);
  }
}

double Random::next_uniform() {
  return static_cast<double>(next_u64() >> 11) * 0x1p-53;
}

double Random::next_normal() {
  if (has_spare_normal_) {
    has_spare_normal_ = false;
    return spare_normal_;
  }
  const double radius = std::sqrt(-2.0 * std::log(1.0 - next_uniform()));  // 1 - u is in (0, 1]
  const double angle = 2.0 * std::numbers::pi * next_uniform();
  spare_normal_ = radius * std::sin(angle);
  has_spare_normal_ = true;
  return radius * std::cos(angle);
}

std::vector<int64_t> Random::permutation(int64_t count) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), int64_t{0});
  for (int64_t i = count - 1; i > 0; --i)
    std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(next_below(i + 1))]);
  return order;
}

RandomOrder::RandomOrder(int64_t count, uint64_t seed, uint64_t stream)
    : count_(static_cast<uint64_t>(count)), seed_(seed), stream_(stream) {
  PANDA_CHECK(count >= 0, "random order: count ", count, ", expected >= 0");
  while (half_bits_ < 32 && (uint64_t{1} << (2 * half_bits_)) < count_) ++half_bits_;
}

uint64_t RandomOrder::permuted(uint64_t x) const {
  constexpr uint32_t kRounds = 6;
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t left = x >> half_bits_;
  uint64_t right = x & mask;
  for (uint32_t round = 0; round < kRounds; ++round) {
    const uint32_t mixed = philox4x32({static_cast<uint32_t>(right), round, static_cast<uint32_t>(stream_),
                                       static_cast<uint32_t>(stream_ >> 32)},
                                      {static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32)})[0];
    const uint64_t next = left ^ (mixed & mask);
    left = right;
    right = next;
  }
  return (left << half_bits_) | right;
}

int64_t RandomOrder::operator[](int64_t i) const {
  PANDA_INTERNAL_ASSERT(i >= 0 && static_cast<uint64_t>(i) < count_, "random order: ", i, " of ", count_);
  uint64_t x = permuted(static_cast<uint64_t>(i));
  while (x >= count_) x = permuted(x);  // a cycle of the network comes back below `count`
  return static_cast<int64_t>(x);
}

}  // namespace panda
