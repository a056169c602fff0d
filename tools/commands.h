// The table of subcommands. Each is one file, command_<name>.cpp, with its option table and its function.
#pragma once

#include <vector>

#include "tools/context.h"
#include "tools/option_table.h"
#include "tools/options.h"

namespace panda::tools {

struct Command {
  CommandSpec spec;
  /// Returns an exit code; failures are exceptions.
  int (*run)(const ParsedOptions& options, Context& context);
};

/// All subcommands, in the order in which help lists them.
[[nodiscard]] const std::vector<Command>& commands();

[[nodiscard]] CommandSpec info_spec();
int run_info(const ParsedOptions& options, Context& context);
[[nodiscard]] CommandSpec synth_spec();
int run_synth(const ParsedOptions& options, Context& context);
[[nodiscard]] CommandSpec demo_spec();
int run_demo(const ParsedOptions& options, Context& context);
[[nodiscard]] CommandSpec fit_spec();
int run_fit(const ParsedOptions& options, Context& context);
[[nodiscard]] CommandSpec score_spec();
int run_score(const ParsedOptions& options, Context& context);
[[nodiscard]] CommandSpec eval_spec();
int run_eval(const ParsedOptions& options, Context& context);
[[nodiscard]] CommandSpec kmeans_spec();
int run_kmeans(const ParsedOptions& options, Context& context);
[[nodiscard]] CommandSpec knn_spec();
int run_knn(const ParsedOptions& options, Context& context);
[[nodiscard]] CommandSpec pretrain_spec();
int run_pretrain(const ParsedOptions& options, Context& context);
[[nodiscard]] CommandSpec fisher_spec();
int run_fisher(const ParsedOptions& options, Context& context);
[[nodiscard]] CommandSpec gradcheck_spec();
int run_gradcheck(const ParsedOptions& options, Context& context);
[[nodiscard]] CommandSpec weights_inspect_spec();
int run_weights_inspect(const ParsedOptions& options, Context& context);
[[nodiscard]] CommandSpec weights_convert_spec();
int run_weights_convert(const ParsedOptions& options, Context& context);

}  // namespace panda::tools
