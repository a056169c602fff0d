// Every function of autograd/functions at inputs that pass through its parts: what `panda gradcheck` goes
// through, and the tests. A new function gets a case here; a test reads the functions' headers and fails for
// one without.
#pragma once

#include <string>
#include <vector>

#include "autograd/gradient_check.h"

namespace panda::autograd {

/// In the order of the functions' files.
[[nodiscard]] const std::vector<GradientCase>& gradient_cases();
/// The functions' names, each once, in the same order.
[[nodiscard]] std::vector<std::string> gradient_functions();

}  // namespace panda::autograd
