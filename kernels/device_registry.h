// The devices of this build, by name. The one place below tools/ that reads the environment:
//   PANDA_DEVICE  the device that "auto" stands for         (auto | cpu | reference | simt)
//   PANDA_ISA     the instruction set of the cpu device     (baseline | avx2 | avx512)
//   PANDA_THREADS the thread count that 0 stands for
//   PANDA_SIMT_ORDER   who runs when several emulated threads can  (fifo | reverse | random:SEED)
//   PANDA_SIMT_POISON  what the emulator's fresh memory holds      (nan | finite)
//   PANDA_CUDA_SYNC=1  the cuda device waits after every kernel, so that an error names the one that failed
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/tensor/device.h"

namespace panda::kernels {

/// Whose kernels the cuda device runs. kNative: this engine's, the same bits whatever else is installed.
/// kVendor: those of cuBLAS and cuDNN wherever they have one; both must be there. kAuto: the vendor's if
/// there.
enum class Engine : uint8_t { kNative, kVendor, kAuto };

[[nodiscard]] const char* engine_name(Engine engine);
/// Inverse of engine_name; throws InvalidArgument.
[[nodiscard]] Engine engine_from_name(const std::string& name);

struct DeviceOptions {
  std::string name = "auto";  ///< what --device takes
  int threads = 0;            ///< 0: PANDA_THREADS, else all that the process may use
  std::string isa;            ///< "": PANDA_ISA, else the best the machine has
  Precision precision = Precision::kF32;
  std::string simt_order = "";      ///< "": PANDA_SIMT_ORDER, else fifo
  std::string simt_poison = "";     ///< "": PANDA_SIMT_POISON, else nan
  Engine engine = Engine::kNative;  ///< of the cuda device; the others have their own kernels alone
  /// Gets a line for what is not there and was done without (a GPU for auto, a vendor library).
  std::function<void(const std::string&)> warn = {};
};

/// Throws InvalidArgument for a name that no build knows, Unsupported for a device or instruction set that
/// this build or machine lacks.
[[nodiscard]] std::unique_ptr<Device> make_device(const DeviceOptions& options);

struct DeviceFacts {
  std::string name;
  std::string description;
  bool available = false;
  std::string reason;  ///< why it is not available, or "" if it is
};
/// Every device that this build knows.
[[nodiscard]] std::vector<DeviceFacts> list_devices();

/// What "auto" takes on this machine, and why ("PANDA_DEVICE is set", "no CUDA in this build").
struct AutoChoice {
  std::string name;
  std::string reason;
  bool fell_back = false;  ///< this build has CUDA, and the reason is why it is of no use here
};
[[nodiscard]] AutoChoice choose_device();

/// Instruction sets of the cpu device that this machine runs, in rising order; and the one that a cpu device
/// would take now.
[[nodiscard]] std::vector<std::string> supported_instruction_sets();
[[nodiscard]] std::string chosen_instruction_set();

}  // namespace panda::kernels
