// How the cpu device cuts work into items for its threads.
//
// Every item writes its own part of the output and computes each element from the first product to the last,
// so results do not depend on the cut, and the cut may depend on the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/tensor/checked_math.h"

namespace panda::kernels::cpu {

/// Items per thread that a cut aims at: enough that the last ones end nearly together, few enough that each
/// is long.
inline constexpr int64_t kItemsPerThread = 4;

/// Part `index` of [0, count) cut into `parts` pieces whose sizes differ by at most one.
struct Range {
  int64_t begin;
  int64_t end;
  [[nodiscard]] int64_t size() const { return end - begin; }
};
[[nodiscard]] inline Range part_of(int64_t count, int64_t parts, int64_t index) {
  return {count * index / parts, count * (index + 1) / parts};
}

/// Parts into which to cut `divisible` units, given `items` items without that cut, to reach kItemsPerThread
/// for every thread.
[[nodiscard]] inline int64_t parts_for(int64_t items, int64_t divisible, int threads) {
  if (threads == 1) return 1;
  return std::clamp<int64_t>(ceil_div(kItemsPerThread * threads, items), 1, std::max<int64_t>(divisible, 1));
}

}  // namespace panda::kernels::cpu
