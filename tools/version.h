// What this build is made of.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace panda::tools {

/// "0.1.0".
[[nodiscard]] std::string version();
/// "g++ 12.2.0 x86_64".
[[nodiscard]] std::string compiler();
/// Name and version of each library linked in.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> libraries();

}  // namespace panda::tools
