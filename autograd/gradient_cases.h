// Every function of autograd/functions at inputs that pass through its parts: what `panda gradcheck` goes
// through, and the tests. A new function gets a case here; a test reads the functions' headers and fails for
// one without.
#pragma once

#include <string>
#include <vector>

#include "autograd/gradient_check.h"

namespace panda::autograd {

/// Normal values (f64, host) from the seed, none within 0.01 of 0 (where relu and its kind have a corner);
/// |values| + 0.5 if `positive`.
[[nodiscard]] Tensor gradient_values(const Shape& shape, uint64_t seed, bool positive = false);

/// In the order of the functions' files.
[[nodiscard]] const std::vector<GradientCase>& gradient_cases();
/// The functions' names, each once, in the same order.
[[nodiscard]] std::vector<std::string> gradient_functions();

}  // namespace panda::autograd
