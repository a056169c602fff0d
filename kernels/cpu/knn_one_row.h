// The search of a gallery of one row, without a filter: D of every query to it, and nothing to select. What
// k-means++ asks, a center at a time.
#pragma once

#include "kernels/cpu/knn_search.h"

namespace panda::kernels::cpu {

/// Whether the search is one of those: kL2 of f32.
[[nodiscard]] bool knn_one_row_serves(const KnnSearchPlan& plan);

/// Fills distances and indices. A query that is not finite is an InvalidArgument naming the first one.
KnnStatistics knn_one_row_search(CpuDevice& device, const KnnSearchPlan& plan);

}  // namespace panda::kernels::cpu
