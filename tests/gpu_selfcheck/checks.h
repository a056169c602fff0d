// The checks of gpu_selfcheck: one kernel per intrinsic, compiled by both compilers of the dialect. Each
// fills out[] from in[] and nothing else, so that hardware and emulator can be compared bit by bit.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/gpu_device.h"

namespace panda::selfcheck {

inline constexpr int kBlockThreads = 128;  // four warps
inline constexpr int kInputWords = 8;      // per thread
inline constexpr int kOutputWords = 8;     // per thread; unused ones stay 0

/// How words of the two sides are compared.
enum class Comparison {
  kBits,    ///< equal
  kFloats,  ///< f32; within `bound` of each other, relative to the larger, or both NaN
};

/// What in[] holds, thread by thread.
enum class Inputs {
  kAnyBits,        ///< all 32-bit patterns alike, and the special numbers of f32 often
  kSmallIntegers,  ///< f32 -8..8: every sum and product of the check is exact
  kModerate,       ///< f32 between 2^-8 and 2^8 of either sign
  kPositive,       ///< f32 between 2^-8 and 2^8
};

struct Check {
  const char* name;
  Inputs inputs;
  Comparison comparison;
  double bound;            ///< for kFloats
  int compute_capability;  ///< of the oldest GPU that has it
  void (*run)(kernels::GpuDevice& device, const uint32_t* in, uint32_t* out, int blocks);
};

}  // namespace panda::selfcheck

namespace panda::kernels {
namespace cuda {
[[nodiscard]] const std::vector<selfcheck::Check>& selfchecks();
}
namespace simt {
[[nodiscard]] const std::vector<selfcheck::Check>& selfchecks();
}
}  // namespace panda::kernels
