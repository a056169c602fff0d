// What the ways of a search are expected to cost, in cycles as measured on Sapphire Rapids: it decides which
// one is taken, and never what is found.
#pragma once

#include "kernels/cpu/cpu_device.h"

namespace panda::kernels::cpu {

/// What products of codes take: cycles per component of a pair, and per pair for its threshold.
struct KnnProductCycles {
  double eight_bits;
  double sixteen_bits;
  double pair;
};
/// Of searches of so many queries.
[[nodiscard]] const KnnProductCycles& knn_product_cycles(const CpuDevice& device, int64_t queries);
/// Whether so many queries of these codes go through AMX tiles, if the device has them.
[[nodiscard]] bool knn_tiles_pay(KnnCode code, int64_t queries);

/// Of a pair that a filter cannot discard, of vectors of this width.
[[nodiscard]] double knn_cycles_per_hit(double width);
/// Such pairs per query, if bounds are sharp.
[[nodiscard]] double knn_expected_hits(double wanted, double rows);

/// Cycles per query of the three ways (8-bit codes). A filter cannot discard much of a gallery of which much
/// is wanted: every row counts until k are seen.
struct KnnCycles {
  double filter;
  double table;
  double exact;
};
[[nodiscard]] KnnCycles knn_expected_cycles(const KnnProductCycles& cycles, int64_t k, int64_t nb, int64_t d);

}  // namespace panda::kernels::cpu
