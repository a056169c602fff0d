// What a subcommand works with besides its options.
#pragma once

#include <string>

#include "kernels/device_registry.h"
#include "tools/options.h"
#include "tools/output.h"
#include "tools/progress_line.h"

namespace panda::tools {

struct Context {
  OutputStream& out;  ///< results, and nothing else
  OutputFormat format;
  ProgressLine& progress;
  bool quiet;
  bool verbose;

  /// One line on standard error ("panda: warning: ..."), unless -q was given.
  void warn(const std::string& message);
  /// One line on standard error for -v.
  void detail(const std::string& message);
};

/// Options that every command takes.
[[nodiscard]] const std::vector<OptionSpec>& global_options();
/// --device, --threads, --precision and --engine, as the device registry takes them.
[[nodiscard]] kernels::DeviceOptions device_options(const ParsedOptions& options);

/// Writes to standard error; what cannot be written is lost.
void write_standard_error(const std::string& bytes) noexcept;

}  // namespace panda::tools
