// Help and the man page, made from the option tables.
#pragma once

#include <string>
#include <vector>

#include "tools/option_table.h"

namespace panda::tools {

/// What "panda -h" prints: the commands, one line each.
[[nodiscard]] std::string overview_help(const std::vector<CommandSpec>& commands,
                                        const std::vector<OptionSpec>& global_options);

/// What "panda COMMAND -h" (`detailed` false: one line for each option) and --help (true: everything) print.
[[nodiscard]] std::string command_help(const CommandSpec& command,
                                       const std::vector<OptionSpec>& global_options, bool detailed);

/// panda(1) in roff.
[[nodiscard]] std::string man_page(const std::vector<CommandSpec>& commands,
                                   const std::vector<OptionSpec>& global_options, const std::string& version);

/// "panda synth --out DIR [--count N]": the synopsis on one line.
[[nodiscard]] std::string synopsis(const CommandSpec& command);

}  // namespace panda::tools
