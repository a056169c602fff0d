// What the ways whose scores lie on codes share: rows and queries are centered by the rows' mean.
#pragma once

#include <vector>

#include "kernels/cpu/knn_nearest_scores.h"

namespace panda::kernels::cpu {

class CenteredScores : public NearestScores {
 public:
  /// A sum of squares: its terms, subtraction and square, and their addition.
  [[nodiscard]] double square_error() const override {
    return (static_cast<double>(d_) / 16 + 8) * 0x1.1p-24;
  }

 protected:
  /// `places`: as many norms are kept, those without a row being `no_row`.
  CenteredScores(CpuDevice& device, const KnnRows& rows, int64_t places, float no_row);

  /// What is lost where numbers become too small for f32.
  [[nodiscard]] double underflow(double norm) const;

  int64_t d_;
  std::vector<float> center_;  ///< m
  std::vector<float> norms_;   ///< |y|^2
  double rest_ = 0;            ///< R, set by who makes the codes
};

}  // namespace panda::kernels::cpu
