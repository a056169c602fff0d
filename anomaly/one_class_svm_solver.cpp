#include "anomaly/one_class_svm_solver.h"

#include <algorithm>
#include <cmath>

#include "anomaly/chained_sums.h"
#include "kernels/tensor/error.h"

namespace panda::anomaly {

namespace {

constexpr int64_t kImagesPerItem = 64;
constexpr int64_t kStepsPerReport = 256;
/// What stands for a curvature of zero (two equal images), as in LIBSVM.
constexpr double kSmallestCurvature = 1e-12;

class Solver {
 public:
  Solver(RbfRows& kernel, std::span<const uint8_t> takes_part, Progress* progress)
      : kernel_(kernel), takes_part_(takes_part), n_(kernel.size()), progress_(progress) {
    solution_.weights.assign(static_cast<size_t>(n_), 0);
    solution_.gradient.assign(static_cast<size_t>(n_), 0);
  }

  SvmSolution solve(double nu, double tolerance) {
    start(nu);
    const int64_t limit = 1000 * n_ + 10'000'000;
    for (;; ++solution_.steps) {
      const bool going = step(tolerance);
      if (!going || solution_.steps % kStepsPerReport == 0) report(tolerance);
      if (!going) break;
      PANDA_INTERNAL_ASSERT(solution_.steps < limit, solution_.violation, " after ", limit, " steps");
    }
    solution_.rho = threshold();
    return std::move(solution_);
  }

 private:
  [[nodiscard]] bool in(int64_t i) const {
    return takes_part_.empty() || takes_part_[static_cast<size_t>(i)] != 0;
  }
  [[nodiscard]] double& a(int64_t i) { return solution_.weights[static_cast<size_t>(i)]; }
  [[nodiscard]] double& g(int64_t i) { return solution_.gradient[static_cast<size_t>(i)]; }

  /// The first images have the weight 1 until nu n is used up.
  void start(double nu) {
    int64_t count = 0;
    for (int64_t i = 0; i < n_; ++i) count += in(i) ? 1 : 0;
    double left = nu * static_cast<double>(count);
    for (int64_t i = 0; i < n_ && left > 0; ++i) {
      if (!in(i)) continue;
      a(i) = std::min(1.0, left);
      left -= a(i);
      const double* const row = kernel_.row(i);
      for (int64_t t = 0; t < n_; ++t) g(t) += a(i) * row[t];
      if (i % kStepsPerReport == 0) report_progress(progress_, kStage, 0, kWhole);
    }
  }

  /// False where nothing is left to do.
  bool step(double tolerance) {
    int64_t i = -1;
    double highest = -INFINITY;
    for (int64_t t = 0; t < n_; ++t) {
      if (!in(t)) continue;
      if (a(t) < 1 && (i < 0 || g(t) < g(i))) i = t;
      if (a(t) > 0) highest = std::max(highest, g(t));
    }
    solution_.violation = i < 0 ? 0 : std::max(0.0, highest - g(i));
    if (solution_.violation < tolerance) return false;
    const double* const row_i = kernel_.row(i);
    int64_t j = -1;
    double best = 0;
    for (int64_t t = 0; t < n_; ++t) {
      if (!in(t) || !(a(t) > 0)) continue;
      const double difference = g(t) - g(i);
      if (!(difference > 0)) continue;
      const double decrease = difference * difference / curvature(row_i[t]);
      if (decrease > best) {
        best = decrease;
        j = t;
      }
    }
    PANDA_INTERNAL_ASSERT(j >= 0, solution_.violation);
    const double* const row_j = kernel_.row(j);
    move(i, j, std::min((g(j) - g(i)) / curvature(row_i[j]), std::min(1 - a(i), a(j))), row_i, row_j);
    return true;
  }

  [[nodiscard]] static double curvature(double k) { return std::max(2 - 2 * k, kSmallestCurvature); }

  void move(int64_t i, int64_t j, double amount, const double* row_i, const double* row_j) {
    const bool fills = amount == 1 - a(i);
    const bool empties = amount == a(j);
    a(i) = fills ? 1 : a(i) + amount;
    a(j) = empties ? 0 : a(j) - amount;
    for (int64_t t = 0; t < n_; ++t) g(t) += amount * (row_i[t] - row_j[t]);
  }

  /// The mean of G between the bounds; the middle of what the bounds allow where no image is between.
  double threshold() {
    double sum = 0;
    int64_t between = 0;
    double lowest_allowed = -INFINITY;
    double highest_allowed = INFINITY;
    for (int64_t t = 0; t < n_; ++t) {
      if (!in(t)) continue;
      if (a(t) >= 1) {
        lowest_allowed = std::max(lowest_allowed, g(t));
      } else if (a(t) <= 0) {
        highest_allowed = std::min(highest_allowed, g(t));
      } else {
        sum += g(t);
        ++between;
      }
    }
    if (between > 0) return sum / static_cast<double>(between);
    if (std::isinf(highest_allowed)) return lowest_allowed;  // nu = 1: all have the weight 1
    return (lowest_allowed + highest_allowed) / 2;
  }

  /// The violation falls about exponentially: its logarithm is the share of the way.
  void report(double tolerance) {
    if (first_violation_ <= 0) first_violation_ = solution_.violation;
    if (solution_.violation < tolerance) {
      done_ = kWhole;
    } else if (first_violation_ > tolerance) {
      const double way =
          std::log(first_violation_ / solution_.violation) / std::log(first_violation_ / tolerance);
      done_ = std::max(done_, static_cast<int64_t>(std::clamp(way, 0.0, 0.999) * kWhole));
    }
    report_progress(progress_, kStage, done_, kWhole);
  }

  static constexpr const char* kStage = "solving";
  static constexpr int64_t kWhole = 1000;
  RbfRows& kernel_;
  std::span<const uint8_t> takes_part_;
  int64_t n_;
  Progress* progress_;
  double first_violation_ = 0;
  int64_t done_ = 0;
  SvmSolution solution_;
};

}  // namespace

RowCache::RowCache(int64_t row_count, int64_t row_length, int64_t bytes)
    : row_length_(row_length),
      slot_limit_(std::min(std::max<int64_t>(row_count, 2),
                           std::max<int64_t>(2, bytes / std::max<int64_t>(1, row_length * 8)))) {}

const double* RowCache::find(int64_t index) {
  const auto found = slot_of_.find(index);
  if (found == slot_of_.end()) return nullptr;
  slots_[found->second].used = ++clock_;
  return rows_[found->second].data();
}

double* RowCache::put(int64_t index) {
  size_t slot = slots_.size();
  if (static_cast<int64_t>(slot) < slot_limit_) {
    slots_.emplace_back();
    rows_.emplace_back(static_cast<size_t>(row_length_));
  } else {
    slot =
        static_cast<size_t>(std::min_element(slots_.begin(), slots_.end(),
                                             [](const Slot& x, const Slot& y) { return x.used < y.used; }) -
                            slots_.begin());
    slot_of_.erase(slots_[slot].index);
  }
  slots_[slot] = {index, ++clock_};
  slot_of_[index] = slot;
  return rows_[slot].data();
}

SquaredDistances::SquaredDistances(const ConstTensorView& features, ThreadPool& threads, int64_t bytes)
    : n_(features.shape()[0]),
      d_(features.shape()[1]),
      threads_(threads),
      x_(features.data<float>(), features.data<float>() + n_ * d_),
      squares_(static_cast<size_t>(n_)),
      cache_(n_, n_, bytes),
      keeps_(bytes > 0) {
  for (int64_t i = 0; i < n_; ++i)
    squares_[static_cast<size_t>(i)] = chained_dot(x_.data() + i * d_, x_.data() + i * d_, d_);
}

void SquaredDistances::copy_row(int64_t index, double* row) {
  if (const double* const kept = cache_.find(index)) {
    std::copy_n(kept, n_, row);
    return;
  }
  const double* const from = x_.data() + index * d_;
  threads_.parallel_for((n_ + kImagesPerItem - 1) / kImagesPerItem, [&](int64_t item, int) {
    const int64_t begin = item * kImagesPerItem;
    for (int64_t t = begin; t < std::min(n_, begin + kImagesPerItem); ++t) {
      const double product = chained_dot(from, x_.data() + t * d_, d_);
      row[t] = std::max(
          0.0, squares_[static_cast<size_t>(index)] + squares_[static_cast<size_t>(t)] - 2 * product);
    }
  });
  row[index] = 0;
  if (keeps_) std::copy_n(row, n_, cache_.put(index));
}

void SquaredDistances::measure(const double* features, double* row) const {
  const double square = chained_dot(features, features, d_);
  for (int64_t t = 0; t < n_; ++t) {
    const double product = chained_dot(features, x_.data() + t * d_, d_);
    row[t] = std::max(0.0, square + squares_[static_cast<size_t>(t)] - 2 * product);
  }
}

RbfRows::RbfRows(SquaredDistances& distances, double gamma, int64_t bytes)
    : distances_(distances), gamma_(gamma), cache_(distances.size(), distances.size(), bytes) {
  PANDA_CHECK(gamma > 0 && std::isfinite(gamma), "oc-svm: gamma=", gamma, ", expected gamma > 0");
}

const double* RbfRows::row(int64_t index) {
  if (const double* const kept = cache_.find(index)) return kept;
  double* const row = cache_.put(index);
  distances_.copy_row(index, row);
  const int64_t n = size();
  distances_.threads().parallel_for((n + kImagesPerItem - 1) / kImagesPerItem, [&](int64_t item, int) {
    const int64_t begin = item * kImagesPerItem;
    for (int64_t t = begin; t < std::min(n, begin + kImagesPerItem); ++t) row[t] = std::exp(-gamma_ * row[t]);
  });
  return row;
}

SvmSolution solve_one_class_svm(RbfRows& kernel, double nu, double tolerance,
                                std::span<const uint8_t> takes_part, Progress* progress) {
  PANDA_CHECK(nu > 0 && nu <= 1, "oc-svm: nu=", nu, ", expected above 0 and at most 1");
  PANDA_CHECK(tolerance > 0, "oc-svm: tolerance=", tolerance, ", expected above 0");
  PANDA_CHECK(takes_part.empty() || static_cast<int64_t>(takes_part.size()) == kernel.size(),
              "oc-svm: ", takes_part.size(), " marks for ", kernel.size(), " images");
  return Solver(kernel, takes_part, progress).solve(nu, tolerance);
}

}  // namespace panda::anomaly
