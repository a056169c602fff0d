// The oracle: host memory, one thread, the plain kernels of this folder.
#pragma once

#include "kernels/tensor/device.h"
#include "kernels/tensor/parallel.h"

namespace panda::kernels::reference {

class ReferenceDevice final : public HostMemoryDevice {
 public:
  [[nodiscard]] std::string name() const override { return "reference"; }
  [[nodiscard]] std::string description() const override { return "plain loops, f64 sums, one thread"; }
  [[nodiscard]] const KernelTable& kernels() const override;
  [[nodiscard]] Layout activation_layout() const override { return Layout::kDense; }
  [[nodiscard]] ThreadPool& threads() override { return threads_; }

 private:
  ThreadPool threads_{1};
};

}  // namespace panda::kernels::reference
