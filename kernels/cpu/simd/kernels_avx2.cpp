// The inner loops of the cpu device for avx2; flags in kernels/cpu/CMakeLists.txt, rules in micro_kernels.h.
#include "kernels/cpu/simd/micro_kernels.h"

#include <immintrin.h>  // extern inline functions that are always inlined: no symbols

namespace panda::kernels::cpu::avx2 {
#include "kernels/cpu/simd/micro_kernels.inl"
}  // namespace panda::kernels::cpu::avx2
