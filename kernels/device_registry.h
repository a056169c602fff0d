// The devices of this build, by name. The one place below tools/ that reads the environment:
//   PANDA_DEVICE  the device that "auto" stands for         (auto | cpu | reference | simt)
//   PANDA_ISA     the instruction set of the cpu device     (baseline | avx2 | avx512)
//   PANDA_THREADS the thread count that 0 stands for
//   PANDA_SIMT_ORDER   who runs when several emulated threads can  (fifo | reverse | random:SEED)
//   PANDA_SIMT_POISON  what the emulator's fresh memory holds      (nan | finite)
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/tensor/device.h"

namespace panda::kernels {

struct DeviceOptions {
  std::string name = "auto";  ///< what --device takes
  int threads = 0;            ///< 0: PANDA_THREADS, else all that the process may use
  std::string isa;            ///< "": PANDA_ISA, else the best the machine has
  Precision precision = Precision::kF32;
  std::string simt_order = "";   ///< "": PANDA_SIMT_ORDER, else fifo
  std::string simt_poison = "";  ///< "": PANDA_SIMT_POISON, else nan
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
};
[[nodiscard]] AutoChoice choose_device();

/// Instruction sets of the cpu device that this machine runs, in rising order; and the one that a cpu device
/// would take now.
[[nodiscard]] std::vector<std::string> supported_instruction_sets();
[[nodiscard]] std::string chosen_instruction_set();

}  // namespace panda::kernels
