#include "kernels/gemm.h"

#include "kernels/tensor/parallel.h"
#include "tests/unit/cpu/support.h"

namespace panda::kernels::cpu {
namespace {

struct Product {
  int64_t m, n, k;
  bool transpose_a, transpose_b, accumulate;
};

std::vector<float> multiply(Device& device, const Product& t, Values kind, bool absolute = false) {
  const Shape a_shape = t.transpose_a ? Shape{t.k, t.m} : Shape{t.m, t.k};
  const Shape b_shape = t.transpose_b ? Shape{t.n, t.k} : Shape{t.k, t.n};
  std::vector<float> a = values(a_shape.numel(), 1, kind);
  std::vector<float> b = values(b_shape.numel(), 2, kind);
  std::vector<float> c = values(t.m * t.n, 3, kind);
  if (absolute) {
    for (auto* v : {&a, &b, &c})
      for (float& x : *v) x = std::abs(x);
  }
  const Tensor y = t.accumulate ? on_device(device, {t.m, t.n}, c) : unwritten(device, {t.m, t.n});
  const Tensor a_tensor = on_device(device, a_shape, a);
  const Tensor b_tensor = on_device(device, b_shape, b);
  gemm(device, {a_tensor, b_tensor, y, t.transpose_a, t.transpose_b, t.accumulate});
  return dense_of(y);
}

std::vector<Product> products() {
  std::vector<Product> result;
  const int64_t sizes[][3] = {{1, 1, 1},
                              {1, 40, 7},
                              {14, 32, 16},
                              {15, 33, 17},
                              {13, 31, 15},
                              {29, 65, 37},
                              {141, 64, 40},
                              {7, 100, 1},
                              {5, 3, 1000},
                              {150, 97, 257},
                              {6, 16, 256},
                              {1, 1, 513},
                              {300, 2100, 24},
                              {281, 129, 530},
                              // Few rows or columns, and just no longer few; one panel, and just more.
                              {48, 65, 129},
                              {49, 64, 130},
                              {65, 48, 20},
                              {64, 49, 20},
                              // So few columns (or rows) that rows are in the lanes.
                              {35, 1, 130},
                              {33, 2, 47},
                              {70, 3, 16},
                              {17, 4, 65},
                              {3, 50, 40},
                              // K ranges: 512, 64 for few rows, 2048 for few columns.
                              {49, 40, 513},
                              {48, 33, 128},
                              {60, 1100, 30},
                              {50, 5, 2049},
                              {3, 70, 2050}};
  for (const auto& s : sizes) {
    for (int bits = 0; bits < 8; ++bits)
      result.push_back({s[0], s[1], s[2], (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0});
  }
  return result;
}

std::string name_of(const Product& t) {
  return text(t.m, "x", t.n, "x", t.k, t.transpose_a ? " aT" : "", t.transpose_b ? " bT" : "",
              t.accumulate ? " +=" : "");
}

TEST(CpuGemm, IsExactOnSmallIntegers) {
  for (const auto& device : all_devices()) {
    for (const Product& t : products()) {
      EXPECT_TRUE(same_bits(multiply(*device, t, Values::kSmallIntegers),
                            multiply(reference_device(), t, Values::kSmallIntegers)))
          << device->description() << " " << name_of(t);
    }
  }
}

TEST(CpuGemm, AgreesWithTheReference) {
  for (const auto& device : all_devices()) {
    for (const Product& t : products()) {
      std::vector<float> bound = multiply(reference_device(), t, Values::kReal, true);
      for (float& x : bound) x *= 0x1p-24f * static_cast<float>(std::min<int64_t>(t.k + 2, 64));
      expect_within(multiply(*device, t, Values::kReal), multiply(reference_device(), t, Values::kReal),
                    bound, text(device->description(), " ", name_of(t)));
    }
  }
}

TEST(CpuGemm, GivesTheSameBitsForAnyThreadCount) {
  for (const Isa isa : supported_isas()) {
    CpuDevice one(1, isa);
    for (const Product& t :
         {Product{281, 129, 530, false, true, false}, Product{20, 2100, 300, true, false, true}}) {
      const std::vector<float> expected = multiply(one, t, Values::kReal);
      for (const int threads : {2, 3, 8}) {
        CpuDevice device(threads, isa);
        EXPECT_TRUE(same_bits(multiply(device, t, Values::kReal), expected))
            << device.description() << " " << name_of(t);
      }
    }
  }
}

std::vector<float> transposed(const std::vector<float>& x, int64_t rows, int64_t columns) {
  std::vector<float> y(x.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c)
      y[static_cast<size_t>(c * rows + r)] = x[static_cast<size_t>(r * columns + c)];
  }
  return y;
}

struct Matrices {
  int64_t m, n, k;
  std::vector<float> a, b;  // row-major M,K and K,N
};

std::vector<float> product(Device& device, const Matrices& t, bool transpose_a, bool transpose_b) {
  const Tensor a = transpose_a ? on_device(device, {t.k, t.m}, transposed(t.a, t.m, t.k))
                               : on_device(device, {t.m, t.k}, t.a);
  const Tensor b = transpose_b ? on_device(device, {t.n, t.k}, transposed(t.b, t.k, t.n))
                               : on_device(device, {t.k, t.n}, t.b);
  const Tensor c = unwritten(device, {t.m, t.n});
  gemm(device, {a, b, c, transpose_a, transpose_b, false});
  return dense_of(c);
}

/// Rows and columns from the first on.
std::vector<float> corner(const std::vector<float>& x, int64_t columns, int64_t to_rows, int64_t to_columns) {
  std::vector<float> part;
  for (int64_t r = 0; r < to_rows; ++r) {
    const auto row = x.begin() + r * columns;
    part.insert(part.end(), row, row + to_columns);
  }
  return part;
}

// Few rows, few columns, either operand stored either way, packed or not: an element is one chain over K, so
// a part of a product is bit for bit the product of the parts.
TEST(CpuGemm, GivesTheSameBitsOnEveryPath) {
  const int64_t m = 70, n = 100, k = 1100;
  const Matrices all{m, n, k, values(m * k, 1), values(k * n, 2)};
  for (const auto& device : all_devices()) {
    const std::vector<float> expected = product(*device, all, false, false);
    for (const int64_t rows : {1, 3, 5, 48, 49, 70}) {
      for (const int64_t columns : {1, 2, 3, 4, 5, 16, 17, 48, 49, 64, 100}) {
        const Matrices part{rows, columns, k, corner(all.a, k, rows, k), corner(all.b, n, k, columns)};
        for (int bits = 0; bits < 4; ++bits) {
          EXPECT_TRUE(same_bits(product(*device, part, (bits & 1) != 0, (bits & 2) != 0),
                                corner(expected, n, rows, columns)))
              << device->description() << " "
              << name_of({rows, columns, k, (bits & 1) != 0, (bits & 2) != 0, false});
        }
      }
    }
  }
}

TEST(CpuGemm, ContinuesTheSumThatCHolds) {
  const int64_t m = 40, n = 50, k = 700, first = 33;
  for (const auto& device : all_devices()) {
    const std::vector<float> a = values(m * k, 1), b = values(k * n, 2);
    const Tensor c = on_device(
        *device, {m, n},
        product(*device, {m, n, first, corner(a, k, m, first), corner(b, n, first, n)}, false, false));
    const std::vector<float> a_columns = transposed(a, m, k);
    const Tensor a_rest =
        on_device(*device, {k - first, m}, {a_columns.begin() + first * m, a_columns.end()});
    const Tensor b_rest = on_device(*device, {k - first, n}, {b.begin() + first * n, b.end()});
    gemm(*device, {a_rest, b_rest, c, true, false, true});
    EXPECT_TRUE(same_bits(dense_of(c), product(*device, {m, n, k, a, b}, false, false)))
        << device->description();
  }
}

TEST(CpuGemm, OfNothingIsZeroOrKept) {
  CpuDevice device(2, Isa::kBaseline);
  EXPECT_EQ(multiply(device, {2, 3, 0, false, false, false}, Values::kReal), std::vector<float>(6, 0.0f));
  EXPECT_EQ(multiply(device, {2, 3, 0, false, false, true}, Values::kReal), values(6, 3));
}

std::vector<float> fully_connected(Device& device, int64_t n, int64_t c, int64_t k, bool bias, Values kind,
                                   int64_t first_row = 0) {
  const Tensor x = on_device(device, {n + first_row, c}, values((n + first_row) * c, 1, kind));
  const Tensor y = unwritten(device, {n, k});
  LinearForwardArgs args{x.view().rows(first_row, first_row + n), {}, {}, y};
  const Tensor weight = on_device(device, {k, c}, values(k * c, 2, kind));
  const Tensor b = on_device(device, {k}, values(k, 3, kind));
  args.weight = weight;
  if (bias) args.bias = b;
  linear_forward(device, args);
  return dense_of(y);
}

TEST(CpuLinear, IsExactOnSmallIntegers) {
  for (const auto& device : all_devices()) {
    for (const int64_t n : {1, 2, 4, 5, 17}) {
      for (const int64_t c : {1, 3, 4, 15, 16, 17, 64, 513}) {
        for (const int64_t k : {1, 5, 6, 7, 33, 100}) {
          EXPECT_TRUE(
              same_bits(fully_connected(*device, n, c, k, n % 2 == 0, Values::kSmallIntegers),
                        fully_connected(reference_device(), n, c, k, n % 2 == 0, Values::kSmallIntegers)))
              << device->description() << " n=" << n << " c=" << c << " k=" << k;
        }
      }
    }
  }
}

TEST(CpuLinear, GivesARowTheSameBitsAloneAndInABatchForAnyThreadCount) {
  for (const Isa isa : supported_isas()) {
    CpuDevice one(1, isa);
    const std::vector<float> batch = fully_connected(one, 7, 515, 103, true, Values::kReal);
    for (const int threads : {1, 2, 5}) {
      CpuDevice device(threads, isa);
      EXPECT_TRUE(same_bits(fully_connected(device, 7, 515, 103, true, Values::kReal), batch))
          << device.description();
      for (int64_t row = 0; row < 7; ++row) {
        const std::vector<float> part(batch.begin() + row * 103, batch.begin() + (row + 1) * 103);
        EXPECT_TRUE(same_bits(fully_connected(device, 1, 515, 103, true, Values::kReal, row), part))
            << device.description() << row;
      }
    }
  }
}

}  // namespace
}  // namespace panda::kernels::cpu
