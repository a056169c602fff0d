// The extents of a tensor: up to eight dimensions, sizes >= 0, product checked.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <string>
#include <vector>

namespace panda {

class Shape {
 public:
  static constexpr int kMaxRank = 8;

  Shape() = default;
  Shape(std::initializer_list<int64_t> extents);
  explicit Shape(const std::vector<int64_t>& extents);

  [[nodiscard]] int rank() const { return rank_; }
  /// Extent of dimension i; a negative i counts from the last.
  [[nodiscard]] int64_t operator[](int i) const;
  /// Product of the extents (1 for rank 0).
  [[nodiscard]] int64_t numel() const { return numel_; }
  [[nodiscard]] bool empty() const { return numel_ == 0; }

  [[nodiscard]] const int64_t* begin() const { return extents_.data(); }
  [[nodiscard]] const int64_t* end() const { return extents_.data() + rank_; }
  [[nodiscard]] std::vector<int64_t> to_vector() const { return {begin(), end()}; }
  /// "8x32x56x56"; "scalar" for rank 0.
  [[nodiscard]] std::string to_string() const;

  friend bool operator==(const Shape& a, const Shape& b) {
    return a.rank_ == b.rank_ && a.extents_ == b.extents_;
  }
  friend std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << shape.to_string(); }

 private:
  void assign(const int64_t* extents, size_t rank);

  std::array<int64_t, kMaxRank> extents_{};
  int rank_ = 0;
  int64_t numel_ = 1;
};

}  // namespace panda
