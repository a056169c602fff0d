// The folder of real weights and images, for the tests that want them; the repository holds none.
#pragma once

#include <cstdlib>
#include <string>

namespace panda::test {

/// The folder that PANDA_DATA names, "" if it is unset or empty: such a test skips with a line that says so.
[[nodiscard]] inline std::string real_data() {
  const char* root = std::getenv("PANDA_DATA");
  return root == nullptr ? "" : root;
}

}  // namespace panda::test
