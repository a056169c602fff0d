#include <cmath>

#include "kernels/reduce.h"
#include "tests/conformance/suite.h"

namespace panda::test {
namespace {

using kernels::ReduceOp;

constexpr std::pair<ReduceOp, const char*> kReduceOps[] = {{ReduceOp::kSum, "sum"},
                                                           {ReduceOp::kMean, "mean"},
                                                           {ReduceOp::kSumOfSquares, "sum_of_squares"},
                                                           {ReduceOp::kMax, "max"},
                                                           {ReduceOp::kMin, "min"}};

Shape without_axis(const Shape& shape, int axis) {
  std::vector<int64_t> extents = shape.to_vector();
  extents.erase(extents.begin() + axis);
  return Shape(extents);
}

void run_reduce(const Subject& s, ReduceOp op, const Tensor& x, int axis, Alignment alignment) {
  const Tensor expected(host(), DType::kF32, without_axis(x.shape(), axis), "expected");
  kernels::reduce_forward(s.oracle, {op, x, axis, expected});
  const GuardedTensor y = output(s, expected.shape(), Layout::kDense, alignment);
  kernels::reduce_forward(s.device, {op, place(s, x, Layout::kDense, alignment).view(), axis, y.view()});
  // Sums in f64 rounded once: at most one ulp from another order of summation, for sums that do not cancel
  // below 2^-20 of their terms.
  std::vector<double> tolerance = elements(expected);
  const bool exact = op == ReduceOp::kMax || op == ReduceOp::kMin;
  for (double& value : tolerance)
    value = exact || !std::isfinite(value) ? 0 : std::abs(value) * 0x1p-23 + 0x1p-40;
  expect_matches(y, expected, tolerance, Zeros::kExpected);
}

const RegisterCases reduce_cases([](std::vector<Case>& cases) {
  for (const auto& [op, name] : kReduceOps) {
    const ReduceOp which = op;
    for (const Shape& shape : {Shape{1}, Shape{37}, Shape{100003}, Shape{5, 16}, Shape{33, 17},
                               Shape{3, 7, 65}, Shape{2, 3, 5, 31}, Shape{2, 600, 3}, Shape{3, 1025}}) {
      for (int axis = 0; axis < shape.rank(); ++axis) {
        cases.push_back({"reduce_forward", CaseKind::kSweep, text(name, "_", shape, "_axis", axis),
                         [=](const Subject& s) {
                           run_reduce(s, which, make_tensor(shape, 91), axis, Alignment::kAligned);
                         }});
      }
    }
    cases.push_back({"reduce_forward", CaseKind::kSweep, text(name, "_nan"), [=](const Subject& s) {
                       const Tensor x = make_tensor({3, 40}, 92);
                       x.data<float>()[50] = NAN;
                       run_reduce(s, which, x, 1, Alignment::kAligned);
                       run_reduce(s, which, x, 0, Alignment::kAligned);
                     }});
    cases.push_back({"reduce_forward", CaseKind::kMisaligned, name, [=](const Subject& s) {
                       run_reduce(s, which, make_tensor({6, 35}, 93), 1, Alignment::kMisaligned);
                     }});
  }
  cases.push_back(
      {"reduce_forward", CaseKind::kEmpty, "an_empty_sum_is_zero", [](const Subject& s) {
         const GuardedTensor y = output(s, {3});
         kernels::reduce_forward(s.device, {ReduceOp::kSum, output(s, {3, 0}).view(), 1, y.view()});
         const float zeros[] = {0, 0, 0};
         expect_matches(y, Tensor::from({3}, zeros), 0.0, Zeros::kExpected);
         kernels::reduce_forward(s.device,
                                 {ReduceOp::kMax, output(s, {0, 4}).view(), 1, output(s, {0}).view()});
       }});
  cases.push_back(
      {"reduce_forward", CaseKind::kError, "axis_and_emptiness", [](const Subject& s) {
         const GuardedTensor x = output(s, {3, 0});
         expect_error<InvalidArgument>("reduce_forward: nothing to reduce along axis 1 of x f32 3x0", [&] {
           kernels::reduce_forward(s.device, {ReduceOp::kMax, x.view(), 1, output(s, {3}).view()});
         });
         expect_error<InvalidArgument>("reduce_forward: axis 2 of x f32 3x0", [&] {
           kernels::reduce_forward(s.device, {ReduceOp::kSum, x.view(), 2, output(s, {3}).view()});
         });
       }});
});

using RowsFunction = void (*)(const Subject&, Device&, const ConstTensorView&, const TensorView&);

void softmax(const Subject&, Device& device, const ConstTensorView& x, const TensorView& y) {
  kernels::softmax_forward(device, {x, y});
}
void normalize(const Subject&, Device& device, const ConstTensorView& x, const TensorView& y) {
  kernels::normalize_rows_forward(device, {x, y});
}

void run_rows(const Subject& s, RowsFunction function, const Tensor& x, bool in_place, Alignment alignment) {
  const Tensor expected(host(), DType::kF32, x.shape(), "expected");
  function(s, s.oracle, x, expected);
  const GuardedTensor placed = place(s, x, Layout::kDense, alignment);
  const GuardedTensor fresh = output(s, x.shape(), Layout::kDense, alignment);
  const GuardedTensor& y = in_place ? placed : fresh;
  function(s, s.device, placed.view(), y.view());
  // exp within 2 ulp, the sum in any order of f32 or wider, one division: 2^-20 relative is 16 roundings.
  std::vector<double> tolerance = elements(expected);
  for (double& value : tolerance) value = std::isfinite(value) ? std::abs(value) * 0x1p-20 + 1e-43 : 0;
  expect_matches(y, expected, tolerance, Zeros::kExpected);
}

void add_rows_cases(std::vector<Case>& cases, const std::string& kernel, RowsFunction function) {
  for (const int64_t n : {1, 2, 9}) {
    for (const int64_t c : {1, 15, 16, 17, 100, 1000, 1025, 3001}) {
      cases.push_back({kernel, CaseKind::kSweep, text("n", n, "_c", c), [=](const Subject& s) {
                         run_rows(s, function, make_tensor({n, c}, 95), c == 17, Alignment::kAligned);
                       }});
    }
  }
  cases.push_back({kernel, CaseKind::kMisaligned, "n3_c37", [=](const Subject& s) {
                     run_rows(s, function, make_tensor({3, 37}, 96), false, Alignment::kMisaligned);
                   }});
  cases.push_back({kernel, CaseKind::kEmpty, "no_rows_or_columns", [=](const Subject& s) {
                     function(s, s.device, output(s, {0, 5}).view(), output(s, {0, 5}).view());
                     function(s, s.device, output(s, {5, 0}).view(), output(s, {5, 0}).view());
                   }});
  cases.push_back({kernel, CaseKind::kError, "shapes", [=](const Subject& s) {
                     expect_error<InvalidArgument>(kernel + ": y is f32 3x4, expected 3x5", [&] {
                       function(s, s.device, output(s, {3, 5}).view(), output(s, {3, 4}).view());
                     });
                   }});
}

const RegisterCases rows_cases([](std::vector<Case>& cases) {
  add_rows_cases(cases, "softmax_forward", softmax);
  add_rows_cases(cases, "normalize_rows_forward", normalize);
  cases.push_back({"softmax_forward", CaseKind::kSweep, "large_logits_do_not_overflow", [](const Subject& s) {
                     const float logits[] = {1000, 999, -1000, 3e38f, -3e38f, 0, 88, -88, 0.5f, 0, 0, 0};
                     run_rows(s, softmax, Tensor::from({4, 3}, logits), false, Alignment::kAligned);
                   }});
  cases.push_back({"softmax_forward", CaseKind::kSweep, "nan_and_infinity", [](const Subject& s) {
                     for (const int64_t c : {7, 1500}) {
                       const Tensor x = make_tensor({6, c}, 97);
                       float* row = x.data<float>();
                       row[3] = NAN;
                       row[c + 4] = INFINITY;
                       row[2 * c] = row[2 * c + 5] = -INFINITY;
                       for (int64_t i = 0; i < c; ++i) row[3 * c + i] = -INFINITY;
                       row[4 * c + 1] = NAN;
                       row[4 * c + 6] = INFINITY;
                       run_rows(s, softmax, x, false, Alignment::kAligned);
                     }
                   }});
  cases.push_back({"normalize_rows_forward", CaseKind::kSweep, "nan_and_infinity", [](const Subject& s) {
                     const Tensor x = make_tensor({3, 40}, 98);
                     x.data<float>()[3] = NAN;
                     x.data<float>()[44] = -INFINITY;
                     run_rows(s, normalize, x, false, Alignment::kAligned);
                   }});
  cases.push_back(
      {"normalize_rows_forward", CaseKind::kSweep, "zero_tiny_and_huge_rows", [](const Subject& s) {
         const float rows[] = {0, 0, 0, 1e-30f, 2e-30f, -2e-30f, 1e30f, -2e30f, 2e30f};
         run_rows(s, normalize, Tensor::from({3, 3}, rows), false, Alignment::kAligned);
       }});
});

}  // namespace
}  // namespace panda::test
