// The four kinds of product, one per precision, and the launch of one product of either.
#pragma once

#include <algorithm>

#include "kernels/cuda/implicit_gemm.cuh"
#include "kernels/cuda/tile_choice.h"

namespace panda::kernels::PANDA_TARGET {

struct F16Kind {
  using Element = Float16;
  template <int kTileM, int kTileN>
  using Math = TensorCoreMath<F16Products, kTileM, kTileN>;
};
struct BF16Kind {
  using Element = BFloat16;
  template <int kTileM, int kTileN>
  using Math = TensorCoreMath<BF16Products, kTileM, kTileN>;
};
struct Tf32Kind {
  using Element = float;
  template <int kTileM, int kTileN>
  using Math = TensorCoreMath<Tf32Products, kTileM, kTileN>;
};
struct F32Kind {
  using Element = float;
  template <int kTileM, int kTileN>
  using Math = FmaMath<kTileM, kTileN>;
};

[[nodiscard]] inline bool is_aligned(const void* pointer) {
  return packs_fit(pointer, kChunkBytes);
}

/// One product with tiles of one size: LoaderA and LoaderB as templates over (element, rows, threads).
template <typename Kind, int kTileM, int kTileN, template <typename, int, int> typename LoaderA,
          template <typename, int, int> typename LoaderB, typename SourceA, typename SourceB>
void launch_tiles(GpuDevice& device, const SourceA& a, const SourceB& b, const TileOutput& output,
                  int64_t depth) {
  using Math = typename Kind::template Math<kTileM, kTileN>;
  using Element = typename Kind::Element;
  using A = LoaderA<Element, kTileM, Math::kThreads>;
  using B = LoaderB<Element, kTileN, Math::kThreads>;
  const int64_t row_tiles = (output.rows + kTileM - 1) / kTileM;
  const int column_tiles = (output.columns + kTileN - 1) / kTileN;
  const int64_t blocks = row_tiles * column_tiles;
  const int64_t depth_stages = (depth + kStageDepth<Element> - 1) / kStageDepth<Element>;
  PANDA_CHECK(blocks <= INT32_MAX && depth_stages <= INT32_MAX, "a product of ", output.rows, "x",
              output.columns, " with depth ", depth, " is beyond a GPU's grid of 2^31 blocks");
  PANDA_LAUNCH((implicit_gemm<Math, A, B>), dim3(static_cast<unsigned>(blocks)), dim3(Math::kThreads),
               static_cast<size_t>(kSharedBytes<Math>), device, a, b, output, column_tiles,
               static_cast<int>(depth_stages));
}

/// One product with the tile that suits its size.
template <typename Kind, template <typename, int, int> typename LoaderA,
          template <typename, int, int> typename LoaderB, typename SourceA, typename SourceB>
void launch_best_tiles(GpuDevice& device, const SourceA& a, const SourceB& b, const TileOutput& output,
                       int64_t depth) {
  switch (choose_gemm_tile(output.rows, output.columns, device.properties().multiprocessors)) {
    case GemmTile::k128x128:
      return launch_tiles<Kind, 128, 128, LoaderA, LoaderB>(device, a, b, output, depth);
    case GemmTile::k128x64:
      return launch_tiles<Kind, 128, 64, LoaderA, LoaderB>(device, a, b, output, depth);
    case GemmTile::k64x64:
      return launch_tiles<Kind, 64, 64, LoaderA, LoaderB>(device, a, b, output, depth);
  }
}

}  // namespace panda::kernels::PANDA_TARGET
