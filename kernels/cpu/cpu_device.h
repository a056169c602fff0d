// The CPU device: packed, vectorised, threaded kernels for the instruction set found (or forced) at run time.
#pragma once

#include "kernels/cpu/isa.h"
#include "kernels/tensor/device.h"
#include "kernels/tensor/parallel.h"

namespace panda::kernels::cpu {

class CpuDevice final : public HostMemoryDevice {
 public:
  CpuDevice(int thread_count, Isa isa);

  [[nodiscard]] std::string name() const override { return "cpu"; }
  [[nodiscard]] std::string description() const override;
  [[nodiscard]] const KernelTable& kernels() const override;
  [[nodiscard]] Layout activation_layout() const override { return Layout::kChannelBlocked16; }
  [[nodiscard]] ThreadPool& threads() override { return threads_; }
  [[nodiscard]] Isa isa() const { return isa_; }

 private:
  ThreadPool threads_;
  Isa isa_;
};

}  // namespace panda::kernels::cpu
