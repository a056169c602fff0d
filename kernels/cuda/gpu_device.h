// What a launcher in kernels/cuda/*.cu may ask of the device it runs on. Two classes are one:
// cuda::CudaDevice (a GPU) and simt::SimtDevice (the emulator of kernels/simt, on the CPU). Memory of either
// is out of the host's reach, so that the emulator takes every path that a GPU takes.
#pragma once

#include "kernels/tensor/device.h"

namespace panda::kernels {

struct GpuProperties {
  int compute_capability = 0;  ///< major * 10 + minor: 75, 80, 86, 89, 90
  int multiprocessors = 0;
  int64_t shared_bytes_per_block = 0;           ///< static + dynamic, with opt-in
  int64_t shared_bytes_per_multiprocessor = 0;  ///< shared by the blocks that are resident together
  int64_t l2_bytes = 0;
  int64_t memory_bytes = 0;
};

/// Work given to it runs in the order given, and may not be done when the call returns. Memory that is freed
/// while kernels that use it are still to run stays theirs: the next owner's kernels run after them.
class GpuDevice : public Device {
 public:
  explicit GpuDevice(Precision precision) : precision_(precision) {}

  [[nodiscard]] bool host_accessible() const final { return false; }
  [[nodiscard]] Layout activation_layout() const final { return Layout::kChannelsLast; }
  [[nodiscard]] Precision precision() const final { return precision_; }

  [[nodiscard]] virtual const GpuProperties& properties() const = 0;
  /// The stream that takes all work: a cudaStream_t; nullptr on the emulator.
  [[nodiscard]] virtual void* stream() const = 0;

 private:
  Precision precision_;
};

/// The device behind a kernel's argument: the tables of both GPU devices are reached through them alone.
[[nodiscard]] inline GpuDevice& gpu_device(Device& device) {
  return static_cast<GpuDevice&>(device);
}

}  // namespace panda::kernels
