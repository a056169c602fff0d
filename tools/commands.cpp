#include "tools/commands.h"

namespace panda::tools {

const std::vector<Command>& commands() {
  static const std::vector<Command> table = {
      {info_spec(), run_info},
      {synth_spec(), run_synth},
  };
  return table;
}

}  // namespace panda::tools
