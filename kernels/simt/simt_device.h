// The device `simt`: the kernels of kernels/cuda, run on the CPU by the emulator. Slow, and stricter than a
// GPU: for tests, and for finding out what a kernel does.
#pragma once

#include <utility>
#include <vector>

#include "kernels/cuda/gpu_device.h"
#include "kernels/simt/simt_options.h"
#include "kernels/tensor/parallel.h"

namespace panda::kernels::simt {

/// Its memory is the host's, in blocks of exactly the bytes asked for, filled with the poison byte: what runs
/// past one is AddressSanitizer's to report, what is read before it is written is no number.
class SimtDevice final : public GpuDevice {
 public:
  explicit SimtDevice(const SimtOptions& options = {}) : GpuDevice(options.precision), options_(options) {}

  [[nodiscard]] std::string name() const override { return "simt"; }
  [[nodiscard]] std::string description() const override;
  [[nodiscard]] const KernelTable& kernels() const override;
  [[nodiscard]] ThreadPool& threads() override { return threads_; }
  [[nodiscard]] const GpuProperties& properties() const override { return options_.properties; }
  [[nodiscard]] void* stream() const override { return nullptr; }

  void copy_from_host(void* device_destination, const void* source, int64_t bytes) override;
  void copy_to_host(void* destination, const void* device_source, int64_t bytes) override;
  void fill(void* destination, uint8_t value, int64_t bytes) override;
  void copy_on_device(void* destination, const void* source, int64_t bytes) override;
  /// Kernels run when they are launched: there is nothing to wait for.
  void synchronize() override;
  [[nodiscard]] bool records() const override { return true; }
  [[nodiscard]] std::unique_ptr<Recording> record(const std::function<void()>& work) override;
  /// True while work is recorded: `step` then belongs to the recording.
  [[nodiscard]] bool take_down(const std::function<void()>& step);

  [[nodiscard]] const SimtOptions& options() const { return options_; }
  [[nodiscard]] unsigned char poison_byte() const;
  /// Another one for each launch, the same ones in each run.
  [[nodiscard]] uint64_t next_seed() { return options_.seed + ++launches_ * 0x9e3779b97f4a7c15u; }

 protected:
  void* allocate_bytes(int64_t bytes) override;
  void free_bytes(void* pointer, int64_t bytes) noexcept override;

 private:
  class StepRecording;
  void refuse_while_recording(const char* action) const;

  SimtOptions options_;
  ThreadPool threads_{1};
  uint64_t launches_ = 0;
  StepRecording* recording_ = nullptr;  ///< the one that is being made
};

}  // namespace panda::kernels::simt
