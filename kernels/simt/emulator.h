// What the emulator offers to the headers that a kernel sees: the place where every thread of a block can be
// made to wait for others. One block runs at a time, on one OS thread, each of its threads on a stack of its
// own; threads change only in the functions here.
//
// A warp-wide operation is a rendezvous: each lane leaves a pointer to its operands, the last to arrive
// computes for all, then all may go on in the launch's order. Whatever CUDA leaves undefined is an error here
// (InternalError naming kernel, block, thread, operation and source line).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace panda::kernels::simt::emulator {

/// Where a thread waits. `file` and `line` are those of the kernel's source.
struct Site {
  const char* operation;
  const char* file;
  int line;
};

/// Ends the launch with an InternalError about the thread that runs.
[[noreturn]] void fail(const Site& site, const std::string& what);

/// __syncthreads and its reducing forms: the number of threads whose predicate is true.
int barrier(bool predicate, const Site& site);

/// Computes for the lanes of `mask`; operands[lane] is what that lane gave.
using Completion = void (*)(uint32_t mask, void* const* operands);
/// Waits until every lane of `mask` has come here with the same mask from the same line; the last one runs
/// `complete`.
void rendezvous(uint32_t mask, void* operands, Completion complete, const Site& site);

/// Lets the others run first: what a loop that waits for another thread must call.
void yield(const Site& site);

/// Linear thread index in the block, and the lane.
[[nodiscard]] int thread_index();
[[nodiscard]] int lane_index();

/// A static shared variable of the block that runs: a heap block of exactly this size, poisoned when the
/// block starts. `key` is the declaration's identity.
[[nodiscard]] void* shared_variable(const void* key, size_t bytes, const char* name, const char* file,
                                    int line);
[[nodiscard]] void* dynamic_shared();

/// Fails unless [pointer, pointer + bytes) lies in shared memory of this block.
void require_shared(const void* pointer, size_t bytes, const Site& site);
/// Fails unless the device that runs has at least this compute capability (major * 10 + minor).
void require_capability(int minimum, const Site& site);
[[nodiscard]] int compute_capability();

/// Bytes that the launch poisons memory with: 0xFF (NaN in every float), or a large finite pattern.
[[nodiscard]] unsigned char poison_byte();

}  // namespace panda::kernels::simt::emulator
