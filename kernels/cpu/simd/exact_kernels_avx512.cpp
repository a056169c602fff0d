// The inner loops that must round every operation (no contraction) for avx512; rules in micro_kernels.h.
#include "kernels/cpu/simd/micro_kernels.h"

#include <immintrin.h>  // extern inline functions that are always inlined: no symbols

namespace panda::kernels::cpu::avx512 {
#include "kernels/cpu/simd/exact_kernels.inl"
}  // namespace panda::kernels::cpu::avx512
