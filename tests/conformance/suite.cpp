#include "tests/conformance/suite.h"

#include <bit>
#include <cmath>

#include "kernels/device_registry.h"
#include "kernels/elementwise.h"
#include "kernels/tensor/random.h"

namespace panda::test {

const char* case_kind_name(CaseKind kind) {
  switch (kind) {
    case CaseKind::kSweep:
      return "sweep";
    case CaseKind::kEmpty:
      return "empty";
    case CaseKind::kError:
      return "error";
    case CaseKind::kMisaligned:
      return "misaligned";
  }
  return "unknown";
}

std::vector<Case>& all_cases() {
  static std::vector<Case> cases;
  return cases;
}

Tensor make_tensor(const Shape& shape, uint64_t seed, Values values) {
  Random random(seed);
  Tensor tensor(host(), DType::kF32, shape, "operand");
  for (int64_t i = 0; i < shape.numel(); ++i) {
    float value = 0;
    switch (values) {
      case Values::kNormal:
        value = static_cast<float>(random.next_normal());
        break;
      case Values::kSmallIntegers:
        value = static_cast<float>(random.next_below(7) - 3);
        break;
      case Values::kPositive:
        value = static_cast<float>(random.next_uniform(0.01, 4.0));
        break;
    }
    tensor.data<float>()[i] = value;
  }
  return tensor;
}

Tensor rounded(const Subject& subject, const Tensor& values) {
  Tensor tensor = clone_to(values, host(), "operand");
  if (tensor.dtype() != DType::kF32) return tensor;
  auto* x = tensor.data<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    switch (subject.device.precision()) {
      case Precision::kF32:
        break;
      case Precision::kTf32: {
        // To the nearest of 10 mantissa bits: add half of the 13 dropped bits' range, then clear them.
        constexpr uint32_t kDropped = 0x1fff;
        x[i] = std::bit_cast<float>((std::bit_cast<uint32_t>(x[i]) + (kDropped + 1) / 2) & ~kDropped);
        break;
      }
      case Precision::kF16:
        x[i] = to_float(to_float16(x[i]));
        break;
      case Precision::kBF16:
        x[i] = to_float(to_bfloat16(x[i]));
        break;
    }
  }
  return tensor;
}

Tensor make_operand(const Subject& subject, const Shape& shape, uint64_t seed, Values values) {
  return rounded(subject, make_tensor(shape, seed, values));
}

double storage_roundoff(const Subject& subject, Layout layout) {
  if (layout == Layout::kDense) return 0;
  switch (activation_dtype(subject.device.precision())) {
    case DType::kF16:
      return 0x1p-11;
    case DType::kBF16:
      return 0x1p-8;
    default:
      return 0;
  }
}

double tensor_core_truncation(const Subject& subject, int64_t terms) {
  if (subject.device.name() != "cuda" || subject.device.precision() == Precision::kF32) return 0;
  const int64_t step = subject.device.precision() == Precision::kTf32 ? 8 : 16;
  return static_cast<double>(terms / step) * 0x1p-25;
}

std::vector<double> stored_tolerance(const Subject& subject, Layout layout, const ConstTensorView& expected,
                                     std::vector<double> tolerance) {
  const double roundoff = storage_roundoff(subject, layout);
  const std::vector<double> exact = elements(expected);
  for (size_t i = 0; i < tolerance.size(); ++i) tolerance[i] += roundoff * std::abs(exact[i]);
  return tolerance;
}

namespace {

DType stored_dtype(const Subject& subject, Layout layout, DType dense) {
  return layout == Layout::kDense ? dense : activation_dtype(subject.device.precision());
}

}  // namespace

GuardedTensor output(const Subject& subject, const Shape& shape, Layout layout, Alignment alignment,
                     DType dtype) {
  return {subject.device, stored_dtype(subject, layout, dtype), shape, layout, alignment};
}

GuardedTensor place(const Subject& subject, const Tensor& dense, Layout layout, Alignment alignment) {
  const DType dtype = stored_dtype(subject, layout, dense.dtype());
  GuardedTensor placed(subject.device, dtype, dense.shape(), layout, alignment);
  const Tensor arranged(host(), dtype, dense.shape(), "arranged", layout);
  kernels::convert(subject.oracle, {dense.view(), arranged.view()});
  copy(arranged, placed.view());
  return placed;
}

void expect_matches(const GuardedTensor& actual, const ConstTensorView& expected,
                    const std::vector<double>& tolerance, Zeros zeros) {
  EXPECT_EQ(actual.view().shape(), expected.shape());
  const Verdict verdict = compare_elementwise(elements(actual.view()), elements(expected), tolerance, zeros);
  EXPECT_TRUE(verdict) << verdict.reason;
  EXPECT_EQ(actual.damage(), "");
  EXPECT_TRUE(padding_is_zero(actual.view())) << "padding channels of the output are not zero";
}

void expect_matches(const GuardedTensor& actual, const ConstTensorView& expected, double tolerance,
                    Zeros zeros) {
  expect_matches(actual, expected, std::vector<double>(static_cast<size_t>(expected.numel()), tolerance),
                 zeros);
}

std::vector<double> sum_tolerance(const ConstTensorView& magnitudes, int64_t terms) {
  const double eps = 0x1p-24;  // unit roundoff of f32
  std::vector<double> tolerance = elements(magnitudes);
  for (double& value : tolerance) value *= (4 + 2 * std::sqrt(static_cast<double>(terms))) * eps;
  return tolerance;
}

Tensor absolute(const Tensor& x) {
  Tensor result(host(), DType::kF32, x.shape(), "magnitudes");
  for (int64_t i = 0; i < x.numel(); ++i) result.data<float>()[i] = std::abs(x.data<float>()[i]);
  return result;
}

}  // namespace panda::test
