#include "kernels/cpu/knn_nearest_centered.h"

#include <algorithm>
#include <cmath>

namespace panda::kernels::cpu {

CenteredScores::CenteredScores(CpuDevice& device, const KnnRows& rows, int64_t places, float no_row)
    : d_(rows.d()), center_(static_cast<size_t>(d_)), norms_(static_cast<size_t>(places), no_row) {
  const float* const x = rows.row(0, nullptr);
  std::vector<double> sums(static_cast<size_t>(d_), 0.0);
  device.micro().reduce_columns(SimdReduce::kSum, x, rows.count(), d_, d_, sums.data());
  for (size_t i = 0; i < center_.size(); ++i)
    center_[i] = static_cast<float>(sums[i] / static_cast<double>(rows.count()));
  std::vector<double> widened(static_cast<size_t>(round_up(d_, 16)));
  knn_widen(center_.data(), d_, widened.data());
  std::vector<const float*> pointers(static_cast<size_t>(rows.count()));
  std::vector<double> squares(pointers.size());
  for (int64_t i = 0; i < rows.count(); ++i) pointers[static_cast<size_t>(i)] = x + i * d_;
  device.exact().distance_rows({.query = widened.data(),
                                .rows = pointers.data(),
                                .count = rows.count(),
                                .d = d_,
                                .distances = squares.data(),
                                .term = ExactTerm::kSquaredDifference});
  for (size_t i = 0; i < squares.size(); ++i) {
    norms_[i] = static_cast<float>(squares[i]);
    longest_ = std::max(longest_, std::sqrt(squares[i]) * (1 + knn_eta(d_)));
  }
}

double CenteredScores::underflow(double norm) const {
  return 0x1p-100 * (norm + longest_ + 1) * std::sqrt(static_cast<double>(d_));
}

}  // namespace panda::kernels::cpu
