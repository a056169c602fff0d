// The emulated twins of kernels/cuda/ptx_sm90.cuh: same names, described there.
#pragma once

#include "kernels/simt/warp.h"

namespace panda::kernels::simt {

/// Phase, arrivals and bytes still to come, in eight bytes of shared memory; used before it is initialised,
/// it says so.
using MBarrier = unsigned long long;

void mbarrier_init(MBarrier* barrier, unsigned arrivals, PANDA_SIMT_CALLER);
inline void mbarrier_fence_init() {}
inline void fence_async_proxy() {}
void mbarrier_arrive(MBarrier* barrier, PANDA_SIMT_CALLER);
void mbarrier_arrive_expect(MBarrier* barrier, unsigned bytes, PANDA_SIMT_CALLER);
/// Each look that finds the phase unfinished lets one copy of the block arrive, in the launch's order.
void mbarrier_wait(MBarrier* barrier, unsigned parity, PANDA_SIMT_CALLER);

/// The destination is poisoned now and filled while some thread waits.
void bulk_copy(void* shared, const void* global, unsigned bytes, MBarrier* barrier, PANDA_SIMT_CALLER);

/// Sums run over the depth in order, rounded to f32 at each step; operands are read and sums appear at the
/// wait, until which the sums are poison.
void wgmma_f16(float (&d)[64], const void* a, const void* b, bool add, PANDA_SIMT_CALLER);
void wgmma_fence(PANDA_SIMT_CALLER);
void wgmma_commit();

namespace emulator {
void wgmma_wait(int newest, const Site& site);
}  // namespace emulator

template <int kNewest>
void wgmma_wait(PANDA_SIMT_CALLER) {
  static_assert(kNewest >= 0);
  emulator::wgmma_wait(kNewest, {"wgmma_wait", file, line});
}

/// Registers are the compiler's here.
template <int kRegisters>
void lower_registers() {
  static_assert(kRegisters >= 24 && kRegisters <= 256 && kRegisters % 8 == 0);
}
template <int kRegisters>
void raise_registers() {
  static_assert(kRegisters >= 24 && kRegisters <= 256 && kRegisters % 8 == 0);
}

}  // namespace panda::kernels::simt
