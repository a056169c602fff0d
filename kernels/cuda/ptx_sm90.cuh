// Instructions of sm_90: barriers in shared memory, copies that arrive at them, and products of a warpgroup.
// As in ptx.cuh, each wrapper has an emulated twin (kernels/simt/ptx_sm90_twins.h), and the hardware is
// compared with it by tools/gpu.sh. A kernel that uses them is launched on sm_90 alone; the code of other
// architectures traps.
//
// A phase of an MBarrier is complete when all arrivals that it was made for and all bytes that arrivals
// announced have come; then the next one begins. Phases count 0, 1, 0, 1, ...
#pragma once

#include "kernels/cuda/ptx.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define PANDA_HAS_SM90A 1
#else
#define PANDA_HAS_SM90A 0
#endif

namespace panda::kernels::cuda {

using MBarrier = unsigned long long;

/// By one thread, in shared memory; mbarrier_fence_init and a __syncthreads come before anything else uses
/// it.
__device__ inline void mbarrier_init(MBarrier* barrier, unsigned arrivals) {
#if PANDA_HAS_SM90A
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(shared_address(barrier)), "r"(arrivals)
               : "memory");
#else
  __trap();
#endif
}
/// Makes what mbarrier_init wrote known to the copy engine.
__device__ inline void mbarrier_fence_init() {
#if PANDA_HAS_SM90A
  asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;\n" ::: "memory");
#else
  __trap();
#endif
}
/// Makes this thread's ordinary writes to shared memory known to bulk copies and products that a barrier
/// orders after them.
__device__ inline void fence_async_proxy() {
#if PANDA_HAS_SM90A
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
#else
  __trap();
#endif
}
__device__ inline void mbarrier_arrive(MBarrier* barrier) {
#if PANDA_HAS_SM90A
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(shared_address(barrier)) : "memory");
#else
  __trap();
#endif
}
/// Arrives, and announces bytes that copies will bring in this phase.
__device__ inline void mbarrier_arrive_expect(MBarrier* barrier, unsigned bytes) {
#if PANDA_HAS_SM90A
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(shared_address(barrier)),
               "r"(bytes)
               : "memory");
#else
  __trap();
#endif
}
/// Returns when the phase of this parity is complete: at once if a later one runs.
__device__ inline void mbarrier_wait(MBarrier* barrier, unsigned parity) {
#if PANDA_HAS_SM90A
  unsigned done = 0;
  while (done == 0) {
    asm volatile(
        "{\n.reg .pred complete;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 complete, [%1], %2;\n"
        "selp.u32 %0, 1, 0, complete;\n}\n"
        : "=r"(done)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
  }
#else
  __trap();
#endif
}

/// Copies `bytes` from global to shared memory; addresses and bytes are multiples of 16. They arrive at the
/// barrier, where they must be announced.
__device__ inline void bulk_copy(void* shared, const void* global, unsigned bytes, MBarrier* barrier) {
#if PANDA_HAS_SM90A
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];\n" ::"r"(
          shared_address(shared)),
      "l"(global), "r"(bytes), "r"(shared_address(barrier))
      : "memory");
#else
  __trap();
#endif
}

/// Before the first wgmma_f16, and again after the sums were read or written otherwise.
__device__ inline void wgmma_fence() {
#if PANDA_HAS_SM90A
  asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
#else
  __trap();
#endif
}
/// Closes a group of this warp's products.
__device__ inline void wgmma_commit() {
#if PANDA_HAS_SM90A
  asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
#else
  __trap();
#endif
}
/// Returns when no more than kNewest of the newest groups are still under way.
template <int kNewest>
__device__ inline void wgmma_wait() {
#if PANDA_HAS_SM90A
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(kNewest) : "memory");
#else
  __trap();
#endif
}

/// Describes an operand in shared memory: rows of 128 bytes, 8 of them a pattern of 1024 bytes in which the
/// 16-byte chunk c of row r lies in place c ^ r. It begins in the first row of a pattern, at any chunk.
__device__ inline unsigned long long swizzled_operand(const void* operand) {
  constexpr unsigned long long kSwizzle128 = 1ULL << 62;
  constexpr unsigned long long kPatternStride = static_cast<unsigned long long>(1024 >> 4) << 32;
  constexpr unsigned long long kUnused = 1ULL
                                         << 16;  // the stride within a row of patterns, of which there is one
  return kSwizzle128 | kPatternStride | kUnused | (shared_address(operand) & 0x3ffff) >> 4;
}

/// d (+)= a b^T of a warpgroup: a 64 x 16, b 128 x 16, f16, as swizzled_operand says; d 64 x 128. Thread 32 w
/// + l has in d[i] row 16 w + l / 4 + 8 (i / 2 % 2), column 8 (i / 4) + 2 (l % 4) + i % 2. Asynchronous: d
/// belongs to it until wgmma_wait, the operands too.
__device__ inline void wgmma_f16(float (&d)[64], const void* a, const void* b, bool add) {
#if PANDA_HAS_SM90A
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, "
      "%11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, "
      "%31,"
      " %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, "
      "%52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, %64, %65, add, 1, 1, 0, 0;\n}\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
        "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
        "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]),
        "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]),
        "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]),
        "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]),
        "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]), "+f"(d[50]),
        "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), "+f"(d[57]),
        "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
      : "l"(swizzled_operand(a)), "l"(swizzled_operand(b)), "r"(add ? 1 : 0));
#else
  __trap();
#endif
}

/// What a warpgroup's threads may hold from here on, all of its warps calling; needs
/// __launch_bounds__(threads, 1).
template <int kRegisters>
__device__ inline void lower_registers() {
#if PANDA_HAS_SM90A
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(kRegisters));
#endif
}
template <int kRegisters>
__device__ inline void raise_registers() {
#if PANDA_HAS_SM90A
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(kRegisters));
#endif
}

}  // namespace panda::kernels::cuda
