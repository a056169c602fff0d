#include "anomaly/symmetric_eigen.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/tensor/error.h"
#include "kernels/tensor/random.h"

namespace panda::anomaly {
namespace {

Tensor random_symmetric(int64_t n, uint64_t seed) {
  Random random(seed);
  Tensor matrix(host(), DType::kF64, {n, n}, "matrix");
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j <= i; ++j)
      matrix.data<double>()[i * n + j] = matrix.data<double>()[j * n + i] = random.next_normal();
  }
  return matrix;
}

double frobenius(const Tensor& matrix) {
  double sum = 0;
  for (int64_t i = 0; i < matrix.numel(); ++i) sum += matrix.data<double>()[i] * matrix.data<double>()[i];
  return std::sqrt(sum);
}

/// Values fall, vectors are orthonormal, A v_j = values_j v_j: each to a few n eps of |A|.
void expect_decomposition(const Tensor& matrix, const SymmetricEigen& eigen) {
  const int64_t n = matrix.shape()[0];
  ASSERT_EQ(static_cast<int64_t>(eigen.values.size()), n);
  ASSERT_EQ(eigen.vectors.shape(), (Shape{n, n}));
  const double tolerance = 20.0 * static_cast<double>(n) * std::numeric_limits<double>::epsilon();
  const double norm = frobenius(matrix);
  const auto* a = matrix.data<double>();
  const auto* v = eigen.vectors.data<double>();
  for (int64_t j = 0; j < n; ++j) {
    const double value = eigen.values[static_cast<size_t>(j)];
    if (j > 0) {
      EXPECT_LE(value, eigen.values[static_cast<size_t>(j - 1)]);
    }
    double residual = 0;
    for (int64_t i = 0; i < n; ++i) {
      double product = -value * v[j * n + i];
      for (int64_t t = 0; t < n; ++t) product += a[i * n + t] * v[j * n + t];
      residual += product * product;
    }
    EXPECT_TRUE(std::sqrt(residual) <= tolerance * norm) << "n=" << n << " vector " << j;
    for (int64_t i = 0; i <= j; ++i) {
      double product = i == j ? -1 : 0;
      for (int64_t t = 0; t < n; ++t) product += v[i * n + t] * v[j * n + t];
      EXPECT_TRUE(std::abs(product) <= tolerance) << "n=" << n << " vectors " << i << " and " << j;
    }
  }
}

TEST(SymmetricEigen, DecomposesRandomMatricesOfAnySize) {
  ThreadPool threads(2);
  for (const int64_t n : {1, 2, 3, 4, 7, 31, 32, 33, 65, 130}) {
    const Tensor matrix = random_symmetric(n, static_cast<uint64_t>(n));
    EXPECT_GT(frobenius(matrix), 0);
    expect_decomposition(matrix, symmetric_eigen(matrix, threads));
  }
  EXPECT_TRUE(symmetric_eigen(random_symmetric(0, 1), threads).values.empty());
}

TEST(SymmetricEigen, DecomposesMatricesWithEqualZeroAndFarApartValues) {
  ThreadPool threads(1);
  constexpr int64_t kN = 24;
  Tensor matrix(host(), DType::kF64, {kN, kN}, "matrix");
  const auto fill = [&](auto value) {
    for (int64_t i = 0; i < kN; ++i) {
      for (int64_t j = 0; j < kN; ++j) matrix.data<double>()[i * kN + j] = value(i, j);
    }
    expect_decomposition(matrix, symmetric_eigen(matrix, threads));
  };
  fill([](int64_t, int64_t) { return 0.0; });
  fill([](int64_t i, int64_t j) { return i == j ? 3.0 : 0.0; });
  fill([](int64_t i, int64_t j) { return i == j ? std::pow(10.0, -static_cast<double>(i)) : 0.0; });
  fill([](int64_t, int64_t) { return 1.0; });                                          // rank one
  fill([](int64_t i, int64_t j) { return std::abs(i - j) == 1 ? 1.0 : 0.0; });         // symmetric about zero
  fill([](int64_t i, int64_t j) { return 1e-150 / static_cast<double>(i + j + 1); });  // Hilbert's, tiny
  fill([](int64_t i, int64_t j) { return 1e120 * static_cast<double>((i * j) % 5); });
}

TEST(SymmetricEigen, FindsTheValuesOfTheSecondDifference) {
  // 2 on the diagonal, -1 beside it: 2 - 2 cos(pi j / (n + 1)).
  ThreadPool threads(2);
  constexpr int64_t kN = 50;
  Tensor matrix(host(), DType::kF64, {kN, kN}, "matrix");
  for (int64_t i = 0; i < kN; ++i) {
    for (int64_t j = 0; j < kN; ++j)
      matrix.data<double>()[i * kN + j] = i == j ? 2 : std::abs(i - j) == 1 ? -1 : 0;
  }
  const SymmetricEigen eigen = symmetric_eigen(matrix, threads);
  for (int64_t j = 0; j < kN; ++j) {
    const double expected = 2 - 2 * std::cos(M_PI * static_cast<double>(kN - j) / (kN + 1));
    EXPECT_NEAR(eigen.values[static_cast<size_t>(j)], expected, 4 * kN * 0x1p-52);
  }
}

TEST(SymmetricEigen, GivesTheSameBitsForAnyThreadsAndReadsTheLowerTriangleAlone) {
  Tensor matrix = random_symmetric(150, 9);
  ThreadPool one(1);
  const SymmetricEigen expected = symmetric_eigen(matrix, one);
  for (int64_t i = 0; i < 150; ++i) {
    for (int64_t j = i + 1; j < 150; ++j) matrix.data<double>()[i * 150 + j] = NAN;
  }
  for (const int count : {2, 3}) {
    ThreadPool threads(count);
    const SymmetricEigen eigen = symmetric_eigen(matrix, threads);
    EXPECT_EQ(eigen.values, expected.values);
    for (int64_t i = 0; i < matrix.numel(); ++i)
      ASSERT_EQ(eigen.vectors.data<double>()[i], expected.vectors.data<double>()[i]);
  }
}

TEST(SymmetricEigen, RefusesWhatIsNoFiniteSquareAndStopsWhenInterrupted) {
  ThreadPool threads(1);
  Tensor matrix = random_symmetric(5, 1);
  request_interrupt();
  EXPECT_THROW(static_cast<void>(symmetric_eigen(matrix, threads)), Interrupted);
  clear_interrupt();
  matrix.data<double>()[3 * 5 + 1] = INFINITY;
  const auto message = [&](const ConstTensorView& view) -> std::string {
    try {
      static_cast<void>(symmetric_eigen(view, threads));
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(message(matrix), "symmetric_eigen: element 3,1 is inf");
  EXPECT_NE(message(matrix.view().rows(0, 3)).find("expected f64 n,n"), std::string::npos);
}

}  // namespace
}  // namespace panda::anomaly
