// Copies between host memory of any kind and a GPU through two page-locked buffers, so that the copy of one
// piece into or out of a buffer and the transfer of the other overlap, and no caller's memory is locked.
#pragma once

#include <cstdint>
#include <functional>

#include "kernels/cuda/runtime_api.h"

namespace panda::kernels::cuda {

class Staging {
 public:
  static constexpr int64_t kPieceBytes = int64_t{4}
                                         << 20;  // 0.1 ms at 50 GB/s: far above a transfer's latency

  /// `check(error, action)` throws for an error.
  using Check = std::function<void(cudaError_t error, const char* action)>;
  Staging(const RuntimeApi& api, cudaStream_t stream, Check check);
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  ~Staging();

  /// Returns when `source` has been read; the transfer is in the stream's order.
  void copy_in(void* device_destination, const void* source, int64_t bytes);
  /// Returns when `destination` is written: all work of the stream before it is done.
  void copy_out(void* destination, const void* device_source, int64_t bytes);

 private:
  struct Buffer {
    void* memory = nullptr;
    cudaEvent_t idle = nullptr;  ///< reached when the last transfer from or to it is done
  };
  void prepare();

  const RuntimeApi& api_;
  cudaStream_t stream_;
  Check check_;
  Buffer buffers_[2];
};

}  // namespace panda::kernels::cuda
