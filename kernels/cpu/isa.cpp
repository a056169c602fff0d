#include "kernels/cpu/isa.h"

#include "kernels/cpu/simd/knn_kernels.h"
#include "kernels/cpu/simd/micro_kernels.h"
#include "kernels/tensor/error.h"

namespace panda::kernels::cpu {

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kBaseline:
      return "baseline";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
  }
  return "unknown";
}

Isa isa_from_name(const std::string& name) {
  for (const Isa isa : {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512}) {
    if (name == isa_name(isa)) return isa;
  }
  throw InvalidArgument(text("instruction set '", printable(name), "', expected baseline, avx2 or avx512"));
}

const std::vector<Isa>& supported_isas() {
  static const std::vector<Isa> supported = [] {
    std::vector<Isa> found = {Isa::kBaseline};
#if defined(__x86_64__)
    // __builtin_cpu_supports asks cpuid and, for the vector sets, xgetbv: the operating system must save the
    // registers.
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      found.push_back(Isa::kAvx2);
      if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
          __builtin_cpu_supports("avx512cd")) {
        found.push_back(Isa::kAvx512);
      }
    }
#endif
    return found;
  }();
  return supported;
}

const MicroKernels& micro_kernels(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return avx512::kKernels;
  if (isa == Isa::kAvx2) return avx2::kKernels;
#endif
  PANDA_INTERNAL_ASSERT(isa == Isa::kBaseline, isa_name(isa));
  return baseline::kKernels;
}

const ExactKernels& exact_kernels(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return avx512::kExactKernels;
  if (isa == Isa::kAvx2) return avx2::kExactKernels;
#endif
  PANDA_INTERNAL_ASSERT(isa == Isa::kBaseline, isa_name(isa));
  return baseline::kExactKernels;
}

bool has_avx512_vnni() {
#if defined(__x86_64__)
  return supported_isas().back() == Isa::kAvx512 && __builtin_cpu_supports("avx512vnni");
#else
  return false;
#endif
}

const KnnKernels& knn_kernels(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return has_avx512_vnni() ? avx512vnni::kKnnKernels : avx512::kKnnKernels;
  if (isa == Isa::kAvx2) return avx2::kKnnKernels;
#endif
  PANDA_INTERNAL_ASSERT(isa == Isa::kBaseline, isa_name(isa));
  return baseline::kKnnKernels;
}

}  // namespace panda::kernels::cpu
