// The command as a function: finds the subcommand, parses, runs it, and turns failures into one line and an
// exit code.
#pragma once

#include <string>
#include <vector>

namespace panda::tools {

/// `arguments` without the program's name. Writes to standard output and standard error. Throws nothing.
[[nodiscard]] int run_panda(const std::vector<std::string>& arguments) noexcept;

}  // namespace panda::tools
