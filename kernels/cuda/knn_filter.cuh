// The certified search (knn_filter.cu), and what its kernels share.
#pragma once

#include "kernels/cuda/knn_hits.cuh"

namespace panda::kernels::PANDA_TARGET {

/// Neighbours up to which the filter keeps lists short enough for shared memory.
inline constexpr int64_t kKnnFilterMostNeighbours = 64;

/// Whose tiles make the products: what is kept is the same but for products whose rounding differs.
enum class KnnTiles : uint8_t {
  kPortable,  ///< mma.sync, sm_75 upward
  kWarpgroup  ///< wgmma and bulk copies, sm_90 alone (sm90/knn_filter_sm90.cu)
};
/// kPortable, or what the variable PANDA_KNN_TILES says: portable or warpgroup, the latter where the device
/// has it.
[[nodiscard]] KnnTiles knn_tiles(const GpuProperties& gpu);

/// The search of an index whose filter is kF16, k <= kKnnFilterMostNeighbours. Gives the result of
/// knn_exact_search, which it falls back on: per query where too much is kept, as a whole if the workspace is
/// too small for a tile of queries. `bound_factor` as in knn_encode_queries.
KnnStatistics knn_filtered_search(GpuDevice& device, const GpuKnnIndex& index, const KnnProblem& problem,
                                  KnnTiles tiles, double bound_factor = 1);

/// One pass over a sample of the gallery's tiles.
struct KnnFilterPass {
  const Float16* queries;  ///< codes
  const Float16* gallery;  ///< codes
  int64_t nb;
  int64_t d;
  int64_t blocks;  ///< of 64 components
  const float* c;
  const KnnTileBounds* tiles;
  KnnHitLists lists;
  int64_t tile_step;            ///< every tile_step-th tile of the gallery is looked at
  int64_t visits;               ///< of these there are so many
  unsigned long long* nearest;  ///< nq, for k = 1: the best score so far and its row, or 0; else null
};

/// Appends a pair to its query's list; a list that is full only counts on.
__device__ inline void knn_keep(const KnnFilterPass& pass, int64_t query, int64_t row, float product) {
  if (row >= pass.nb) return;
  const unsigned place = atomicAdd(&pass.lists.counts[query], 1U);  // a count has no order
  if (place < static_cast<unsigned>(pass.lists.capacity))
    pass.lists.hits[query * pass.lists.capacity + place] = {product, static_cast<uint32_t>(row)};
}

/// Appends those that pass of four sums that lie together in a product's fragment: of the queries `query` and
/// query + 8, each with the rows `row` and row + 1. By a loop, since few pass: four copies for each of a
/// thread's 32 fours would be more code than the instruction caches hold.
__device__ inline void knn_keep_passing(const KnnFilterPass& pass, int64_t query, int64_t row,
                                        const bool (&passes)[4], const float (&products)[4]) {
  unsigned left = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) left |= passes[i] ? 1U << i : 0U;
#pragma unroll 1
  while (left != 0) {
    const int i = __ffs(static_cast<int>(left)) - 1;
    left &= left - 1;
    const float first = i % 2 == 0 ? products[0] : products[1];
    const float second = i % 2 == 0 ? products[2] : products[3];
    knn_keep(pass, query + i / 2 * 8, row + i % 2, i / 2 == 0 ? first : second);
  }
}

/// filter_tiles of sm_90 (sm90/knn_filter_sm90.cu).
void knn_filter_sm90(GpuDevice& device, const KnnFilterPass& pass);

}  // namespace panda::kernels::PANDA_TARGET
