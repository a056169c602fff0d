// The dual of the one-class support vector machine, by sequential minimal optimisation.
//
//   min_a 1/2 sum_ij a_i a_j K_ij   subject to   0 <= a_i <= 1, sum_i a_i = nu n,   K_ij = exp(-gamma |x_i -
//   x_j|^2)
//
// (Schoelkopf, Platt, Shawe-Taylor, Smola, Williamson, "Estimating the support of a high-dimensional
// distribution", 2001, in the scale of LIBSVM.) With G = K a, a is optimal where some rho has G_i >= rho for
// a_i = 0, G_i <= rho for a_i = 1 and G_i = rho between. A step takes the image i that violates this most
// and the j that promises the largest decrease with it (Fan, Chen, Lin, "Working set selection using second
// order information", 2005), and moves weight from j to i. All in f64, ties to the smaller index: the same
// bits for any number of threads and any memory.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "kernels/tensor/parallel.h"
#include "kernels/tensor/progress.h"
#include "kernels/tensor/tensor.h"

namespace panda::anomaly {

/// Rows of n f64 values, of which as many are kept as fit into `bytes` (two at least): those used last.
class RowCache {
 public:
  RowCache(int64_t row_count, int64_t row_length, int64_t bytes);
  /// Row `index`, or null if it is not kept.
  [[nodiscard]] const double* find(int64_t index);
  /// Memory for row `index` in place of the one used longest ago; valid until the next but one.
  [[nodiscard]] double* put(int64_t index);

 private:
  struct Slot {
    int64_t index = -1;
    int64_t used = 0;
  };
  int64_t row_length_;
  int64_t slot_limit_;
  int64_t clock_ = 0;
  std::vector<Slot> slots_;
  std::vector<std::vector<double>> rows_;
  std::unordered_map<int64_t, size_t> slot_of_;
};

/// |x_i - x_j|^2 of all training images, row by row.
class SquaredDistances {
 public:
  /// features: f32 n,d, host. bytes: of rows that are kept (0: none, each is computed anew).
  SquaredDistances(const ConstTensorView& features, ThreadPool& threads, int64_t bytes);
  [[nodiscard]] int64_t size() const { return n_; }
  [[nodiscard]] ThreadPool& threads() const { return threads_; }
  /// n values into `row`.
  void copy_row(int64_t index, double* row);
  /// To another vector: `features` f64 d, n values into `row`. In the calling thread.
  void measure(const double* features, double* row) const;

 private:
  int64_t n_;
  int64_t d_;
  ThreadPool& threads_;
  std::vector<double> x_;        // n,d
  std::vector<double> squares_;  // |x_i|^2
  RowCache cache_;
  bool keeps_;
};

/// Rows of K.
class RbfRows {
 public:
  RbfRows(SquaredDistances& distances, double gamma, int64_t bytes);
  [[nodiscard]] int64_t size() const { return distances_.size(); }
  [[nodiscard]] double gamma() const { return gamma_; }
  /// Row `index`, n values; valid until the next but one.
  [[nodiscard]] const double* row(int64_t index);

 private:
  SquaredDistances& distances_;
  double gamma_;
  RowCache cache_;
};

struct SvmSolution {
  std::vector<double> weights;   ///< a, n
  std::vector<double> gradient;  ///< G = K a, n; of images that take no part, too
  double rho = 0;
  int64_t steps = 0;
  double violation = 0;  ///< the largest difference of two G that should be the other way round
};

/// Solves until the violation is below `tolerance`. takes_part: n, zero for images whose weight stays 0;
/// empty: all. sum a = nu times those that take part. 0 < nu <= 1. Reports to `progress` as "solving" and
/// may be interrupted there. Throws InternalError after 1000 n + 10^7 steps.
[[nodiscard]] SvmSolution solve_one_class_svm(RbfRows& kernel, double nu, double tolerance,
                                              std::span<const uint8_t> takes_part = {},
                                              Progress* progress = nullptr);

}  // namespace panda::anomaly
