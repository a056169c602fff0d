#include "kernels/cpu/isa.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "kernels/cpu/simd/amx_kernels.h"
#include "kernels/cpu/simd/knn_kernels.h"
#include "kernels/cpu/simd/micro_kernels.h"
#include "kernels/cpu/simd/nearest_codes.h"
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

#if defined(__x86_64__)
const NearestCodeKernels* nearest_code_kernels(Isa isa) {
  return isa == Isa::kAvx512 && has_avx512_vnni() ? &avx512vnni::kNearestCodeKernels : nullptr;
}
#else
const NearestCodeKernels* nearest_code_kernels(Isa) {
  return nullptr;
}
#endif

#if defined(__x86_64__) && defined(__linux__)
namespace {

bool ask_for_amx() {
  if (supported_isas().back() != Isa::kAvx512) return false;
  // GCC 12 does not name these for __builtin_cpu_supports: AMX-BF16, AMX-TILE and AMX-INT8, AVX512-BF16.
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d >> 22 & 1) == 0 || (d >> 24 & 3) != 3) return false;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) == 0 || (a >> 5 & 1) == 0) return false;
  // Linux gives a process the tiles' registers (8 KiB a thread) when it asks, and refuses where it does not
  // know them.
  constexpr long kRequestPermission = 0x1023;
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

bool has_amx(Isa isa) {
  static const bool given = ask_for_amx();
  return isa == Isa::kAvx512 && given;
}

}  // namespace

const AmxKernels* amx_kernels(Isa isa) {
  return has_amx(isa) ? &amx::kAmxKernels : nullptr;
}

const KnnTileKernels* knn_tile_kernels(Isa isa) {
  return has_amx(isa) ? &amx::kKnnTileKernels : nullptr;
}
#else
const AmxKernels* amx_kernels(Isa) {
  return nullptr;
}

const KnnTileKernels* knn_tile_kernels(Isa) {
  return nullptr;
}
#endif

}  // namespace panda::kernels::cpu
