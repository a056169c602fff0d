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
  /// Multiplies the filter's error bound. Anything below 1 is for the test that shows what the bound is for.
  double bound_factor = 1;
};

/// Fills distances and indices; statistics of the search.
KnnStatistics knn_certified_search(CpuDevice& device, const KnnSearchPlan& plan);

}  // namespace panda::kernels::cpu
