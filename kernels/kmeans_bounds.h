// Bounds by which a point keeps its label without a search (Hamerly 2010, "Making k-means even faster").
//
// within_i >= |x_i - c|, c the center of its label, and beyond_i <= |x_i - c'| of every other one. When
// centers move, the former grows by its own center's movement and the latter shrinks by the farthest that
// another one moved. As long as within_i < beyond_i, its center is the nearest one, and strictly so: D is
// true to 2^-40 of itself, and bounds differ by more, because they are moved with some slack.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace panda::kernels {

class KmeansBounds {
 public:
  explicit KmeansBounds(int64_t n)
      : within_(static_cast<size_t>(n), kUnknown), beyond_(static_cast<size_t>(n), 0.0F) {}

  [[nodiscard]] float* within() { return within_.data(); }
  [[nodiscard]] float* beyond() { return beyond_.data(); }

  /// Nothing is known of this point any more.
  void forget(int64_t point) {
    within_[static_cast<size_t>(point)] = kUnknown;
    beyond_[static_cast<size_t>(point)] = 0;
  }

  /// Centers have moved so far. The bounds follow when they are asked for.
  void move(const std::vector<double>& movements) {
    own_.resize(movements.size());
    others_.resize(movements.size());
    const auto farthest = std::max_element(movements.begin(), movements.end());
    double second = 0;
    for (auto it = movements.begin(); it != movements.end(); ++it) {
      if (it != farthest) second = std::max(second, *it);
    }
    for (size_t j = 0; j < movements.size(); ++j) {
      own_[j] = above(movements[j]);
      others_[j] = above(movements.begin() + static_cast<int64_t>(j) == farthest ? second : *farthest);
    }
  }

  /// Moves the bounds of points [begin, end) after the centers, once after each move(); labels[0] is that of
  /// point `begin`. The points that may have another nearest center now, relative to `begin`; valid until the
  /// next call.
  [[nodiscard]] std::span<const int64_t> open(int64_t begin, int64_t end, const int64_t* labels) {
    open_.resize(static_cast<size_t>(end - begin));
    float* const within = within_.data() + begin;
    float* const beyond = beyond_.data() + begin;
    size_t count = 0;
    for (int64_t i = 0; i < end - begin; ++i) {
      if (!own_.empty()) {
        const auto label = static_cast<size_t>(labels[i]);
        within[i] = (within[i] + own_[label]) * (1 + kSlack);
        beyond[i] = std::max((beyond[i] - others_[label]) * (1 - kSlack), 0.0F);
      }
      open_[count] = i;
      count += within[i] < beyond[i] ? 0 : 1;
    }
    return {open_.data(), count};
  }

 private:
  static constexpr float kUnknown = __builtin_inff();
  /// Of itself, for what f32 rounds: 2^-24 twice.
  static constexpr float kSlack = 0x1p-21F;

  static float above(double movement) { return static_cast<float>(movement) * (1 + kSlack); }

  std::vector<float> within_;
  std::vector<float> beyond_;
  std::vector<float> own_;     ///< per center, how far it moved
  std::vector<float> others_;  ///< per center, the farthest that another one moved
  std::vector<int64_t> open_;
};

}  // namespace panda::kernels
