// The device `cuda`: one NVIDIA GPU, one stream, one arena.
//
// Calls come from one thread at a time, and give work to the stream in order; only synchronize, copies to the
// host and a full staging buffer wait for it. What goes wrong in a kernel is seen at the next wait: the
// message then names the kernel given last (with `synchronous`, the one that failed). An error after which
// CUDA serves nothing more in this process is remembered: every later call throws it again.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/arena.h"
#include "kernels/cuda/gpu_device.h"
#include "kernels/cuda/launch_shape.h"
#include "kernels/cuda/runtime_api.h"
#include "kernels/cuda/staging.h"
#include "kernels/kernel_table.h"
#include "kernels/tensor/parallel.h"

namespace panda::kernels::cuda {

namespace vendor {
class VendorLibraries;
}

/// The table of kernels/cuda/*.cu.
[[nodiscard]] const KernelTable& native_kernels();

class CudaDevice final : public GpuDevice {
 public:
  /// `index` as the runtime counts; `threads`: the host's, for those that work beside the GPU; `synchronous`
  /// waits after every launch. Throws Unsupported for a GPU older than sm_75 and for a precision that it has
  /// no products for, DeviceError if it cannot be taken.
  CudaDevice(int index, Precision precision, int threads, bool synchronous,
             const RuntimeApi& api = runtime_api());
  ~CudaDevice() override;

  [[nodiscard]] std::string name() const override;
  [[nodiscard]] std::string description() const override;
  [[nodiscard]] const KernelTable& kernels() const override { return table_; }
  [[nodiscard]] ThreadPool& threads() override { return threads_; }
  void copy_from_host(void* device_destination, const void* source, int64_t bytes) override;
  void copy_to_host(void* destination, const void* device_source, int64_t bytes) override;
  void copy_on_device(void* destination, const void* source, int64_t bytes) override;
  void fill(void* destination, uint8_t value, int64_t bytes) override;
  void synchronize() override;
  [[nodiscard]] bool records() const override { return true; }
  [[nodiscard]] std::unique_ptr<Recording> record(const std::function<void()>& work) override;

  [[nodiscard]] const GpuProperties& properties() const override { return properties_; }
  [[nodiscard]] void* stream() const override { return stream_; }

  [[nodiscard]] const Arena& arena() const { return arena_; }
  [[nodiscard]] bool recording() const { return pool_ != nullptr; }
  /// Throws for an error of the runtime; `action` reads "copying to the host".
  void check(cudaError_t error, const std::string& action);
  /// Before a launch: the device is usable and current. After it: what the launch said.
  void before_launch();
  void after_launch(const LaunchShape& launch, cudaError_t refused);

  /// Takes the vendor's kernels where the libraries have one (kernels/cuda/vendor).
  void use_vendor(std::unique_ptr<vendor::VendorLibraries> libraries);
  [[nodiscard]] vendor::VendorLibraries& vendor();

 protected:
  void* allocate_bytes(int64_t bytes) override;
  void free_bytes(void* pointer, int64_t bytes) noexcept override;
  [[nodiscard]] int64_t reserved_bytes() const override;

 private:
  class Chunks final : public ChunkSource {
   public:
    explicit Chunks(CudaDevice& device) : device_(device) {}
    void* allocate_chunk(int64_t bytes) override;
    void free_chunk(void* chunk) noexcept override;

   private:
    CudaDevice& device_;
  };
  /// Blocks of a recording: those freed while it was made. Its kernels have their addresses.
  struct RecordedBlocks {
    std::vector<std::pair<void*, int64_t>> idle;   ///< with what they hold; later work of the recording may
    std::vector<std::pair<void*, int64_t>> taken;  ///< re-use them
  };
  class GraphRecording;

  void ensure_usable();
  [[noreturn]] void fail(cudaError_t error, const std::string& action);
  [[nodiscard]] std::string since_last_wait() const;
  void refuse_while_recording(const char* action) const;
  void release(const RecordedBlocks& blocks) noexcept;
  [[nodiscard]] void* allocate_recorded(int64_t bytes);

  const RuntimeApi& api_;
  int index_;
  bool synchronous_;
  GpuProperties properties_;
  std::string model_;
  std::string driver_;
  cudaStream_t stream_ = nullptr;
  std::string failure_;  ///< the error that ended this device, "" while it works
  LaunchShape last_launch_;
  int64_t launches_since_wait_ = 0;
  mutable std::mutex arena_mutex_;
  Chunks chunks_{*this};
  Arena arena_{chunks_};
  std::unique_ptr<Staging> staging_;
  RecordedBlocks* pool_ = nullptr;  ///< of the recording being made
  ThreadPool threads_;
  std::unique_ptr<vendor::VendorLibraries> vendor_;
  KernelTable table_;
};

[[nodiscard]] inline CudaDevice& cuda_device(Device& device) {
  return static_cast<CudaDevice&>(device);
}

}  // namespace panda::kernels::cuda
