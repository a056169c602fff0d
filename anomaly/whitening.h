// PCA whitening: the distance from the mean of normal features, measured in what is usual for each direction.
//
// Of training features x_1..x_n in R^d with mean m, S = sum_i (x_i - m)(x_i - m)^T / (n - 1) =
// sum_j l_j v_j v_j^T (eigenvalues falling), and a shrinkage a in [0, 1] towards the mean variance
// u = tr S / d:
//
//   score(x) = sum_j (v_j . (x - m))^2 / L_j + |rest of x - m|^2 / (a u),   L_j = (1 - a) l_j + a u
//
// that is the squared length of the whitened x - m, or the squared Mahalanobis distance in the covariance
// (1 - a) S + a u I. The rest is what lies outside the directions v_j in which the training features vary:
// with fewer images than features there is always one. With a = 0 it is not looked at, and neither with
// `components`, which keeps that many leading directions alone (scikit-learn: PCA(components, whiten=True)).
//
// The default shrinkage is Ledoit and Wolf's ("A well-conditioned estimator for large-dimensional covariance
// matrices", 2004), the estimate of the one with the least expected square error, from the features alone:
//
//   a = min(1, b / D),  D = |C|_F^2 / d - u_C^2,  b = (sum_i |x_i - m|^4 / n^2 - |C|_F^2 / n) / d
//
// with C = (n - 1) / n S and u_C = tr C / d. (Paper: "whitening", section 4.3 of PANDA; neither the
// dimension nor a regularisation is stated.) All in f64 on the host, sums in one order: the same bits for any
// device and number of threads. Where n <= d the eigenvectors come from the n x n matrix of dot products.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/tensor/parallel.h"
#include "kernels/tensor/progress.h"
#include "kernels/tensor/tensor.h"

namespace panda::anomaly {

/// What stands for Ledoit and Wolf's shrinkage, in options and in model files.
constexpr const char* kLedoitWolf = "ledoit-wolf";

struct WhiteningOptions {
  int64_t components = 0;                ///< 0: all directions
  std::optional<double> shrinkage = {};  ///< a; nothing: Ledoit and Wolf's
};
/// Throws InvalidArgument naming the option.
void check_whitening(const WhiteningOptions& options);

class Whitening {
 public:
  /// features: f32 n,d, host, finite, n >= 2. Throws InvalidArgument for fewer, for more components than
  /// min(n - 1, d), and where all features are alike. Directions with less than 1e-10 of the largest variance
  /// count as none. n d min(n, d) / 2 multiply-adds, and those of symmetric_eigen; reports as "whitening".
  [[nodiscard]] static Whitening fit(const ConstTensorView& features, const WhiteningOptions& options,
                                     ThreadPool& threads, Progress* progress = nullptr);
  /// From `packed()`. Throws InvalidArgument where it is none.
  explicit Whitening(Tensor packed);

  /// f64 r + 1, d + 2: row 0 is m, a u (0: the rest is not looked at), a; row 1 + j is v_j, L_j, l_j.
  [[nodiscard]] const Tensor& packed() const { return packed_; }
  [[nodiscard]] int64_t feature_width() const { return packed_.shape()[1] - 2; }
  [[nodiscard]] int64_t directions() const { return packed_.shape()[0] - 1; }
  [[nodiscard]] double shrinkage() const { return packed_.data<double>()[feature_width() + 1]; }

  /// features: f32 nq,d, host.
  [[nodiscard]] std::vector<double> scores(const ConstTensorView& features, ThreadPool& threads) const;

  /// Whether leave_one_out_scores can be had without fitting again: where no direction is left out.
  [[nodiscard]] bool can_downdate(int64_t n) const;
  /// The score of each training image in the mean and covariance of the others, with a u as it is (leaving
  /// one out moves it by about 1/n). features: the n of the fit; can_downdate(n). With z = x_i - m,
  /// B = (1 - a) (n - 1)/(n - 2) S + a u I and q = z^T B^-1 z (Sherman and Morrison 1950):
  ///
  ///   score_i = (n / (n - 1))^2 q / (1 - c q),   c = (1 - a) n / ((n - 1)(n - 2))
  [[nodiscard]] std::vector<double> leave_one_out_scores(const ConstTensorView& features,
                                                         ThreadPool& threads) const;

 private:
  /// |V_b (x - m)|^2 with variances b: of direction j, `variance(j)`, of the rest, `rest` (0: not looked at).
  template <typename Variance>
  [[nodiscard]] std::vector<double> squared_lengths(const ConstTensorView& features, Variance variance,
                                                    double rest, ThreadPool& threads) const;
  [[nodiscard]] double rest_variance() const { return packed_.data<double>()[feature_width()]; }
  [[nodiscard]] const double* direction(int64_t j) const {
    return packed_.data<double>() + (j + 1) * packed_.shape()[1];
  }

  Tensor packed_;
};

}  // namespace panda::anomaly
