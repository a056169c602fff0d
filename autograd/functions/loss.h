// Losses, one value per row (kernels/loss.h has the equations and their gradients). The batch's loss is the
// sum of the rows: pass them to Tape::backward as a root. Kept: the input.
#pragma once

#include "autograd/tape.h"

namespace panda::autograd {

/// logits: N,C · labels: i64 N from kernels::upload_labels, which must stay until the tape is gone. With
/// scale = 1 / N it is PyTorch's mean.
[[nodiscard]] Variable softmax_cross_entropy(const Variable& logits, const ConstTensorView& labels,
                                             double scale = 1, double smoothing = 0);
/// logits: N,1 or N · targets: f32 N in [0, 1].
[[nodiscard]] Variable logistic_loss(const Variable& logits, const ConstTensorView& targets,
                                     double scale = 1);
/// x: N,D · center: D. Paper Eq. 1 with scale 1; the official code's is 1 / (N D).
[[nodiscard]] Variable compactness(const Variable& x, const ConstTensorView& center, double scale = 1);

/// The sum of a loss's rows, in f64.
[[nodiscard]] double total(const ConstTensorView& losses);
[[nodiscard]] inline double total(const Variable& losses) {
  return total(losses.view());
}

}  // namespace panda::autograd
