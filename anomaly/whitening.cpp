#include "anomaly/whitening.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "anomaly/chained_sums.h"
#include "anomaly/mean_of_rows.h"
#include "anomaly/symmetric_eigen.h"
#include "kernels/tensor/error.h"

namespace panda::anomaly {

namespace {

/// Less variance than this share of the largest counts as none: f32 features are rounded to a relative 6e-8,
/// which is 4e-15 of a variance, and n - 1 of them lie in a space of d.
constexpr double kNoVariance = 1e-10;
constexpr int64_t kRowsPerItem = 16;

const char* const kStage = "whitening";

/// The centered features, f64 n,d.
Tensor centered(const ConstTensorView& features, const Tensor& mean) {
  const int64_t n = features.shape()[0];
  const int64_t d = features.shape()[1];
  Tensor result(host(), DType::kF64, {n, d}, "centered features");
  const auto* x = features.data<float>();
  for (int64_t i = 0; i < n * d; ++i) result.data<double>()[i] = double{x[i]} - mean.data<double>()[i % d];
  return result;
}

/// Z^T Z of the centered features, f64 d,d, its lower triangle: images in fours, in rising order.
Tensor scatter(const ConstTensorView& features, const Tensor& mean, ThreadPool& threads, Progress* progress) {
  constexpr int64_t kImages = 4;
  const int64_t n = features.shape()[0];
  const int64_t d = features.shape()[1];
  Tensor result(host(), DType::kF64, {d, d}, "scatter");
  std::fill_n(result.data<double>(), d * d, 0.0);
  const auto* x = features.data<float>();
  const auto* m = mean.data<double>();
  constexpr int64_t kPart = 1024;  // images between two reports
  for (int64_t part = 0; part < n; part += kPart) {
    const int64_t end = std::min(n, part + kPart);
    threads.parallel_for((d + kRowsPerItem - 1) / kRowsPerItem, [&](int64_t item, int) {
      const int64_t first = item * kRowsPerItem;
      const int64_t last = std::min(d, first + kRowsPerItem);
      std::vector<double> z(static_cast<size_t>(kImages * last));
      for (int64_t image = part; image < end; image += kImages) {
        for (int64_t k = 0; k < kImages; ++k) {
          double* const row = z.data() + k * last;
          for (int64_t j = 0; j < last; ++j)
            row[j] = image + k < end ? double{x[(image + k) * d + j]} - m[j] : 0;
        }
        const double* const z0 = z.data();
        const double* const z1 = z0 + last;
        const double* const z2 = z1 + last;
        const double* const z3 = z2 + last;
        for (int64_t i = first; i < last; ++i) {
          double* const row = result.data<double>() + i * d;
          for (int64_t j = 0; j <= i; ++j)
            row[j] += (z0[i] * z0[j] + z1[i] * z1[j]) + (z2[i] * z2[j] + z3[i] * z3[j]);
        }
      }
    });
    report_progress(progress, kStage, end, n);
  }
  return result;
}

/// Z Z^T, f64 n,n, its lower triangle.
Tensor gram(const Tensor& z, ThreadPool& threads) {
  const int64_t n = z.shape()[0];
  const int64_t d = z.shape()[1];
  Tensor result(host(), DType::kF64, {n, n}, "gram");
  threads.parallel_for(n, [&](int64_t a, int) {
    for (int64_t b = 0; b <= a; ++b) {
      result.data<double>()[a * n + b] = chained_dot(z.data<double>() + a * d, z.data<double>() + b * d, d);
    }
  });
  return result;
}

struct Directions {
  std::vector<double> variances;  ///< of S, falling, those that count
  Tensor vectors;                 ///< f64 at least so many, d
  double trace = 0;               ///< of S
  double squares = 0;             ///< |S|_F^2
};

void keep_those_that_count(Directions& directions) {
  size_t count = 0;
  while (count < directions.variances.size() &&
         directions.variances[count] > kNoVariance * directions.variances[0])
    ++count;
  directions.variances.resize(count);
}

Directions directions_of(SymmetricEigen eigen, double divisor) {
  Directions directions;
  for (const double value : eigen.values) {
    const double variance = value / divisor;
    directions.variances.push_back(variance);
    directions.trace += variance;
    directions.squares += variance * variance;
  }
  keep_those_that_count(directions);
  directions.vectors = std::move(eigen.vectors);
  return directions;
}

/// The eigenvectors of Z^T Z from those of Z Z^T: v_j = Z^T u_j, normalised. Where variances differ by many
/// orders, v_j has rounding errors in the directions of larger ones, which are taken out again.
Tensor vectors_of_gram(const Tensor& z, const Tensor& u, int64_t count, ThreadPool& threads) {
  const int64_t n = z.shape()[0];
  const int64_t d = z.shape()[1];
  Tensor vectors(host(), DType::kF64, {count, d}, "directions");
  threads.parallel_for(count, [&](int64_t j, int) {
    double* const v = vectors.data<double>() + j * d;
    std::fill_n(v, d, 0.0);
    for (int64_t i = 0; i < n; ++i) {
      const double factor = u.data<double>()[j * n + i];
      const double* const row = z.data<double>() + i * d;
      for (int64_t t = 0; t < d; ++t) v[t] += factor * row[t];
    }
  });
  for (int64_t j = 0; j < count; ++j) {
    double* const v = vectors.data<double>() + j * d;
    for (int64_t i = 0; i < j; ++i) {
      const double* const before = vectors.data<double>() + i * d;
      const double along = chained_dot(v, before, d);
      for (int64_t t = 0; t < d; ++t) v[t] -= along * before[t];
    }
    const double length = std::sqrt(chained_dot(v, v, d));
    for (int64_t t = 0; t < d; ++t) v[t] /= length;
  }
  return vectors;
}

Directions find_directions(const ConstTensorView& features, const Tensor& mean, ThreadPool& threads,
                           Progress* progress) {
  const int64_t n = features.shape()[0];
  const int64_t d = features.shape()[1];
  const auto divisor = static_cast<double>(n - 1);
  if (n > d) {
    return directions_of(
        symmetric_eigen(scatter(features, mean, threads, progress), threads, kStage, progress), divisor);
  }
  const Tensor z = centered(features, mean);
  Directions directions =
      directions_of(symmetric_eigen(gram(z, threads), threads, kStage, progress), divisor);
  const auto count = static_cast<int64_t>(directions.variances.size());
  directions.vectors = vectors_of_gram(z, directions.vectors, count, threads);
  return directions;
}

/// The header's a, in terms of S. fourth: sum_i |x_i - m|^4.
double ledoit_wolf(const Directions& directions, double fourth, int64_t n, int64_t d) {
  const auto count = static_cast<double>(n);
  const double to_c = (count - 1) / count;
  const double squares = directions.squares * to_c * to_c;
  const double mean = directions.trace * to_c / static_cast<double>(d);
  const double noise = (fourth / count - squares) / count / static_cast<double>(d);
  const double spread = squares / static_cast<double>(d) - mean * mean;
  return noise > 0 ? (spread > noise ? noise / spread : 1) : 0;
}

double fourth_powers(const ConstTensorView& features, const Tensor& mean) {
  const int64_t d = features.shape()[1];
  const auto* x = features.data<float>();
  double sum = 0;
  for (int64_t i = 0; i < features.shape()[0]; ++i, x += d) {
    double square = 0;
    for (int64_t j = 0; j < d; ++j) {
      const double z = double{x[j]} - mean.data<double>()[j];
      square += z * z;
    }
    sum += square * square;
  }
  return sum;
}

}  // namespace

void check_whitening(const WhiteningOptions& options) {
  PANDA_CHECK(options.components >= 0, "whitening: components=", options.components,
              ", expected components >= 0");
  const double shrinkage = options.shrinkage.value_or(0);
  PANDA_CHECK(shrinkage >= 0 && shrinkage <= 1, "whitening: shrinkage=", shrinkage, ", expected 0 to 1");
}

Whitening Whitening::fit(const ConstTensorView& features, const WhiteningOptions& options,
                         ThreadPool& threads, Progress* progress) {
  check_whitening(options);
  const int64_t n = features.shape()[0];
  const int64_t d = features.shape()[1];
  PANDA_CHECK(n >= 2, "whitening: ", n, " training image", n == 1 ? " has" : "s have",
              " no variance, expected at least 2");
  PANDA_CHECK(options.components <= std::min(n - 1, d), "whitening: components=", options.components,
              ", but ", n, " training images with ", d, " features vary in at most ", std::min(n - 1, d),
              " directions");
  const Tensor mean = mean_of_rows(features);
  const Directions directions = find_directions(features, mean, threads, progress);
  PANDA_CHECK(!directions.variances.empty(), "whitening: all ", n, " training images have the same features");
  const double shrinkage =
      options.shrinkage ? *options.shrinkage : ledoit_wolf(directions, fourth_powers(features, mean), n, d);
  const double towards = shrinkage * directions.trace / static_cast<double>(d);
  auto count = static_cast<int64_t>(directions.variances.size());
  if (options.components > 0) count = std::min(count, options.components);
  Tensor packed(host(), DType::kF64, {count + 1, d + 2}, "whitening");
  auto* row = packed.data<double>();
  std::copy_n(mean.data<double>(), d, row);
  row[d] = options.components > 0 ? 0 : towards;
  row[d + 1] = shrinkage;
  for (int64_t j = 0; j < count; ++j) {
    row += d + 2;
    const double variance = directions.variances[static_cast<size_t>(j)];
    std::copy_n(directions.vectors.data<double>() + j * d, d, row);
    row[d] = (1 - shrinkage) * variance + towards;
    row[d + 1] = variance;
  }
  return Whitening(std::move(packed));
}

Whitening::Whitening(Tensor packed) : packed_(std::move(packed)) {
  const Shape& shape = packed_.shape();
  PANDA_CHECK(shape.rank() == 2 && packed_.dtype() == DType::kF64 && shape[0] >= 2 && shape[1] >= 3,
              "whitening: ", packed_.view().to_string(), ", expected f64 directions + 1, features + 2");
  PANDA_CHECK(directions() <= feature_width(), "whitening: ", directions(), " directions of ",
              feature_width(), " features");
  PANDA_CHECK(shrinkage() >= 0 && shrinkage() <= 1, "whitening: shrinkage=", shrinkage(),
              ", expected 0 to 1");
  PANDA_CHECK(rest_variance() >= 0, "whitening: a variance of ", rest_variance(), ", expected 0 or more");
  for (int64_t j = 0; j < directions(); ++j) {
    PANDA_CHECK(direction(j)[feature_width()] > 0, "whitening: direction ", j, " has the variance ",
                direction(j)[feature_width()], ", expected above 0");
  }
}

template <typename Variance>
std::vector<double> Whitening::squared_lengths(const ConstTensorView& features, Variance variance,
                                               double rest, ThreadPool& threads) const {
  const int64_t n = features.shape()[0];
  const int64_t d = feature_width();
  const int64_t count = directions();
  const auto* m = packed_.data<double>();
  // What lies outside all d directions is rounding.
  const bool with_rest = rest > 0 && count < d;
  std::vector<double> lengths(static_cast<size_t>(n));
  threads.parallel_for((n + kRowsPerItem - 1) / kRowsPerItem, [&](int64_t item, int) {
    const int64_t first = item * kRowsPerItem;
    const int64_t rows = std::min(n - first, kRowsPerItem);
    std::vector<double> z(static_cast<size_t>(rows * d));
    std::vector<double> along(static_cast<size_t>(rows));  // sums of squares along the directions
    const auto* x = features.data<float>() + first * d;
    for (int64_t i = 0; i < rows * d; ++i) z[static_cast<size_t>(i)] = double{x[i]} - m[i % d];
    for (int64_t j = 0; j < count; ++j) {
      const double* const v = direction(j);
      const double b = variance(j);
      for (int64_t i = 0; i < rows; ++i) {
        const double t = chained_dot(z.data() + i * d, v, d);
        lengths[static_cast<size_t>(first + i)] += t * t / b;
        along[static_cast<size_t>(i)] += t * t;
      }
    }
    for (int64_t i = 0; with_rest && i < rows; ++i) {
      const double* const row = z.data() + i * d;
      const double outside = chained_dot(row, row, d) - along[static_cast<size_t>(i)];
      lengths[static_cast<size_t>(first + i)] += std::max(0.0, outside) / rest;
    }
  });
  return lengths;
}

std::vector<double> Whitening::scores(const ConstTensorView& features, ThreadPool& threads) const {
  return squared_lengths(
      features, [&](int64_t j) { return direction(j)[feature_width()]; }, rest_variance(), threads);
}

bool Whitening::can_downdate(int64_t n) const {
  if (n < 3) return false;
  return rest_variance() > 0 || (directions() == feature_width() && n >= feature_width() + 2);
}

std::vector<double> Whitening::leave_one_out_scores(const ConstTensorView& features,
                                                    ThreadPool& threads) const {
  const auto n = static_cast<double>(features.shape()[0]);
  PANDA_CHECK(can_downdate(features.shape()[0]), "whitening: leaving one of ", features.shape()[0],
              " images out of ", directions(), " directions of ", feature_width(), " features");
  const double kept = (1 - shrinkage()) * (n - 1) / (n - 2);
  const double c = (1 - shrinkage()) * n / ((n - 1) * (n - 2));
  const double factor = n / (n - 1) * (n / (n - 1));
  std::vector<double> scores = squared_lengths(
      features,
      [&](int64_t j) {
        const double* const v = direction(j) + feature_width();
        return kept * v[1] + (v[0] - (1 - shrinkage()) * v[1]);
      },
      rest_variance(), threads);
  // An image that alone spans a direction leaves none of its variance behind: as far as f64 can say.
  for (double& q : scores) q = factor * q / std::max(1 - c * q, std::numeric_limits<double>::epsilon());
  return scores;
}

}  // namespace panda::anomaly
