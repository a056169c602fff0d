// Shell completions, made from the option tables.
#pragma once

#include <string>
#include <vector>

#include "tools/option_table.h"

namespace panda::tools {

/// For bash: to be sourced, or installed as bash-completion/completions/panda.
[[nodiscard]] std::string bash_completion(const std::vector<CommandSpec>& commands,
                                          const std::vector<OptionSpec>& global_options);
/// For zsh: to be installed as _panda on the fpath.
[[nodiscard]] std::string zsh_completion(const std::vector<CommandSpec>& commands,
                                         const std::vector<OptionSpec>& global_options);
/// For fish: to be installed as completions/panda.fish.
[[nodiscard]] std::string fish_completion(const std::vector<CommandSpec>& commands,
                                          const std::vector<OptionSpec>& global_options);

}  // namespace panda::tools
