#include "kernels/cpu/knn_nearest_scores.h"

namespace panda::kernels::cpu {

const NearestWay& nearest_way(const CpuDevice& device) {
  for (const NearestWay* way : {&kNearestTiles, &kNearestCodes}) {
    if (way->exists(device)) return *way;
  }
  return kNearestVectors;
}

}  // namespace panda::kernels::cpu
