// The one-class support vector machine: a boundary around normal features that leaves about a share nu of
// them outside.
//
//   score(x) = rho - sum_i a_i exp(-gamma |x - x_i|^2)
//
// with a and rho of anomaly/one_class_svm_solver.h; above 0 is outside. It is the negative of what LIBSVM and
// scikit-learn call the decision function. The paper's baseline: App. B.2 takes nu in {0.1, ..., 0.9} and
// gamma in {2^-7, ..., 2^2}, those of the highest ROCAUC.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernels/tensor/parallel.h"
#include "kernels/tensor/progress.h"
#include "kernels/tensor/tensor.h"

namespace panda::anomaly {

/// What stands for scale_gamma, in options and in model files.
constexpr const char* kScaleGamma = "scale";

struct OneClassSvmOptions {
  double nu = 0.5;
  /// Nothing: "scale", 1 / (d v) with v the variance of all elements of the training features.
  std::optional<double> gamma = {};
  double tolerance = 1e-4;                  ///< see solve_one_class_svm
  int64_t memory_bytes = int64_t{1} << 30;  ///< of kernel rows that are kept
  /// Whether nu and gamma were chosen by a ROCAUC, which takes labels; for the model's description alone.
  bool chosen_by_labels = false;
};
/// Throws InvalidArgument naming the option.
void check_one_class_svm(const OneClassSvmOptions& options);

/// 1 / (d v). features: f32 n,d, host. Throws InvalidArgument where all elements are equal.
[[nodiscard]] double scale_gamma(const ConstTensorView& features);

class OneClassSvm {
 public:
  /// features: f32 n,d, host, finite, n >= 1. Reports as "solving".
  [[nodiscard]] static OneClassSvm fit(const ConstTensorView& features, const OneClassSvmOptions& options,
                                       ThreadPool& threads, Progress* progress = nullptr);
  /// From `packed()`. Throws InvalidArgument where it is none.
  explicit OneClassSvm(Tensor packed);

  /// f64 m + 1, d + 2: row 0 ends in gamma, rho; row 1 + i is the support vector x_i (f32 values), a_i, 0.
  [[nodiscard]] const Tensor& packed() const { return packed_; }
  [[nodiscard]] int64_t feature_width() const { return packed_.shape()[1] - 2; }
  [[nodiscard]] int64_t support_count() const { return packed_.shape()[0] - 1; }
  [[nodiscard]] double gamma() const { return packed_.data<double>()[feature_width()]; }
  [[nodiscard]] double rho() const { return packed_.data<double>()[feature_width() + 1]; }

  /// features: f32 nq,d, host. The same bits for any number of threads and rows at once.
  [[nodiscard]] std::vector<double> scores(const ConstTensorView& features, ThreadPool& threads) const;

  /// The score of each training image by a machine of the images outside its fold, with the gamma of all.
  /// fold_of: n, the fold of each image. The folds' machines share their kernel rows.
  [[nodiscard]] static std::vector<double> left_out_scores(const ConstTensorView& features,
                                                           std::span<const int64_t> fold_of, int64_t folds,
                                                           const OneClassSvmOptions& options,
                                                           ThreadPool& threads, Progress* progress = nullptr);

 private:
  Tensor packed_;
};

/// One machine of a grid, and its ROCAUC on labelled images.
struct SvmGridPoint {
  double nu = 0;
  double gamma = 0;
  double auroc = 0;
};

/// The paper's: every nu with every gamma, gamma by gamma.
[[nodiscard]] std::vector<double> paper_nus();
[[nodiscard]] std::vector<double> paper_gammas();

/// The ROCAUC of the machine of every nu and gamma, gamma by gamma. features: f32 n,d, host, the training
/// images · test_features: f32 nt,d, host · labels: nt, 1 for an anomaly; both kinds must be there.
/// options: its tolerance and memory. Reports as "searching the grid".
[[nodiscard]] std::vector<SvmGridPoint> search_svm_grid(
    const ConstTensorView& features, const ConstTensorView& test_features, std::span<const uint8_t> labels,
    std::span<const double> nus, std::span<const double> gammas, const OneClassSvmOptions& options,
    ThreadPool& threads, Progress* progress = nullptr);

/// The point of the highest ROCAUC, the first among equals.
[[nodiscard]] const SvmGridPoint& best_of(std::span<const SvmGridPoint> points);

}  // namespace panda::anomaly
