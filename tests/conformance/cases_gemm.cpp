#include "kernels/gemm.h"

#include <array>

#include "tests/conformance/suite.h"

namespace panda::test {
namespace {

using kernels::GemmArgs;
using kernels::LinearForwardArgs;

struct GemmCase {
  int64_t m, n, k;
  bool transpose_a, transpose_b, accumulate;
};

void run_gemm(const Subject& subject, const GemmCase& one, Values values, Alignment alignment) {
  const Shape a_shape = one.transpose_a ? Shape{one.k, one.m} : Shape{one.m, one.k};
  const Shape b_shape = one.transpose_b ? Shape{one.n, one.k} : Shape{one.k, one.n};
  const Tensor a = make_operand(subject, a_shape, 1, values);
  const Tensor b = make_operand(subject, b_shape, 2, values);
  const Tensor c = make_tensor({one.m, one.n}, 3, values);
  const Tensor expected = clone_to(c, host());
  const Tensor magnitudes = absolute(c);
  kernels::gemm(subject.oracle, {a, b, expected, one.transpose_a, one.transpose_b, one.accumulate});
  kernels::gemm(subject.oracle,
                {absolute(a), absolute(b), magnitudes, one.transpose_a, one.transpose_b, one.accumulate});

  const GuardedTensor a_placed = place(subject, a, Layout::kDense, alignment);
  const GuardedTensor b_placed = place(subject, b, Layout::kDense, alignment);
  const GuardedTensor actual = one.accumulate ? place(subject, c, Layout::kDense, alignment)
                                              : output(subject, {one.m, one.n}, Layout::kDense, alignment);
  kernels::gemm(subject.device, {a_placed.view(), b_placed.view(), actual.view(), one.transpose_a,
                                 one.transpose_b, one.accumulate});
  if (values == Values::kSmallIntegers) {
    expect_matches(actual, expected, 0.0,
                   Zeros::kExpected);  // integers of 24 bits: every order of summation is exact
  } else {
    expect_matches(actual, expected, sum_tolerance(magnitudes, one.k + 1));
  }
}

std::string name_of(const GemmCase& one) {
  return text("m", one.m, "_n", one.n, "_k", one.k, one.transpose_a ? "_at" : "",
              one.transpose_b ? "_bt" : "", one.accumulate ? "_acc" : "");
}

const RegisterCases gemm_cases([](std::vector<Case>& cases) {
  const auto add = [&](CaseKind kind, const GemmCase& one, Values values, Alignment alignment) {
    cases.push_back({"gemm", kind, name_of(one) + (values == Values::kSmallIntegers ? "_integers" : ""),
                     [=](const Subject& subject) { run_gemm(subject, one, values, alignment); }});
  };
  const std::vector<std::vector<int64_t>> sizes = {
      {1, 1, 1},    {1, 17, 5},    {5, 1, 31},    {13, 15, 16},   {14, 16, 17},  {15, 31, 64},
      {6, 32, 127}, {7, 33, 128},  {27, 47, 129}, {61, 97, 101},  {28, 64, 300}, {130, 70, 520},
      {31, 67, 33}, {48, 64, 129}, {49, 64, 130}, {67, 48, 20},   {67, 49, 20},  {200, 5, 2049},
      {63, 65, 36}, {64, 64, 64},  {129, 127, 4}, {257, 129, 40}, {35, 1, 130},  {33, 2, 47},
      {70, 3, 16},  {17, 4, 65},   {3, 50, 40}};
  for (const auto& size : sizes) {
    for (const bool transpose_a : {false, true}) {
      for (const bool transpose_b : {false, true}) {
        add(CaseKind::kSweep,
            {size[0], size[1], size[2], transpose_a, transpose_b, transpose_a != transpose_b},
            Values::kNormal, Alignment::kAligned);
      }
    }
    add(CaseKind::kSweep, {size[0], size[1], size[2], false, false, true}, Values::kSmallIntegers,
        Alignment::kAligned);
  }
  add(CaseKind::kMisaligned, {29, 37, 41, false, false, true}, Values::kNormal, Alignment::kMisaligned);
  add(CaseKind::kMisaligned, {29, 37, 41, true, true, false}, Values::kNormal, Alignment::kMisaligned);
  for (const auto& size : {std::array<int64_t, 3>{5, 64, 130}, {50, 64, 30}, {50, 7, 30}, {7, 80, 520}}) {
    for (int bits = 0; bits < 8; ++bits) {
      add(CaseKind::kMisaligned,
          {size[0], size[1], size[2], (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0}, Values::kNormal,
          Alignment::kMisaligned);
    }
  }
  add(CaseKind::kEmpty, {0, 5, 3, false, false, false}, Values::kSmallIntegers, Alignment::kAligned);
  add(CaseKind::kEmpty, {5, 4, 0, false, false, false}, Values::kSmallIntegers, Alignment::kAligned);
  add(CaseKind::kEmpty, {5, 4, 0, false, false, true}, Values::kSmallIntegers, Alignment::kAligned);

  cases.push_back({"gemm", CaseKind::kError, "shapes", [](const Subject& s) {
                     const GuardedTensor a = place(s, make_tensor({4, 3}, 1));
                     const GuardedTensor b = place(s, make_tensor({5, 6}, 2));
                     const GuardedTensor c = output(s, {4, 6});
                     expect_error<InvalidArgument>("gemm: a gives K=3 but b gives K=5 (a is 4x3, b is 5x6)",
                                                   [&] {
                                                     kernels::gemm(s.device, {a.view(), b.view(), c.view()});
                                                   });
                     expect_error<InvalidArgument>("gemm: c is f32 4x6, expected 4x4", [&] {
                       kernels::gemm(s.device, {a.view(), a.view(), c.view(), false, true});
                     });
                     expect_error<InvalidArgument>("gemm: b is absent", [&] {
                       kernels::gemm(s.device, {a.view(), {}, c.view()});
                     });
                     const GuardedTensor square = place(s, make_tensor({4, 4}, 3));
                     expect_error<InvalidArgument>("gemm: c overlaps a", [&] {
                       kernels::gemm(s.device, {square.view(), square.view(), square.view()});
                     });
                     const GuardedTensor f64(s.device, DType::kF16, {4, 4});
                     expect_error<InvalidArgument>("gemm: a is f16 4x4, expected f32", [&] {
                       kernels::gemm(s.device, {f64.view(), square.view(), c.view()});
                     });
                   }});
});

void run_linear(const Subject& subject, int64_t n, int64_t c, int64_t k, bool with_bias,
                Alignment alignment) {
  const Tensor x = make_operand(subject, {n, c}, 11);
  const Tensor weight = make_operand(subject, {k, c}, 12);
  const Tensor bias = with_bias ? make_tensor({k}, 13) : Tensor();
  const Tensor expected(host(), DType::kF32, {n, k}, "expected");
  const Tensor magnitudes(host(), DType::kF32, {n, k}, "magnitudes");
  kernels::linear_forward(subject.oracle, {x, weight, bias, expected});
  kernels::linear_forward(subject.oracle,
                          {absolute(x), absolute(weight), with_bias ? absolute(bias) : Tensor(), magnitudes});

  const GuardedTensor x_placed = place(subject, x, Layout::kDense, alignment);
  const GuardedTensor weight_placed = place(subject, weight, Layout::kDense, alignment);
  const GuardedTensor bias_placed =
      place(subject, with_bias ? bias : make_tensor({1}, 1), Layout::kDense, alignment);
  const ConstTensorView bias_view = with_bias ? bias_placed.view() : ConstTensorView();
  const GuardedTensor actual = output(subject, {n, k}, Layout::kDense, alignment);
  kernels::linear_forward(subject.device, {x_placed.view(), weight_placed.view(), bias_view, actual.view()});
  expect_matches(actual, expected, sum_tolerance(magnitudes, c + 1));

  // A row does not depend on the other rows' presence: the last one alone gives the same bits.
  const GuardedTensor alone = output(subject, {1, k});
  kernels::linear_forward(subject.device,
                          {x_placed.view().rows(n - 1, n), weight_placed.view(), bias_view, alone.view()});
  if (!subject.batch_changes_bits) expect_matches(alone, actual.view().rows(n - 1, n), 0.0);
}

const RegisterCases linear_cases([](std::vector<Case>& cases) {
  for (const int64_t n : {1, 2, 7, 16, 33}) {
    for (const int64_t c : {1, 15, 64, 513}) {
      for (const int64_t k : {1, 16, 101}) {
        cases.push_back(
            {"linear_forward", CaseKind::kSweep, text("n", n, "_c", c, "_k", k),
             [=](const Subject& s) { run_linear(s, n, c, k, (n + k) % 2 == 0, Alignment::kAligned); }});
      }
    }
  }
  // Rows and outputs around tiles of 64 and 128.
  for (const int64_t n : {64, 129})
    for (const int64_t k : {63, 128, 130})
      cases.push_back({"linear_forward", CaseKind::kSweep, text("n", n, "_c44_k", k),
                       [=](const Subject& s) { run_linear(s, n, 44, k, true, Alignment::kAligned); }});
  cases.push_back({"linear_forward", CaseKind::kMisaligned, "n5_c67_k35",
                   [](const Subject& s) { run_linear(s, 5, 67, 35, true, Alignment::kMisaligned); }});
  cases.push_back(
      {"linear_forward", CaseKind::kEmpty, "no_rows_and_no_channels", [](const Subject& s) {
         const GuardedTensor none = output(s, {0, 4});
         const GuardedTensor weight = place(s, make_tensor({4, 3}, 1));
         kernels::linear_forward(s.device, {output(s, {0, 3}).view(), weight.view(), {}, none.view()});
         const GuardedTensor bias = place(s, make_tensor({4}, 2));
         const GuardedTensor y = output(s, {1, 4});
         kernels::linear_forward(s.device,
                                 {output(s, {1, 0}).view(), output(s, {4, 0}).view(), bias.view(), y.view()});
         expect_matches(y, bias.view().reshaped({1, 4}), 0.0);
       }});
  cases.push_back({"linear_forward", CaseKind::kError, "shapes", [](const Subject& s) {
                     const GuardedTensor x = place(s, make_tensor({2, 3}, 1));
                     const GuardedTensor weight = place(s, make_tensor({4, 5}, 2));
                     const GuardedTensor y = output(s, {2, 4});
                     expect_error<InvalidArgument>(
                         "linear_forward: weight C=5 but input C=3 (x is 2x3)", [&] {
                           kernels::linear_forward(s.device, {x.view(), weight.view(), {}, y.view()});
                         });
                     const GuardedTensor fit = place(s, make_tensor({4, 3}, 2));
                     const GuardedTensor bias = place(s, make_tensor({3}, 2));
                     expect_error<InvalidArgument>("linear_forward: bias is f32 3, expected 4", [&] {
                       kernels::linear_forward(s.device, {x.view(), fit.view(), bias.view(), y.view()});
                     });
                   }});
});

}  // namespace
}  // namespace panda::test
