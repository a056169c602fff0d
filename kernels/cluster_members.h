// Which points belong to which cluster, as sums over clusters want it (kernels/kmeans.h).
#pragma once

#include <cstdint>
#include <vector>

namespace panda::kernels {

/// A counting sort of points by their labels: members and offsets as in kmeans_accumulate.
struct ClusterMembers {
  std::vector<int64_t> members;
  std::vector<int64_t> offsets;

  /// Points 0 .. count - 1.
  ClusterMembers(const int64_t* labels, int64_t count, int64_t k);
  /// The points of a list, labels[m] the m-th's.
  ClusterMembers(const std::vector<int64_t>& points, const std::vector<int64_t>& labels, int64_t k);
};

}  // namespace panda::kernels
