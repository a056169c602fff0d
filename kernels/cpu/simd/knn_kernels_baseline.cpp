// The inner loops of the certified kNN search for baseline; flags in kernels/cpu/CMakeLists.txt.
#include "kernels/cpu/simd/knn_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>  // extern inline functions that are always inlined: no symbols
#endif

namespace panda::kernels::cpu::baseline {
#include "kernels/cpu/simd/knn_kernels.inl"
}  // namespace panda::kernels::cpu::baseline
