// ROCAUC: how well scores separate anomalous from normal.
//
// AUROC = P(score of a random anomaly > score of a random normal), a tie counting half (Mann-Whitney U).
// Pairs are counted in integers, so the value does not depend on the order of the input and is exact up to
// one rounding at the end.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace panda::anomaly {

/// Pairs (anomaly, normal), in integers.
struct PairCounts {
  int64_t anomalous = 0;
  int64_t normal = 0;
  int64_t twice_wins = 0;  ///< 2 * pairs where the anomaly scores higher + pairs that tie
};

/// scores: n, higher is more anomalous; infinities are ordered like numbers · labels: n, 1 anomalous, 0
/// normal. Throws InvalidArgument for different lengths, a NaN score or another label (naming the index), and
/// where the pairs overflow 62 bits (two classes of about 1.5e9). O(n log n) time.
[[nodiscard]] PairCounts count_pairs(std::span<const double> scores, std::span<const uint8_t> labels);

/// twice_wins / (2 * anomalous * normal), in 0..1; nothing if a class is missing: the data cannot give it.
/// Errors as count_pairs. Up to 2^52 pairs the quotient is the correctly rounded one, beyond within 2 ulp.
[[nodiscard]] std::optional<double> auroc(std::span<const double> scores, std::span<const uint8_t> labels);

}  // namespace panda::anomaly
