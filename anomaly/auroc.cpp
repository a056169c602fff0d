#include "anomaly/auroc.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "kernels/tensor/checked_math.h"
#include "kernels/tensor/error.h"

namespace panda::anomaly {

PairCounts count_pairs(std::span<const double> scores, std::span<const uint8_t> labels) {
  PANDA_CHECK(scores.size() == labels.size(), "auroc: ", scores.size(), " scores but ", labels.size(),
              " labels");
  PairCounts counts;
  std::vector<std::pair<double, uint8_t>> ranked(scores.size());
  for (size_t i = 0; i < scores.size(); ++i) {
    PANDA_CHECK(!std::isnan(scores[i]), "auroc: score ", i, " is not a number");
    PANDA_CHECK(labels[i] <= 1, "auroc: label ", i, " is ", int{labels[i]},
                ", expected 0 (normal) or 1 (anomalous)");
    ranked[i] = {scores[i], labels[i]};
    (labels[i] == 1 ? counts.anomalous : counts.normal) += 1;
  }
  // Bounds every sum below.
  static_cast<void>(checked_mul(2, checked_mul(counts.anomalous, counts.normal)));

  std::sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  int64_t normal_below = 0;
  for (size_t begin = 0; begin < ranked.size();) {
    size_t end = begin;
    int64_t tied_normal = 0;
    int64_t tied_anomalous = 0;
    for (; end < ranked.size() && ranked[end].first == ranked[begin].first; ++end) {
      (ranked[end].second == 1 ? tied_anomalous : tied_normal) += 1;
    }
    counts.twice_wins += tied_anomalous * (2 * normal_below + tied_normal);
    normal_below += tied_normal;
    begin = end;
  }
  return counts;
}

std::optional<double> auroc(std::span<const double> scores, std::span<const uint8_t> labels) {
  const PairCounts counts = count_pairs(scores, labels);
  const int64_t pairs = counts.anomalous * counts.normal;
  if (pairs == 0) return std::nullopt;
  return static_cast<double>(counts.twice_wins) / (2.0 * static_cast<double>(pairs));
}

}  // namespace panda::anomaly
