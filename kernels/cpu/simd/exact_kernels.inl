// Everything that one instruction set's ExactKernels holds.
namespace {
#include "kernels/cpu/simd/vector.inl"

#include "kernels/cpu/simd/distances.inl"

int64_t calls() {
  return __atomic_load_n(&call_count, __ATOMIC_RELAXED);
}
}  // namespace

const ExactKernels kExactKernels = {
    .isa = kIsaName,
    .calls = calls,
    .distances = distances,
    .distance_rows = distance_rows,
};
