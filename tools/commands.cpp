#include "tools/commands.h"

namespace panda::tools {

const std::vector<Command>& commands() {
  static const std::vector<Command> table = {
      {info_spec(), run_info},
      {synth_spec(), run_synth},
      {weights_inspect_spec(), run_weights_inspect},
      {weights_convert_spec(), run_weights_convert},
  };
  return table;
}

}  // namespace panda::tools
