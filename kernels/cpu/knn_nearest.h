// The nearest of few gallery rows, for many queries: what K-means asks. All scores are taken in low
// precision, the best two kept in registers (knn_nearest_scores.h; of 8-bit codes, which rows can be the
// nearest, and those are measured); a query whose best two are nearer to each other than rounding allows goes
// through the general search.
//
// If the second is more than both errors and 2^-40 (|x| + C)^2 above the best,
// then D of the best is the smallest, D's own rounding included, and strictly so: no tie is decided here.
// |x - m|^2 and a score are a distance: with their errors they also bound how far the nearest row is at most,
// and every other one at least.
#pragma once

#include <memory>
#include <vector>

#include "kernels/cpu/cpu_device.h"
#include "kernels/knn.h"

namespace panda::kernels::cpu {

class CpuKnnIndex;
struct KnnSearchPlan;

/// Whether the search is one of those (kL2 of f32 with a filter of the device's choice, rows few enough that
/// what is made of them fits the workspace), and faster so than in `cycles` per query.
[[nodiscard]] bool knn_nearest_pays(CpuDevice& device, const KnnSearchPlan& plan, double cycles);

/// Writes what it is sure of; returns the queries that it is not sure of, in rising order. A query that is
/// not finite is an InvalidArgument naming the first one.
[[nodiscard]] std::vector<int64_t> knn_nearest_search(CpuDevice& device, const KnnSearchPlan& plan);

/// CpuKnnIndex::nearest_search.
[[nodiscard]] std::unique_ptr<const KnnNearestSearch> make_nearest_search(CpuDevice& device,
                                                                          const CpuKnnIndex& index,
                                                                          int64_t queries);

}  // namespace panda::kernels::cpu
