// CUDA's atomic functions: each returns the old value. Threads change only at barriers and rendezvous, so a
// plain read-modify-write is one; the race checker is told that it was meant.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/simt/emulator.h"

namespace panda::kernels::simt {

namespace emulator {

/// Bracket an atomic access for the race checker; nothing in other builds.
#if defined(PANDA_RACE_CHECK)
void atomic_begin(const void* address, size_t bytes);
void atomic_end();
#else
inline void atomic_begin(const void*, size_t) {}
inline void atomic_end() {}
#endif

template <typename T, typename Operation>
T atomic(T* address, Operation&& operation) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  atomic_begin(address, sizeof(T));
  const T old = *address;
  *address = operation(old);
  atomic_end();
  return old;
}

}  // namespace emulator

// The second parameter takes no part in deducing T, as CUDA's overloads convert it.
template <typename T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  static_assert(!std::is_same_v<T, long long> && !std::is_same_v<T, long>, "CUDA has no such atomicAdd");
  return emulator::atomic(address, [&](T old) {
    if constexpr (std::is_same_v<T, int>)  // wraps
      return static_cast<int>(static_cast<unsigned>(old) + static_cast<unsigned>(value));
    else
      return static_cast<T>(old + value);
  });
}
inline int atomicSub(int* address, int value) {
  return emulator::atomic(address, [&](int old) {
    return static_cast<int>(static_cast<unsigned>(old) - static_cast<unsigned>(value));
  });
}
inline unsigned atomicSub(unsigned* address, unsigned value) {
  return emulator::atomic(address, [&](unsigned old) { return old - value; });
}
template <typename T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>, "CUDA has atomicMin of integers only");
  return emulator::atomic(address, [&](T old) { return value < old ? value : old; });
}
template <typename T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>, "CUDA has atomicMax of integers only");
  return emulator::atomic(address, [&](T old) { return old < value ? value : old; });
}
template <typename T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  return emulator::atomic(address, [&](T) { return value; });
}
template <typename T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>, "CUDA has atomicCAS of integers only");
  return emulator::atomic(address, [&](T old) { return old == expected ? value : old; });
}
template <typename T>
T atomicAnd(T* address, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>);
  return emulator::atomic(address, [&](T old) { return static_cast<T>(old & value); });
}
template <typename T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>);
  return emulator::atomic(address, [&](T old) { return static_cast<T>(old | value); });
}
template <typename T>
T atomicXor(T* address, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>);
  return emulator::atomic(address, [&](T old) { return static_cast<T>(old ^ value); });
}
/// Counts up to `limit`, then from 0 again.
inline unsigned atomicInc(unsigned* address, unsigned limit) {
  return emulator::atomic(address, [&](unsigned old) { return old >= limit ? 0 : old + 1; });
}
inline unsigned atomicDec(unsigned* address, unsigned limit) {
  return emulator::atomic(address, [&](unsigned old) { return old == 0 || old > limit ? limit : old - 1; });
}

}  // namespace panda::kernels::simt
