// The nearest of few gallery rows, for many queries: what K-means asks. All scores are taken in f32, the best
// two kept in registers; a query whose best two are nearer to each other than rounding allows goes through
// the general search.
//
//   score_j = |c_j|^2 - 2 <x, c_j>, which orders rows as D does
//   |score - exact| <= E = 2 gamma |x| C + 2^-22 (C^2 + 2 |x| C),  gamma = 1.01 d 2^-24,  C = the largest
//   |c_j|
//
// gamma: a chain of d multiply-adds, or of d products and additions with twice that (the code takes 2 d);
// 2^-22: rounding |c_j|^2 and the score. So if the second is more than 2 E + 2^-40 (|x| + C)^2 above the
// best, D of the best is the smallest, its own rounding included, and strictly so: no tie is decided here.
#pragma once

#include <vector>

#include "kernels/cpu/cpu_device.h"

namespace panda::kernels::cpu {

struct KnnSearchPlan;

/// Whether the search is one of those (kL2 of f32 with a filter of the device's choice, rows few enough that
/// panels of them fit the workspace), and faster so than in `cycles` per query.
[[nodiscard]] bool knn_nearest_pays(const CpuDevice& device, const KnnSearchPlan& plan, double cycles);

/// Writes what it is sure of; returns the queries that it is not sure of, in rising order. A query that is
/// not finite is an InvalidArgument naming the first one.
[[nodiscard]] std::vector<int64_t> knn_nearest_search(CpuDevice& device, const KnnSearchPlan& plan);

}  // namespace panda::kernels::cpu
