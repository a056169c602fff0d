// panda info: what this build and this machine offer, and what --device auto would take.

#include <unistd.h>

#include "kernels/device_registry.h"
#include "kernels/tensor/parallel.h"
#include "tools/commands.h"
#include "tools/exit_code.h"
#include "tools/version.h"

namespace panda::tools {

namespace {

Json devices_json() {
  Json devices = Json::array();
  for (const kernels::DeviceFacts& facts : kernels::list_devices()) {
    Json device = {{"name", facts.name}, {"description", facts.description}, {"available", facts.available}};
    if (!facts.available) device["reason"] = facts.reason;
    devices.push_back(std::move(device));
  }
  return devices;
}

Json cuda_json() {
  for (const kernels::DeviceFacts& facts : kernels::list_devices()) {
    if (facts.name.compare(0, 4, "cuda") != 0) continue;
    if (facts.available) return {{"available", true}, {"description", facts.description}};
    return {{"available", false}, {"reason", facts.reason}};
  }
  return {{"available", false}, {"reason", "this build has no CUDA device"}};
}

Json info_json(const ParsedOptions& options) {
  const kernels::AutoChoice choice = kernels::choose_device();
  Json info;
  info["version"] = version();
  info["compiler"] = compiler();
  info["devices"] = devices_json();
  info["auto"] = {{"device", choice.name}, {"reason", choice.reason}};
  // Also proves that the device named on the command line can be had: it throws where it cannot.
  info["device"] = kernels::make_device(device_options(options))->name();
  info["isa"] = kernels::chosen_instruction_set();
  info["supported_isa"] = kernels::supported_instruction_sets();
  info["threads_available"] = available_threads();
  info["memory_bytes"] = static_cast<int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGE_SIZE);
  info["cuda"] = cuda_json();
  for (const auto& [name, library_version] : libraries()) info["libraries"][name] = library_version;
  return info;
}

std::string info_table(const Json& info) {
  std::vector<std::pair<std::string, std::string>> lines;
  lines.emplace_back("panda",
                     info["version"].get<std::string>() + " (" + info["compiler"].get<std::string>() + ")");
  for (const Json& device : info["devices"]) {
    const bool available = device["available"].get<bool>();
    lines.emplace_back(text("device ", device["name"].get<std::string>()),
                       available ? device["description"].get<std::string>()
                                 : text("not available: ", device["reason"].get<std::string>()));
  }
  lines.emplace_back("--device auto", text("takes ", info["auto"]["device"].get<std::string>(), ": ",
                                           info["auto"]["reason"].get<std::string>()));
  std::string supported;
  for (const Json& isa : info["supported_isa"])
    supported += (supported.empty() ? "" : ", ") + isa.get<std::string>();
  lines.emplace_back("instruction set",
                     text(info["isa"].get<std::string>(), " (this machine runs ", supported, ")"));
  lines.emplace_back("threads", text(info["threads_available"].get<int64_t>(), " available"));
  lines.emplace_back(
      "memory",
      fixed_number(static_cast<double>(info["memory_bytes"].get<int64_t>()) / (1 << 30), 1) + " GiB");
  std::string linked;
  for (const auto& [name, library_version] : info["libraries"].items()) {
    linked += text(linked.empty() ? "" : ", ", name, " ", library_version.get<std::string>());
  }
  lines.emplace_back("libraries", linked);
  return aligned_pairs(lines);
}

}  // namespace

CommandSpec info_spec() {
  return {.name = "info",
          .summary = "devices, instruction sets, libraries and versions",
          .description =
              "Shows what this build and this machine offer: the version, every device and whether it can be "
              "used, the instruction set of the CPU kernels, the libraries linked in, and what --device auto "
              "would take and why.",
          .positionals = {},
          .options = {},
          .examples = {"panda info", "panda info -o json"}};
}

int run_info(const ParsedOptions& options, Context& context) {
  const Json info = info_json(options);
  print_object(context.out, context.format, info, info_table(info));
  return kExitDone;
}

}  // namespace panda::tools
