// The emulated twins of kernels/cuda/ptx.cuh: same names, same fragments (described there).
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/simt/warp.h"

namespace panda::kernels::simt {

/// The destination is poisoned now and filled at the wait, so that both a missing wait and a buffer that is
/// filled too early show. The source is read at the wait.
void cp_async16(void* shared, const void* global, int valid_bytes, PANDA_SIMT_CALLER);
void cp_async_commit();

namespace emulator {
void cp_async_wait(int newest);
}  // namespace emulator

template <int kNewest>
void cp_async_wait() {
  static_assert(kNewest >= 0);
  emulator::cp_async_wait(kNewest);
}

void ldmatrix_x4(uint32_t (&registers)[4], const void* row, PANDA_SIMT_CALLER);
void ldmatrix_x4_trans(uint32_t (&registers)[4], const void* row, PANDA_SIMT_CALLER);
void ldmatrix_x2(uint32_t (&registers)[2], const void* row, PANDA_SIMT_CALLER);
void ldmatrix_x2_trans(uint32_t (&registers)[2], const void* row, PANDA_SIMT_CALLER);

/// Sums run over the depth in order, rounded to f32 at each step: a tensor core's rounding differs.
void mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], PANDA_SIMT_CALLER);
void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], PANDA_SIMT_CALLER);
void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], PANDA_SIMT_CALLER);

/// Nearest of 10 mantissa bits, ties away from zero: half of the dropped range is added to the magnitude,
/// then the dropped bits are cleared. Infinity stays, a NaN becomes the canonical one.
inline uint32_t to_tf32(float value, PANDA_SIMT_CALLER) {
  emulator::require_capability(80, {"to_tf32", file, line});
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fffffffu;
  if ((bits & 0x7fffffffu) == 0x7f800000u) return bits;
  return (bits + 0x1000u) & 0xffffe000u;
}

}  // namespace panda::kernels::simt
