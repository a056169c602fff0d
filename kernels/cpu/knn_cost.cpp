#include "kernels/cpu/knn_cost.h"

#include <cmath>

namespace panda::kernels::cpu {

namespace {

/// Queries from which on tiles of 8-bit codes are full enough. 16-bit ones lie as only tiles want them.
constexpr int64_t kFewestTiledQueries = 8;

constexpr KnnProductCycles kVectorCycles = {1.0 / 128, 1.0 / 64, 1};
constexpr KnnProductCycles kTileCycles = {1.0 / 450, 1.0 / 130, 0.35};

}  // namespace

const KnnProductCycles& knn_product_cycles(const CpuDevice& device, int64_t queries) {
  return device.knn_tiles() != nullptr && queries >= kFewestTiledQueries ? kTileCycles : kVectorCycles;
}

bool knn_tiles_pay(KnnCode code, int64_t queries) {
  return code == KnnCode::kI8Pair || (code == KnnCode::kI8 && queries >= kFewestTiledQueries);
}

double knn_cycles_per_hit(double width) {
  return 150 + 0.08 * width;
}

double knn_expected_hits(double wanted, double rows) {
  return 1.5 * wanted * (1 + std::log(rows / wanted));
}

KnnCycles knn_expected_cycles(const KnnProductCycles& cycles, int64_t k, int64_t nb, int64_t d) {
  const auto rows = static_cast<double>(nb);
  const auto width = static_cast<double>(d);
  const auto wanted = static_cast<double>(k);
  const double products = rows * (width * cycles.eight_bits + cycles.pair);
  const double measured = wanted * 0.25 * width;
  const double hits = knn_expected_hits(wanted, rows);
  return {products + hits * knn_cycles_per_hit(width) + measured,
          products + rows * 6 + 1.5 * wanted * (100 + 0.08 * width) + measured,
          rows * (0.2 * width + 6) + hits * 30};
}

}  // namespace panda::kernels::cpu
