// One form for the cases of all backward kernels: inputs, gradients by mode, and a tolerance from the terms
// of each sum.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/gradient.h"
#include "tests/conformance/suite.h"

namespace panda::test {

struct BackwardInput {
  Tensor values;          ///< dense, on the host
  bool is_image = false;  ///< goes into the subject's activation layout
};
struct BackwardOutput {
  Shape shape;
  bool is_image = false;
  int64_t terms = 1;  ///< longest sum behind one element
};

/// A backward kernel with everything it needs. `call` gets views in the order of `inputs` and gradients in
/// that of `outputs`.
struct BackwardCase {
  std::vector<BackwardInput> inputs;
  std::vector<BackwardOutput> outputs;
  std::function<void(Device&, const std::vector<ConstTensorView>&, const std::vector<kernels::Gradient>&)>
      call;
  /// The kernel is a sum of products of its inputs: sum|terms| is what it makes of their absolute values.
  /// Else a bound is taken of the largest expected element: for functions whose terms are of the size of the
  /// result.
  bool sum_of_products = true;
  /// An algorithm in a transform domain spreads errors over a tile: bound every element by the largest sum.
  bool spread = false;
  bool dense = false;  ///< images dense instead
};

/// Runs the case in modes overwrite (NaN before), accumulate (onto other values) and ignore (nothing
/// written), each gradient alone and all together, and compares with the oracle.
void run_backward(const Subject& subject, const BackwardCase& one, Alignment alignment = Alignment::kAligned);

}  // namespace panda::test
