// Two passes with union-find (Rosenfeld and Pfaltz, "Sequential operations in digital picture processing",
// 1966): provisional labels in row order, then each is replaced by its set's number.
#include "anomaly/connected_components.h"

#include <algorithm>
#include <numeric>

#include "kernels/tensor/checked_math.h"

namespace panda::anomaly {

namespace {

class DisjointSets {
 public:
  int32_t make() {
    parent_.push_back(static_cast<int32_t>(parent_.size()));
    return parent_.back();
  }
  int32_t find(int32_t a) {
    while (parent_[static_cast<size_t>(a)] != a) {
      int32_t& up = parent_[static_cast<size_t>(a)];
      up = parent_[static_cast<size_t>(up)];  // halves the path
      a = up;
    }
    return a;
  }
  /// The smaller number becomes the root, so that a set is named by its first pixel's label.
  int32_t join(int32_t a, int32_t b) {
    a = find(a);
    b = find(b);
    parent_[static_cast<size_t>(std::max(a, b))] = std::min(a, b);
    return std::min(a, b);
  }
  [[nodiscard]] size_t size() const { return parent_.size(); }

 private:
  std::vector<int32_t> parent_;
};

}  // namespace

Components connected_components(std::span<const uint8_t> mask, int64_t height, int64_t width) {
  const int64_t pixels = checked_mul(height, width);
  PANDA_CHECK(height >= 0 && width >= 0 && static_cast<int64_t>(mask.size()) == pixels && pixels < INT32_MAX,
              "connected components: a mask of ", mask.size(), " pixels for ", height, " x ", width,
              ", expected as many, below 2^31 - 1");
  Components result;
  result.labels.assign(mask.size(), 0);
  DisjointSets sets;
  sets.make();  // 0: outside
  const auto label = [&](int64_t y, int64_t x) -> int32_t& {
    return result.labels[static_cast<size_t>(y * width + x)];
  };
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      if (mask[static_cast<size_t>(y * width + x)] == 0) continue;
      int32_t own = 0;
      const auto meet = [&](int64_t ny, int64_t nx) {
        if (ny < 0 || nx < 0 || nx >= width || label(ny, nx) == 0) return;
        own = own == 0 ? sets.find(label(ny, nx)) : sets.join(own, label(ny, nx));
      };
      meet(y - 1, x - 1);
      meet(y - 1, x);
      meet(y - 1, x + 1);
      meet(y, x - 1);
      label(y, x) = own == 0 ? sets.make() : own;
    }
  }
  std::vector<int32_t> number(sets.size(), 0);
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      if (label(y, x) == 0) continue;
      int32_t& found = number[static_cast<size_t>(sets.find(label(y, x)))];
      if (found == 0) {
        result.sizes.push_back(0);
        result.boxes.push_back({y, x, y + 1, x + 1});
        found = static_cast<int32_t>(result.sizes.size());
      }
      label(y, x) = found;
      const auto component = static_cast<size_t>(found - 1);
      ++result.sizes[component];
      Box& box = result.boxes[component];
      box.left = std::min(box.left, x);
      box.right = std::max(box.right, x + 1);
      box.bottom = y + 1;
    }
  }
  return result;
}

}  // namespace panda::anomaly
