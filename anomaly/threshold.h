// A threshold from normal images alone, with a stated false-alarm rate: split conformal prediction.
//
// Let s_1..s_n be scores of normal images that the detector was not fitted on, and s the score of a further
// normal image, all exchangeable. With r = ceil((n + 1)(1 - rate)) and T the r-th smallest of s_1..s_n,
//
//   P(s > T) <= 1 - r / (n + 1) <= rate,
//
// for any n and any distribution (Vovk, Gammerman, Shafer, "Algorithmic learning in a random world", 2005).
// The probability is over the draw of all n + 1 images. docs/decisions/threshold.md: why DN2's scores come
// from leaving one out, and what then holds.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace panda::anomaly {

struct Threshold {
  double value = 0;             ///< an image is anomalous if its score > value
  double false_alarm_rate = 0;  ///< the rate that is promised
  int64_t normal_count = 0;     ///< n
};

/// The smallest rate that n normal scores can promise: 1 / (n + 1).
[[nodiscard]] double smallest_false_alarm_rate(int64_t normal_count);

/// How many training images a method keeps out of its fit for the threshold, if nobody says: a tenth, but at
/// least the 19 that can promise 5 % and at most 100; never more than a quarter.
[[nodiscard]] int64_t default_held_out(int64_t training_images);

/// The threshold above. normal_scores: n >= 1, in any order, no NaN · false_alarm_rate in (0, 1).
/// Throws InvalidArgument where n is too small for the rate, naming the smallest rate that n allows and the n
/// that the rate needs. (n + 1) rate is taken up to a relative 1e-12, so that 0.05, which binary cannot
/// write, means one in twenty.
[[nodiscard]] Threshold conformal_threshold(std::span<const double> normal_scores, double false_alarm_rate);

/// "at most 5 % of normal images are expected above 3.25 (from 50 normal images that were left out in turn)";
/// `source` is what stands in the brackets after the count.
[[nodiscard]] std::string threshold_meaning(const Threshold& threshold, const std::string& source);

/// 0.05 -> "5 %", 0.0125 -> "1.25 %": up to three significant digits.
[[nodiscard]] std::string percent_text(double rate);

}  // namespace panda::anomaly
