// The instruction sets that the cpu device has kernels for, and which of them this machine runs.
#pragma once

#include <string>
#include <vector>

namespace panda::kernels::cpu {

/// In rising order. kBaseline is what the compiler targets without flags (SSE2 on x86-64, NEON on aarch64).
enum class Isa { kBaseline, kAvx2, kAvx512 };

/// "baseline", "avx2", "avx512": what PANDA_ISA takes and `panda info` prints.
[[nodiscard]] const char* isa_name(Isa isa);
/// Inverse of isa_name; throws InvalidArgument listing the names.
[[nodiscard]] Isa isa_from_name(const std::string& name);

/// The sets that processor and operating system support, in rising order. kAvx2 means AVX2 and FMA; kAvx512
/// means F, BW, DQ, VL and CD on top of it (Skylake-X and later, Zen 4 and later).
[[nodiscard]] const std::vector<Isa>& supported_isas();

struct MicroKernels;
struct ExactKernels;
struct KnnKernels;
struct AmxKernels;
struct KnnTileKernels;
struct NearestCodeKernels;
/// The inner loops of a supported set (kernels/cpu/simd/micro_kernels.h).
[[nodiscard]] const MicroKernels& micro_kernels(Isa isa);
[[nodiscard]] const ExactKernels& exact_kernels(Isa isa);
/// Those of kAvx512 come with VNNI where the processor has it.
[[nodiscard]] const KnnKernels& knn_kernels(Isa isa);

/// 8- and 16-bit dot products (Cascade Lake and later, Zen 4 and later), on top of kAvx512.
[[nodiscard]] bool has_avx512_vnni();
/// Null without them.
[[nodiscard]] const NearestCodeKernels* nearest_code_kernels(Isa isa);

/// Tiles of bf16 and of 8-bit codes (Sapphire Rapids and later), on top of kAvx512: null if the processor has
/// none, or the operating system does not give them to this process.
[[nodiscard]] const AmxKernels* amx_kernels(Isa isa);
[[nodiscard]] const KnnTileKernels* knn_tile_kernels(Isa isa);

}  // namespace panda::kernels::cpu
