// What the command's exit code says, and how an error becomes one line and a code. Scripts rely on the
// numbers.
#pragma once

#include <exception>
#include <string>

namespace panda::tools {

enum ExitCode : int {
  kExitDone = 0,
  kExitAnomalyFound = 1,  ///< done, and the verdict is "anomaly found" (only with --fail-on-anomaly)
  kExitBadInput = 2,      ///< bad input or usage
  kExitResource = 3,      ///< out of memory, disk or another resource
  kExitDevice = 4,        ///< a device failed
  kExitInternal = 70,     ///< a mistake of panda itself (EX_SOFTWARE of sysexits.h)
  kExitInterrupted = 130  ///< interrupted by the user; what was fitted so far can be resumed
};

struct Failure {
  int exit_code = kExitInternal;
  std::string line;  ///< "panda: ...", control characters escaped, ends with its only newline
};

/// Describes the exception.
[[nodiscard]] Failure describe_failure(const std::exception_ptr& error);

}  // namespace panda::tools
