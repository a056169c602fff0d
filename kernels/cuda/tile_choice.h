// Which tile the kernels of implicit_gemm.cuh cut a problem into. No result depends on it.
#pragma once

#include <cstdint>

namespace panda::kernels {

enum class GemmTile { k128x128, k128x64, k64x64 };

/// The tile of the least modelled time on `multiprocessors`. The multiprocessor that gets most blocks works
/// through ceil(blocks / multiprocessors) tiles. A tile's time is its area times what a product costs: a warp
/// of a 128 x 128 tile loads 128 bytes of fragments from shared memory per 16 x 8 x 16 product, of a 128 x 64
/// tile 192, of a 64 x 64 tile 256, at 128 bytes a cycle beside a tensor core's 1 (sm_90, mma.sync
/// rather 1.6) to 2 (sm_80) cycles a product: weights 1, 1.15 and 1.35 lie between "hidden" and "the bound".
/// Ties go to the smaller tile, whose warps leave each other more issue slots.
[[nodiscard]] inline GemmTile choose_gemm_tile(int64_t rows, int64_t columns, int multiprocessors) {
  struct Candidate {
    GemmTile tile;
    int64_t m, n;
    double weight;
  };
  constexpr Candidate kCandidates[] = {{GemmTile::k64x64, 64, 64, 1.35},
                                       {GemmTile::k128x64, 128, 64, 1.15},
                                       {GemmTile::k128x128, 128, 128, 1.0}};
  GemmTile best = GemmTile::k64x64;
  double best_time = 0;
  for (const Candidate& one : kCandidates) {
    const int64_t blocks = ((rows + one.m - 1) / one.m) * ((columns + one.n - 1) / one.n);
    const int64_t rounds = (blocks + multiprocessors - 1) / multiprocessors;
    const double time = static_cast<double>(rounds * one.m * one.n) * one.weight;
    if (best_time == 0 || time < best_time) {
      best = one.tile;
      best_time = time;
    }
  }
  return best;
}

}  // namespace panda::kernels
