// The oracle against PyTorch in float64 (tests/golden/make_kernel_goldens.py).
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>

#include "kernels/batch_norm.h"
#include "kernels/conv2d.h"
#include "kernels/device_registry.h"
#include "kernels/elementwise.h"
#include "kernels/gemm.h"
#include "kernels/pool2d.h"
#include "kernels/reduce.h"
#include "tests/support/compare.h"
#include "tests/support/guarded_tensor.h"

namespace panda::test {
namespace {

using namespace panda::kernels;

std::map<std::string, std::vector<double>> read_golden(const std::string& name) {
  std::map<std::string, std::vector<double>> golden;
  std::ifstream file(PANDA_SOURCE_DIR "/tests/golden/kernels/" + name);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key;
    words >> key;
    for (double value = 0; words >> value;) golden[key].push_back(value);
  }
  return golden;
}

/// As `values` of the script.
Tensor values(int64_t seed, const Shape& shape) {
  Tensor tensor(host(), DType::kF32, shape, "golden input");
  for (int64_t i = 0; i < shape.numel(); ++i) {
    tensor.data<float>()[i] = static_cast<float>((i * 7919 + seed * 104729) % 211 - 105) / 64;
  }
  return tensor;
}

class Golden : public ::testing::Test {
 protected:
  Tensor result(const Shape& shape) { return {host(), DType::kF32, shape, "result"}; }
  /// One rounding to f32 of the largest intermediate is all that may differ.
  void expect_golden(const Tensor& actual, const std::vector<double>& expected) {
    std::vector<double> tolerance(expected.size(), (1 + largest_magnitude(expected)) * 0x1p-23);
    const Verdict verdict = compare_elementwise(elements(actual), expected, tolerance);
    EXPECT_TRUE(verdict) << verdict.reason;
  }
  std::unique_ptr<Device> device_ = make_device({"reference", 1, ""});
};

TEST_F(Golden, Conv2dEqualsPyTorch) {
  struct Geometry {
    int64_t n, c, h, w, k, r, s, stride, pad;
  };
  const std::map<std::string, Geometry> cases = {{"3x3", {2, 3, 5, 6, 4, 3, 3, 1, 1}},
                                                 {"stride2", {1, 4, 7, 7, 3, 3, 3, 2, 1}},
                                                 {"1x1_stride2", {1, 5, 5, 4, 2, 1, 1, 2, 0}},
                                                 {"7x7_stride2", {1, 2, 9, 11, 2, 7, 7, 2, 3}},
                                                 {"2x4", {1, 2, 5, 6, 3, 2, 4, 1, 1}}};
  const auto golden = read_golden("conv2d.txt");
  ASSERT_EQ(golden.size(), cases.size());
  for (const auto& [name, g] : cases) {
    SCOPED_TRACE(name);
    const Conv2dFilter filter =
        conv2d_prepare_filter(*device_, values(2, {g.k, g.c, g.r, g.s}).view(), {g.stride, g.stride, g.pad, g.pad});
    const Shape y_shape{g.n, g.k, Conv2dGeometry::output_extent(g.h, g.r, g.stride, g.pad),
                        Conv2dGeometry::output_extent(g.w, g.s, g.stride, g.pad)};
    const Tensor y = result(y_shape);
    const Tensor bias = values(3, {g.k});
    conv2d_forward(*device_, {values(1, {g.n, g.c, g.h, g.w}), &filter, bias, values(4, y_shape), y, true});
    expect_golden(y, golden.at(name));
  }
}

TEST_F(Golden, PoolingEqualsPyTorch) {
  const auto golden = read_golden("pool2d.txt");
  const Tensor x = values(5, {2, 3, 7, 8});
  const Tensor halved = result({2, 3, 4, 4});
  max_pool2d_forward(*device_, {x, {3, 3, 2, 2, 1, 1}, halved});
  expect_golden(halved, golden.at("max_3_2_1"));
  avg_pool2d_forward(*device_, {x, {3, 3, 2, 2, 1, 1}, halved});
  expect_golden(halved, golden.at("avg_3_2_1"));
  const Tensor full = result({2, 3, 6, 7});
  avg_pool2d_forward(*device_, {x, {2, 2, 1, 1, 0, 0}, full});
  expect_golden(full, golden.at("avg_2_1_0"));
  const Tensor global = result({2, 3});
  global_avg_pool2d_forward(*device_, {x, global});
  expect_golden(global, golden.at("global"));
}

TEST_F(Golden, RowsAndElementsEqualPyTorch) {
  const auto golden = read_golden("other.txt");
  const Tensor x = values(6, {3, 7});
  const Tensor y = result({3, 7});
  softmax_forward(*device_, {x, y});
  expect_golden(y, golden.at("softmax"));
  unary_forward(*device_, {UnaryOp::kSigmoid, x, y});
  expect_golden(y, golden.at("sigmoid"));
  normalize_rows_forward(*device_, {x, y});
  expect_golden(y, golden.at("normalize"));
  const Tensor linear = result({3, 4});
  linear_forward(*device_, {x, values(7, {4, 7}), values(8, {4}), linear});
  expect_golden(linear, golden.at("linear"));
  const Tensor variance = values(11, {4});
  for (int i = 0; i < 4; ++i) variance.data<float>()[i] = std::abs(variance.data<float>()[i]) + 0.125f;
  const Tensor normalized = result({2, 4, 3, 3});
  batch_norm_forward(*device_, {values(9, {2, 4, 3, 3}), values(12, {4}), values(13, {4}), values(10, {4}), variance, 1e-5, normalized});
  expect_golden(normalized, golden.at("batch_norm"));
}

}  // namespace
}  // namespace panda::test
