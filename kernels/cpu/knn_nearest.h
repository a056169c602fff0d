// The nearest of few gallery rows, for many queries: what K-means asks. All scores are taken in f32, the best
// two kept in registers; a query whose best two are nearer to each other than rounding allows goes through
// the general search.
//
//   score_j = |c_j|^2 - 2 <x, c_j>, which orders rows as D does
//   |score - exact| <= E = 2 gamma |x| C + 2^-22 (C^2 + 2 |x| C),  gamma = 1.01 d 2^-24,  C = the largest
//   |c_j|
//
// gamma: a chain of d multiply-adds, or of d products and additions with twice that (the code takes 2 d);
// 2^-22: rounding |c_j|^2 and the score. So if the second is more than 2 E + 2^-40 (|x| + C)^2 above the
// best, D of the best is the smallest, its own rounding included, and strictly so: no tie is decided here.
#pragma once

#include <vector>

#include "kernels/cpu/cpu_device.h"
#include "kernels/tensor/tensor.h"

namespace panda::kernels::cpu {

class CpuKnnIndex;
struct KnnSearchPlan;

/// Rows as f32 panels [rows / width][d][width], the last one narrower, by whole vectors.
class KnnNearestPanels {
 public:
  /// Galleries that have them: kL2 of finite f32 rows, few enough, and none so long that a score could
  /// overflow.
  static constexpr int64_t kMostRows = 2048;

  KnnNearestPanels(CpuDevice& device, const ConstTensorView& rows);
  [[nodiscard]] int64_t bytes() const;
  /// False where a row is so long that a score could overflow.
  [[nodiscard]] bool usable() const { return longest_ < kLongest; }
  [[nodiscard]] const float* panels() const { return panels_.data<float>(); }
  /// |c|^2 in f32; infinite after the last row, up to a whole panel.
  [[nodiscard]] const float* norms() const { return norms_.data(); }
  /// C, rounded up.
  [[nodiscard]] double longest() const { return longest_; }
  /// Norms beyond which scores are not trusted.
  static constexpr double kLongest = 1e18;

 private:
  Tensor panels_;
  std::vector<float> norms_;
  double longest_ = 0;
};

/// Whether the search is one of those, and faster so than in `cycles` per query.
[[nodiscard]] bool knn_nearest_pays(const CpuDevice& device, const KnnSearchPlan& plan, double cycles);

/// Writes what it is sure of; returns the queries that it is not sure of, in rising order. A query that is
/// not finite is an InvalidArgument naming the first one.
[[nodiscard]] std::vector<int64_t> knn_nearest_search(CpuDevice& device, const KnnSearchPlan& plan);

}  // namespace panda::kernels::cpu
