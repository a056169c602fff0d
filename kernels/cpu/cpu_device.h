// The CPU device: packed, vectorised, threaded kernels for the instruction set found (or forced) at run time.
#pragma once

#include "kernels/cpu/isa.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd/knn_kernels.h"
#include "kernels/cpu/simd/micro_kernels.h"
#include "kernels/tensor/device.h"
#include "kernels/tensor/parallel.h"

namespace panda::kernels::cpu {

class CpuDevice final : public HostMemoryDevice {
 public:
  /// `tiles`: with AMX where there is one.
  CpuDevice(int thread_count, Isa isa, bool tiles = true);

  [[nodiscard]] std::string name() const override { return "cpu"; }
  [[nodiscard]] std::string description() const override;
  [[nodiscard]] const KernelTable& kernels() const override;
  [[nodiscard]] Layout activation_layout() const override { return Layout::kChannelBlocked16; }
  [[nodiscard]] ThreadPool& threads() override { return threads_; }
  [[nodiscard]] Isa isa() const { return isa_; }

  /// The inner loops of this device's instruction set.
  [[nodiscard]] const MicroKernels& micro() const { return micro_; }
  [[nodiscard]] const ExactKernels& exact() const { return exact_; }
  [[nodiscard]] const KnnKernels& knn() const { return knn_; }
  /// Null where there are none.
  [[nodiscard]] const AmxKernels* amx() const { return amx_; }
  [[nodiscard]] const KnnTileKernels* knn_tiles() const { return knn_tiles_; }
  [[nodiscard]] const NearestCodeKernels* nearest_codes() const { return nearest_codes_; }
  [[nodiscard]] ScratchCache& scratch() { return scratch_; }

 private:
  ThreadPool threads_;
  Isa isa_;
  const MicroKernels& micro_;
  const ExactKernels& exact_;
  const KnnKernels& knn_;
  const AmxKernels* amx_;
  const KnnTileKernels* knn_tiles_;
  const NearestCodeKernels* nearest_codes_;
  ScratchCache scratch_{*this};
};

/// The device behind a kernel's argument: the table of kernels is reached through it alone.
[[nodiscard]] inline CpuDevice& cpu_device(Device& device) {
  return static_cast<CpuDevice&>(device);
}

}  // namespace panda::kernels::cpu
