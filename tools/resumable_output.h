// --out of the commands that write a safetensors file after long work, which can be interrupted.
#pragma once

#include "tools/options.h"

namespace panda::tools {

/// Whether to go on from the checkpoint beside --out: it is there, and --resume was given. Throws UsageError
/// for a name with another ending than .safetensors, and InvalidArgument for a file or checkpoint that is
/// there where neither --force nor, for the checkpoint, --resume was given.
[[nodiscard]] bool resumes(const ParsedOptions& options, const char* command);

}  // namespace panda::tools
