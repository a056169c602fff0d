#include "tools/commands.h"

namespace panda::tools {

const std::vector<Command>& commands() {
  static const std::vector<Command> table = {
      {info_spec(), run_info},
      {synth_spec(), run_synth},
      {demo_spec(), run_demo},
      {weights_inspect_spec(), run_weights_inspect},
      {weights_convert_spec(), run_weights_convert},
      {pretrain_spec(), run_pretrain},
      {fisher_spec(), run_fisher},
      {fit_spec(), run_fit},
      {score_spec(), run_score},
      {eval_spec(), run_eval},
      {knn_spec(), run_knn},
      {kmeans_spec(), run_kmeans},
      {gradcheck_spec(), run_gradcheck},
  };
  return table;
}

}  // namespace panda::tools
