// Places of buffers in one allocation, when each buffer's lifetime is known beforehand.
#pragma once

#include <cstdint>
#include <vector>

namespace panda {

inline constexpr int64_t kArenaAlignment = 64;  ///< of every offset: what Device::allocate gives

struct ArenaRequest {
  int64_t bytes = 0;
  int first = 0;
  int last = 0;
  int64_t offset = 0;
};

/// Gives each entry an offset such that no two whose [first, last] steps meet overlap; returns the bytes
/// needed. Largest first, each at the lowest place that fits.
int64_t place_in_arena(std::vector<ArenaRequest>& requests);

}  // namespace panda
