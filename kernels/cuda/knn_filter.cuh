// The certified search (knn_filter.cu).
#pragma once

#include "kernels/cuda/knn_index.cuh"

namespace panda::kernels::PANDA_TARGET {

/// Neighbours up to which the filter keeps lists short enough for shared memory.
inline constexpr int64_t kKnnFilterMostNeighbours = 64;

/// The search of an index whose filter is kF16, k <= kKnnFilterMostNeighbours. Gives the result of
/// knn_exact_search, which it falls back on: per query where too much is kept, as a whole if the workspace is
/// too small for a tile of queries. `bound_factor` as in knn_encode_queries.
KnnStatistics knn_filtered_search(GpuDevice& device, const GpuKnnIndex& index, const KnnProblem& problem,
                                  double bound_factor = 1);

}  // namespace panda::kernels::PANDA_TARGET
