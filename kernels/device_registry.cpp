#include "kernels/device_registry.h"

#include <algorithm>
#include <cstdlib>

#include "kernels/cpu/cpu_device.h"
#include "kernels/cuda/cuda_registry.h"
#include "kernels/reference/reference_device.h"
#include "kernels/simt/simt_device.h"
#include "kernels/tensor/error.h"

namespace panda::kernels {

namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

int thread_count_for(const DeviceOptions& options) {
  if (options.threads != 0) return options.threads;
  const std::string value = environment("PANDA_THREADS");
  if (value.empty()) return available_threads();
  char* end = nullptr;
  const long count = std::strtol(value.c_str(), &end, 10);
  PANDA_CHECK(*end == '\0' && count >= 1 && count <= 4096, "PANDA_THREADS is '", printable(value),
              "', expected 1..4096");
  return static_cast<int>(count);
}

cpu::Isa isa_for(const DeviceOptions& options) {
  const std::vector<cpu::Isa>& supported = cpu::supported_isas();
  const std::string wanted = options.isa.empty() ? environment("PANDA_ISA") : options.isa;
  if (wanted.empty()) return supported.back();
  const cpu::Isa isa = cpu::isa_from_name(wanted);
  if (std::find(supported.begin(), supported.end(), isa) == supported.end()) {
    throw Unsupported(text("cpu: this machine does not run ", wanted, ", the best it has is ",
                           cpu::isa_name(supported.back())));
  }
  return isa;
}

simt::SimtOptions simt_options_for(const DeviceOptions& options) {
  simt::SimtOptions simt_options;
  const std::string order = options.simt_order.empty() ? environment("PANDA_SIMT_ORDER") : options.simt_order;
  if (!order.empty()) simt::set_order(simt_options, order);
  const std::string poison =
      options.simt_poison.empty() ? environment("PANDA_SIMT_POISON") : options.simt_poison;
  if (!poison.empty()) simt::set_poison(simt_options, poison);
  simt_options.precision = options.precision;
  return simt_options;
}

}  // namespace

AutoChoice choose_device() {
  const std::string forced = environment("PANDA_DEVICE");
  if (!forced.empty() && forced != "auto") return {forced, "PANDA_DEVICE is set"};
  const cuda::CudaProblem problem = cuda::find_cuda_problem();
  if (problem.reason.empty()) return {"cuda", "this machine has an NVIDIA GPU"};
  return {"cpu", problem.reason, problem.in_build};
}

const char* engine_name(Engine engine) {
  switch (engine) {
    case Engine::kNative:
      return "native";
    case Engine::kVendor:
      return "vendor";
    case Engine::kAuto:
      return "auto";
  }
  return "unknown";
}

Engine engine_from_name(const std::string& name) {
  for (const Engine engine : {Engine::kNative, Engine::kVendor, Engine::kAuto})
    if (name == engine_name(engine)) return engine;
  throw InvalidArgument(text("engine '", printable(name), "', expected native, vendor or auto"));
}

std::unique_ptr<Device> make_device(const DeviceOptions& options) {
  std::string name = options.name;
  if (name == "auto" || name.empty()) {
    const AutoChoice choice = choose_device();
    if (choice.fell_back && options.warn) options.warn(text(choice.reason, "; computing on the CPU"));
    name = choice.name;
  }
  const bool is_cuda = name == "cuda" || name.starts_with("cuda:");
  if (options.engine == Engine::kVendor && !is_cuda)
    throw Unsupported(text(name, ": has no vendor library, expected --engine native or auto"));
  if (options.precision != Precision::kF32 && (name == "cpu" || name == "reference")) {
    throw Unsupported(text(name, ": computes in f32 only, not in ", precision_name(options.precision)));
  }
  if (name == "cpu") return std::make_unique<cpu::CpuDevice>(thread_count_for(options), isa_for(options));
  if (name == "reference") return std::make_unique<reference::ReferenceDevice>();
  if (name == "simt") return std::make_unique<simt::SimtDevice>(simt_options_for(options));
  if (is_cuda) {
    DeviceOptions cuda_options = options;
    cuda_options.name = name;
    return cuda::make_cuda_device(cuda_options, thread_count_for(options),
                                  environment("PANDA_CUDA_SYNC") == "1");
  }
  throw InvalidArgument(
      text("device '", printable(name), "', expected auto, cpu, cuda, cuda:N, reference or simt"));
}

std::vector<DeviceFacts> list_devices() {
  const cpu::CpuDevice cpu_device(thread_count_for({}), isa_for({}));
  const reference::ReferenceDevice reference_device;
  const simt::SimtDevice simt_device(simt_options_for({}));
  std::vector<DeviceFacts> devices = {{"cpu", cpu_device.description(), true, ""},
                                      {"reference", reference_device.description(), true, ""},
                                      {"simt", simt_device.description(), true, ""}};
  for (DeviceFacts& gpu : cuda::list_cuda_devices()) devices.push_back(std::move(gpu));
  return devices;
}

std::vector<std::string> supported_instruction_sets() {
  std::vector<std::string> names;
  for (const cpu::Isa isa : cpu::supported_isas()) names.emplace_back(cpu::isa_name(isa));
  return names;
}

std::string chosen_instruction_set() {
  return cpu::isa_name(isa_for({}));
}

}  // namespace panda::kernels
