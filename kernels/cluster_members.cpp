#include "kernels/cluster_members.h"

#include <cstddef>
#include <numeric>

namespace panda::kernels {

ClusterMembers::ClusterMembers(const int64_t* labels, int64_t count, int64_t k)
    : members(static_cast<size_t>(count)), offsets(static_cast<size_t>(k + 1), 0) {
  for (int64_t i = 0; i < count; ++i) ++offsets[static_cast<size_t>(labels[i]) + 1];
  std::partial_sum(offsets.begin(), offsets.end(), offsets.begin());
  std::vector<int64_t> next(offsets.begin(), offsets.end() - 1);
  for (int64_t i = 0; i < count; ++i)
    members[static_cast<size_t>(next[static_cast<size_t>(labels[i])]++)] = i;
}

ClusterMembers::ClusterMembers(const std::vector<int64_t>& points, const std::vector<int64_t>& labels,
                               int64_t k)
    : ClusterMembers(labels.data(), static_cast<int64_t>(labels.size()), k) {
  for (int64_t& member : members) member = points[static_cast<size_t>(member)];
}

}  // namespace panda::kernels
