// The inner loops that must round every operation (no contraction) for baseline; rules in micro_kernels.h.
#include "kernels/cpu/simd/micro_kernels.h"

namespace panda::kernels::cpu::baseline {
#include "kernels/cpu/simd/exact_kernels.inl"
}  // namespace panda::kernels::cpu::baseline
