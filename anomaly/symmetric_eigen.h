// Eigenvalues and eigenvectors of a real symmetric matrix, in f64 on the host.
//
//   A = sum_j values_j v_j v_j^T, v_i . v_j = [i = j]
//
// Householder reflections make A tridiagonal, QL steps with Wilkinson's implicit shift make that diagonal
// (Golub and Van Loan, "Matrix Computations", 4th edition, algorithms 8.3.1 and 8.3.3). Each eigenvalue is
// within a modest multiple of n eps |A| of the exact one. About 9 n^3 multiply-adds; n = 2048 takes some
// seconds to half a minute of a core.
#pragma once

#include <vector>

#include "kernels/tensor/parallel.h"
#include "kernels/tensor/progress.h"
#include "kernels/tensor/tensor.h"

namespace panda::anomaly {

struct SymmetricEigen {
  std::vector<double> values;  ///< n, falling
  Tensor vectors;              ///< f64 n,n on the host: row j belongs to values[j]
};

/// matrix: f64 n,n, dense, host, finite; only its lower triangle is looked at. Throws InvalidArgument for
/// another shape or a value that is not finite. The same bits for any number of threads. Reports to
/// `progress` as `stage` and may be interrupted there.
[[nodiscard]] SymmetricEigen symmetric_eigen(const ConstTensorView& matrix, ThreadPool& threads,
                                             const char* stage = "decomposing", Progress* progress = nullptr);

}  // namespace panda::anomaly
