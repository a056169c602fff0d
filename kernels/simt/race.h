// The race checker, in builds with PANDA_RACE_CHECK: the compiler calls a hook at every access of a kernel to
// memory (-fsanitize=thread on the kernels' objects, without libtsan), and race.cpp keeps for every byte who
// wrote and read it last. In other builds nothing of it exists.
//
// Two accesses to a byte, one of them a write, not both atomic, are a race unless
//   they are one thread's, or in different launches, or
//   in one block with a __syncthreads between them, or
//   in one warp with a __syncwarp between them whose mask names both lanes.
// Shuffles, votes and matrix instructions order nothing (CUDA C++ guide). A byte of shared memory that is
// read before its block wrote it, or while a cp_async16 to it is under way, is reported too; so is an access
// past the ends of an allocation, or one that is not aligned as its type says.
#pragma once

#include <cstddef>
#include <cstdint>

namespace panda::kernels::simt::emulator::race {

#if defined(PANDA_RACE_CHECK)

/// Shared memory of the running block lies here, so that its shadow is found by subtraction. nullptr if the
/// launch's variables do not fit.
[[nodiscard]] void* allocate_shared(size_t bytes);
void free_shared();

void device_memory_allocated(const void* address, size_t bytes);
void device_memory_freed(const void* address);
/// Bytes beside an allocation of device memory that belong to nobody: an access there is reported.
inline constexpr size_t kDeviceBand = 64;
/// An access to these bytes of device memory is reported: they are not the tensor's.
void forbid(const void* address, size_t bytes);

void launch_started();
void launch_ended();
void block_started(size_t threads);
void block_barrier();
void warp_barrier(int first_thread, uint32_t mask);

// Accesses that the emulator makes for the running thread.
void read(const void* address, size_t bytes);
void write(const void* address, size_t bytes);
void copy_issued(const void* address, size_t bytes);

/// Throws InternalError if the block raced.
void report();

#else

inline void device_memory_allocated(const void*, size_t) {}
inline void device_memory_freed(const void*) {}
inline constexpr size_t kDeviceBand = 0;
inline void launch_started() {}
inline void launch_ended() {}
inline void block_started(size_t) {}
inline void block_barrier() {}
inline void warp_barrier(int, uint32_t) {}
inline void read(const void*, size_t) {}
inline void write(const void*, size_t) {}
inline void copy_issued(const void*, size_t) {}
inline void report() {}

#endif

}  // namespace panda::kernels::simt::emulator::race
