#include "anomaly/threshold.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "kernels/tensor/error.h"

namespace panda::anomaly {

namespace {

/// floor((n + 1) rate): how many of n + 1 exchangeable normals may lie above the threshold.
int64_t allowed_exceedances(int64_t normal_count, double rate) {
  const double expected = static_cast<double>(normal_count + 1) * rate;
  return std::min(normal_count, static_cast<int64_t>(std::floor(expected * (1 + 1e-12))));
}

/// The smallest n with (n + 1) rate >= 1, as text: it may be larger than any integer type.
std::string needed_images(double rate) {
  char buffer[512];
  std::snprintf(buffer, sizeof buffer, "%.0f", std::ceil(1 / rate * (1 - 1e-12)) - 1);
  return buffer;
}

}  // namespace

double smallest_false_alarm_rate(int64_t normal_count) {
  PANDA_CHECK(normal_count >= 1, "threshold: ", normal_count, " normal scores, expected at least 1");
  return 1.0 / static_cast<double>(normal_count + 1);
}

int64_t default_held_out(int64_t training_images) {
  return std::min(training_images / 4, std::clamp<int64_t>(training_images / 10, 19, 100));
}

Threshold conformal_threshold(std::span<const double> normal_scores, double false_alarm_rate) {
  const auto n = static_cast<int64_t>(normal_scores.size());
  PANDA_CHECK(false_alarm_rate > 0 && false_alarm_rate < 1, "threshold: a false-alarm rate of ",
              false_alarm_rate, ", expected one between 0 and 1 (exclusive)");
  const double smallest = smallest_false_alarm_rate(n);
  for (int64_t i = 0; i < n; ++i) {
    PANDA_CHECK(!std::isnan(normal_scores[static_cast<size_t>(i)]), "threshold: score ", i,
                " is not a number");
  }
  const int64_t exceedances = allowed_exceedances(n, false_alarm_rate);
  PANDA_CHECK(exceedances >= 1, "threshold: ", n, " normal images cannot promise ",
              percent_text(false_alarm_rate), " false alarms: the smallest rate they allow is ",
              percent_text(smallest), ", and that rate needs ", needed_images(false_alarm_rate), " images");
  // r = n + 1 - floor((n + 1) rate), between 1 and n here.
  const int64_t rank = n + 1 - exceedances;
  std::vector<double> scores(normal_scores.begin(), normal_scores.end());
  const auto position = scores.begin() + (rank - 1);
  std::nth_element(scores.begin(), position, scores.end());
  return {*position, false_alarm_rate, n};
}

std::string percent_text(double rate) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.3g %%", 100 * rate);
  return buffer;
}

std::string threshold_meaning(const Threshold& threshold, const std::string& source) {
  char value[32];
  std::snprintf(value, sizeof value, "%.6g", threshold.value);
  return text("at most ", percent_text(threshold.false_alarm_rate), " of normal images are expected above ",
              value, " (from ", threshold.normal_count, " normal images", source.empty() ? "" : " ", source,
              ")");
}

}  // namespace panda::anomaly
