// Barriers, shuffles, votes and warp reductions of CUDA C++, by rendezvous.
#pragma once

#include <bit>
#include <cstring>
#include <type_traits>

#include "kernels/simt/emulator.h"
#include "kernels/simt/vector_types.h"

// The line of the kernel that calls: default arguments are evaluated there.
#define PANDA_SIMT_CALLER const char *file = __builtin_FILE(), int line = __builtin_LINE()

namespace panda::kernels::simt {

inline void __syncthreads(PANDA_SIMT_CALLER) {
  (void)emulator::barrier(false, {"__syncthreads", file, line});
}
inline int __syncthreads_count(int predicate, PANDA_SIMT_CALLER) {
  return emulator::barrier(predicate != 0, {"__syncthreads_count", file, line});
}
inline int __syncthreads_or(int predicate, PANDA_SIMT_CALLER) {
  return emulator::barrier(predicate != 0, {"__syncthreads_or", file, line}) > 0;
}
inline int __syncthreads_and(int predicate, PANDA_SIMT_CALLER) {
  return emulator::barrier(predicate == 0, {"__syncthreads_and", file, line}) == 0;
}

inline constexpr unsigned kFullWarp = 0xffffffffu;

void __syncwarp(unsigned mask = kFullWarp, PANDA_SIMT_CALLER);

/// One block after another and one thread at a time: every write is seen at once. (That a fence is missing
/// cannot be seen here.)
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}

/// A loop that waits for another thread calls this, or it never ends.
inline void __nanosleep(unsigned, PANDA_SIMT_CALLER) {
  emulator::yield({"__nanosleep", file, line});
}

[[noreturn]] inline void __trap(PANDA_SIMT_CALLER) {
  emulator::fail({"__trap", file, line}, "the kernel gave up");
}

namespace emulator {

/// Value of lane `source` where that is in the mask, else poison.
uint64_t shuffle(uint32_t mask, uint64_t value, int source, const Site& site);
/// Lane that shuffles read, by PTX's definition of shfl.sync. The width is a power of two up to 32.
int index_source(int source, int width, const Site& site);
int up_source(unsigned delta, int width, const Site& site);
int down_source(unsigned delta, int width, const Site& site);
int xor_source(int lane_mask, int width, const Site& site);

template <typename T>
T shuffle_value(uint32_t mask, T value, int source, const Site& site) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8),
                "a shuffle moves an arithmetic type of 4 or 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = shuffle(mask, bits, source, site);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace emulator

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, PANDA_SIMT_CALLER) {
  const emulator::Site site = {"__shfl_sync", file, line};
  return emulator::shuffle_value(mask, value, emulator::index_source(source, width, site), site);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, PANDA_SIMT_CALLER) {
  const emulator::Site site = {"__shfl_up_sync", file, line};
  return emulator::shuffle_value(mask, value, emulator::up_source(delta, width, site), site);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, PANDA_SIMT_CALLER) {
  const emulator::Site site = {"__shfl_down_sync", file, line};
  return emulator::shuffle_value(mask, value, emulator::down_source(delta, width, site), site);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, PANDA_SIMT_CALLER) {
  const emulator::Site site = {"__shfl_xor_sync", file, line};
  return emulator::shuffle_value(mask, value, emulator::xor_source(lane_mask, width, site), site);
}

unsigned __ballot_sync(unsigned mask, int predicate, PANDA_SIMT_CALLER);
int __any_sync(unsigned mask, int predicate, PANDA_SIMT_CALLER);
int __all_sync(unsigned mask, int predicate, PANDA_SIMT_CALLER);

namespace emulator {
uint32_t match_any(uint32_t mask, uint64_t value, const Site& site);
}  // namespace emulator

template <typename T>
unsigned __match_any_sync(unsigned mask, T value, PANDA_SIMT_CALLER) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return emulator::match_any(mask, bits, {"__match_any_sync", file, line});
}
template <typename T>
unsigned __match_all_sync(unsigned mask, T value, int* predicate, PANDA_SIMT_CALLER) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  *predicate = emulator::match_any(mask, bits, {"__match_all_sync", file, line}) == mask ? 1 : 0;
  return *predicate != 0 ? mask : 0;
}

// From sm_80, 32-bit integers.
unsigned __reduce_add_sync(unsigned mask, unsigned value, PANDA_SIMT_CALLER);
int __reduce_add_sync(unsigned mask, int value, PANDA_SIMT_CALLER);
unsigned __reduce_min_sync(unsigned mask, unsigned value, PANDA_SIMT_CALLER);
int __reduce_min_sync(unsigned mask, int value, PANDA_SIMT_CALLER);
unsigned __reduce_max_sync(unsigned mask, unsigned value, PANDA_SIMT_CALLER);
int __reduce_max_sync(unsigned mask, int value, PANDA_SIMT_CALLER);
unsigned __reduce_and_sync(unsigned mask, unsigned value, PANDA_SIMT_CALLER);
unsigned __reduce_or_sync(unsigned mask, unsigned value, PANDA_SIMT_CALLER);
unsigned __reduce_xor_sync(unsigned mask, unsigned value, PANDA_SIMT_CALLER);

}  // namespace panda::kernels::simt
