// The inner loops of the cpu device for baseline; flags in kernels/cpu/CMakeLists.txt, rules in
// micro_kernels.h.
#include "kernels/cpu/simd/micro_kernels.h"

namespace panda::kernels::cpu::baseline {
#include "kernels/cpu/simd/micro_kernels.inl"
}  // namespace panda::kernels::cpu::baseline
