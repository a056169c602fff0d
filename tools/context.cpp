#include "tools/context.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace panda::tools {

namespace {

bool is_device_name(const std::string& value) {
  if (value == "auto" || value == "cpu" || value == "cuda" || value == "reference" || value == "simt")
    return true;
  const std::string prefix = "cuda:";
  const size_t digits = value.size() - std::min(value.size(), prefix.size());
  return value.compare(0, prefix.size(), prefix) == 0 && digits >= 1 && digits <= 4 &&
         std::all_of(value.begin() + static_cast<std::ptrdiff_t>(prefix.size()), value.end(),
                     [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

void write_standard_error(const std::string& bytes) noexcept {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t put = ::write(STDERR_FILENO, bytes.data() + done, bytes.size() - done);
    if (put < 0 && errno != EINTR) return;
    if (put > 0) done += static_cast<size_t>(put);
  }
}

void Context::warn(const std::string& message) {
  if (quiet) return;
  progress.clear();
  write_standard_error("panda: warning: " + printable(message) + "\n");
}

void Context::detail(const std::string& message) {
  if (!verbose || quiet) return;
  progress.clear();
  write_standard_error("panda: " + printable(message) + "\n");
}

const std::vector<OptionSpec>& global_options() {
  static const std::vector<OptionSpec> options = {
      {.name = "device",
       .kind = OptionKind::kText,
       .value_name = "DEVICE",
       .default_value = "auto",
       .summary = "where to compute: auto, cpu, cuda, cuda:N, reference or simt",
       .detail = "auto takes a usable GPU, else the CPU; panda info says which and why.",
       .accepts = is_device_name,
       .expected = "auto, cpu, cuda, cuda:N, reference or simt"},
      {.name = "threads",
       .kind = OptionKind::kInteger,
       .value_name = "N",
       .default_value = "",
       .summary = "CPU threads (default: all that the process may use)",
       .detail = "Results do not depend on it.",
       .minimum = 1,
       .maximum = 4096},
      {.name = "seed",
       .kind = OptionKind::kInteger,
       .value_name = "N",
       .default_value = "0",
       .summary = "seed of everything random",
       .detail = "The same seed gives the same result, for any number of threads.",
       .minimum = 0},
      {.name = "precision",
       .kind = OptionKind::kChoice,
       .value_name = "TYPE",
       .default_value = "f32",
       .summary = "number type of the network's arithmetic",
       .detail = "Every published number is f32.",
       .choices = {"f32", "tf32", "f16", "bf16"}},
      {.name = "engine",
       .kind = OptionKind::kChoice,
       .value_name = "ENGINE",
       .default_value = "native",
       .summary = "whose kernels a GPU runs: native, vendor or auto",
       .detail =
           "native: panda's own, the same results whatever else is installed. vendor: those of cuBLAS and "
           "cuDNN where they have one; an error if either is missing. auto: vendor's where they are there.",
       .choices = {"native", "vendor", "auto"}},
      {.name = "format",
       .short_name = 'o',
       .kind = OptionKind::kChoice,
       .value_name = "FORMAT",
       .default_value = "table",
       .summary = "what to print on standard output",
       .detail = "",
       .choices = {"table", "json", "jsonl", "csv"}},
      {.name = "progress",
       .kind = OptionKind::kChoice,
       .value_name = "STYLE",
       .default_value = "auto",
       .summary = "progress on standard error",
       .detail = "auto draws a line if standard error is a terminal; keyvalue prints lines for another "
                 "program, the last is "
                 "progress=end.",
       .choices = {"auto", "keyvalue", "none"}},
      {.name = "quiet",
       .short_name = 'q',
       .kind = OptionKind::kFlag,
       .value_name = "",
       .default_value = "",
       .summary = "no progress and no warnings",
       .detail = ""},
      {.name = "verbose",
       .short_name = 'v',
       .kind = OptionKind::kFlag,
       .value_name = "",
       .default_value = "",
       .summary = "more detail on standard error",
       .detail = ""},
  };
  return options;
}

kernels::DeviceOptions device_options(const ParsedOptions& options) {
  kernels::DeviceOptions device;
  device.name = options.text("device");
  if (options.has("threads")) device.threads = static_cast<int>(options.integer("threads"));
  device.precision = precision_from_name(options.text("precision"));
  device.engine = kernels::engine_from_name(options.text("engine"));
  return device;
}

}  // namespace panda::tools
