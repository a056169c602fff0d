#include "kernels/tensor/arena.h"

#include <algorithm>
#include <numeric>

#include "kernels/tensor/checked_math.h"

namespace panda {

int64_t place_in_arena(std::vector<ArenaRequest>& requests) {
  std::vector<size_t> order(requests.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return requests[a].bytes > requests[b].bytes; });
  int64_t total = 0;
  std::vector<const ArenaRequest*> placed;  // by rising offset
  for (const size_t index : order) {
    ArenaRequest& request = requests[index];
    int64_t offset = 0;
    for (const ArenaRequest* other : placed) {
      const bool meet = request.first <= other->last && other->first <= request.last;
      if (!meet || offset + request.bytes <= other->offset) continue;
      offset = std::max(offset, round_up(other->offset + other->bytes, kArenaAlignment));
    }
    request.offset = offset;
    total = std::max(total, checked_add(offset, request.bytes));
    const auto place =
        std::upper_bound(placed.begin(), placed.end(), offset,
                         [](int64_t value, const ArenaRequest* other) { return value < other->offset; });
    placed.insert(place, &request);
  }
  return total;
}

}  // namespace panda
