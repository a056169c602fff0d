#include "tools/resumable_output.h"

#include "anomaly/training_checkpoint.h"
#include "kernels/tensor/file.h"
#include "tools/exit_code.h"

namespace panda::tools {

bool resumes(const ParsedOptions& options, const char* command) {
  const std::string& out = options.text("out");
  if (extension_of(out) != "safetensors")
    throw UsageError(text(command, ": --out: expected a name that ends in .safetensors, got '", out, "'"));
  PANDA_CHECK(options.flag("force") || !path_exists(out), out,
              ": exists, expected a new file (--force replaces it)");
  const std::string checkpoint = anomaly::checkpoint_path(out);
  const bool resume = options.flag("resume") && path_exists(checkpoint);
  PANDA_CHECK(resume || options.flag("force") || !path_exists(checkpoint), checkpoint,
              ": exists (--resume goes on from it, --force begins again)");
  return resume;
}

}  // namespace panda::tools
