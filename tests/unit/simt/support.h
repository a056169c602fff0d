// Kernels of the emulator's own tests: each runs one intrinsic and leaves what every thread saw.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "kernels/cuda/dialect.cuh"
#include "kernels/simt/simt_device.h"

namespace panda::kernels::simt {

/// Every order of threads; a test that holds for one must hold for all.
inline std::vector<SimtOptions> every_order() {
  std::vector<SimtOptions> all;
  for (const char* name : {"fifo", "reverse", "random:1", "random:2"}) {
    SimtOptions options;
    set_order(options, name);
    all.push_back(options);
  }
  return all;
}

/// What lies at `place`, read past the race checker: the tests of the emulator look at what no kernel may.
template <typename T>
__attribute__((noipa, no_sanitize("thread"))) T peek(const T& place) {
  return place;
}

/// Runs body() as every thread of the grid; the kernel of launch_kernel with its parameters captured.
inline void run_body(const std::function<void()>* body) {
  (*body)();
}
inline void run_kernel(dim3 grid, dim3 block, size_t shared_bytes, SimtDevice& device,
                       const std::function<void()>& body) {
  PANDA_LAUNCH(run_body, grid, block, shared_bytes, device, &body);
}

/// body(thread) of one block of `threads` threads, in every order; values it returns, by thread.
template <typename T>
void expect_per_thread(int threads, const std::function<T()>& body, const std::function<T(int)>& expected) {
  for (const SimtOptions& options : every_order()) {
    SimtDevice device(options);
    std::vector<T> seen(static_cast<size_t>(threads));
    run_kernel(1, static_cast<unsigned>(threads), 0, device, [&] { seen[threadIdx.x] = body(); });
    for (int i = 0; i < threads; ++i)
      EXPECT_EQ(seen[static_cast<size_t>(i)], expected(i)) << "thread " << i << ", " << device.description();
  }
}

/// The message with which the body's launch fails ("" if it does not).
template <typename Exception = InternalError>
std::string failure(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body,
                    const SimtOptions& options = {}) {
  SimtDevice device(options);
  try {
    run_kernel(grid, block, shared_bytes, device, body);
  } catch (const Exception& error) {
    return error.what();
  }
  return "";
}

/// Every part occurs in the message.
template <typename... Parts>
void expect_contains(const std::string& message, const Parts&... parts) {
  for (const std::string& part : {std::string(parts)...})
    EXPECT_NE(message.find(part), std::string::npos) << "no '" << part << "' in: " << message;
}

}  // namespace panda::kernels::simt
