// The certified search of the cpu device: filter, candidates, measurement.
#pragma once

#include "kernels/cpu/knn_index.h"

namespace panda::kernels::cpu {

struct KnnSearchPlan {
  const CpuKnnIndex* index = nullptr;
  const char* kernel = "";  ///< for messages
  KnnRows queries;
  int64_t k = 1;
  TensorView distances;
  TensorView indices;
  int64_t workspace_bytes = 0;
  /// The filter itself is asked for (no table), by blocks of queries alone, so that statistics do not depend
  /// on the threads.
  bool filter_trial = false;
  /// Multiplies the filter's error bound. Anything below 1 is for the test that shows what the bound is for.
  double bound_factor = 1;
};

/// Fills distances and indices; statistics of the search.
KnnStatistics knn_certified_search(CpuDevice& device, const KnnSearchPlan& plan);

/// The general search of some queries, f32, into their places.
KnnStatistics knn_search_some(CpuDevice& device, const KnnSearchPlan& plan,
                              const std::vector<int64_t>& queries);

/// Of an index with 8-bit codes: whether they discard so much of the gallery that searches are faster than
/// with 16-bit ones. They do not where many vectors are alike beside their distance from the mean, as pixels
/// of a flat background are. Tries it: a few rows of the gallery are searched.
[[nodiscard]] bool knn_eight_bits_pay(CpuDevice& device, const CpuKnnIndex& index);

}  // namespace panda::kernels::cpu
