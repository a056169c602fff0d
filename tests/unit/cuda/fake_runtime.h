// A CUDA runtime that is played: memory is the host's, the stream is a queue whose work is done only when
// someone waits, and any call can be told to fail. What a device forgets to wait for, stays undone and shows.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "kernels/cuda/runtime_api.h"

namespace panda::test {

struct FakeGpu {
  int gpus = 1;
  int driver_version = 13000;
  int major = 9;
  int minor = 0;
  int64_t memory_bytes = int64_t{256} << 20;
  cudaError_t count_error = cudaSuccess;
  std::map<std::string, cudaError_t> fail_next;  ///< by call ("GraphInstantiate"): fails once

  // What happened.
  int64_t held_bytes = 0;
  int mallocs = 0;
  int64_t pinned_buffers = 0;
  int64_t live_objects = 0;  ///< streams, events, graphs
  std::deque<std::function<void()>> queue;
  std::vector<std::function<void()>>* capture = nullptr;
  bool capture_broken = false;
  cudaError_t sticky = cudaSuccess;
  cudaError_t last = cudaSuccess;

  /// Work as a kernel would give it to the stream.
  void give(std::function<void()> work);
  void run_all();
};

/// The one that the functions below play on; reset makes a new one.
FakeGpu& fake_gpu();
void reset_fake_gpu();
const kernels::cuda::RuntimeApi& fake_runtime();

}  // namespace panda::test
