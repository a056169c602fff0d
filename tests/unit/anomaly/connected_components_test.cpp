#include "anomaly/connected_components.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "kernels/tensor/random.h"

namespace panda::anomaly {
namespace {

TEST(Components, AgreeWithFloodFill) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Random random(seed);
    const int64_t height = 1 + random.next_below(20);
    const int64_t width = 1 + random.next_below(20);
    std::vector<uint8_t> mask(static_cast<size_t>(height * width));
    for (uint8_t& pixel : mask) pixel = random.next_below(100) < 40 ? 255 : 0;
    std::vector<int32_t> expected(mask.size(), 0);
    std::vector<Box> boxes;
    int32_t count = 0;
    for (size_t start = 0; start < mask.size(); ++start) {
      if (mask[start] == 0 || expected[start] != 0) continue;
      expected[start] = ++count;
      std::vector<size_t> open = {start};
      Box box{height, width, 0, 0};
      while (!open.empty()) {
        const auto y = static_cast<int64_t>(open.back()) / width;
        const auto x = static_cast<int64_t>(open.back()) % width;
        open.pop_back();
        box = {std::min(box.top, y), std::min(box.left, x), std::max(box.bottom, y + 1),
               std::max(box.right, x + 1)};
        for (int64_t ny = std::max<int64_t>(0, y - 1); ny <= std::min(height - 1, y + 1); ++ny) {
          for (int64_t nx = std::max<int64_t>(0, x - 1); nx <= std::min(width - 1, x + 1); ++nx) {
            const auto at = static_cast<size_t>(ny * width + nx);
            if (mask[at] == 0 || expected[at] != 0) continue;
            expected[at] = count;
            open.push_back(at);
          }
        }
      }
      boxes.push_back(box);
    }
    const Components components = connected_components(mask, height, width);
    EXPECT_EQ(components.labels, expected) << seed;
    EXPECT_EQ(components.boxes, boxes) << seed;
    EXPECT_EQ(components.count(), count);
  }
}

}  // namespace
}  // namespace panda::anomaly
