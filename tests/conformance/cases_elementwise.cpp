#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/elementwise.h"
#include "tests/conformance/suite.h"

namespace panda::test {
namespace {

using kernels::BinaryOp;
using kernels::UnaryOp;

constexpr std::pair<UnaryOp, const char*> kUnaryOps[] = {
    {UnaryOp::kRelu, "relu"},       {UnaryOp::kAbs, "abs"},
    {UnaryOp::kSquare, "square"},   {UnaryOp::kSqrt, "sqrt"},
    {UnaryOp::kExp, "exp"},         {UnaryOp::kLog, "log"},
    {UnaryOp::kSigmoid, "sigmoid"}, {UnaryOp::kLeakyRelu, "leaky_relu"},
    {UnaryOp::kElu, "elu"}};
constexpr std::pair<BinaryOp, const char*> kBinaryOps[] = {{BinaryOp::kAdd, "add"},
                                                           {BinaryOp::kSubtract, "subtract"},
                                                           {BinaryOp::kMultiply, "multiply"},
                                                           {BinaryOp::kDivide, "divide"}};

/// `ulps` units in the last place (of f32) of each element.
std::vector<double> ulp_tolerance(const ConstTensorView& expected, double ulps) {
  std::vector<double> tolerance = elements(expected);
  for (double& value : tolerance) {
    const float magnitude = std::abs(static_cast<float>(value));
    value = std::isfinite(magnitude) ? ulps * (std::nextafter(magnitude, INFINITY) - magnitude) : 0;
  }
  return tolerance;
}

/// Elements from every region a function treats differently.
Tensor hard_values(int64_t count, Values values) {
  const Tensor x = make_tensor({count}, 71, values);
  const float special[] = {0.0f,  -0.0f, INFINITY, -INFINITY, NAN,    1e-40f, -1e-40f, 3e38f, -3e38f,
                           88.7f, 89.0f, -87.5f,   -104.0f,   1e-30f, 16.7f,  -90.0f,  1.0f};
  for (size_t i = 0; i < std::size(special) && static_cast<int64_t>(i) < count; ++i)
    x.data<float>()[i] = special[i];
  return x;
}

void run_unary(const Subject& s, UnaryOp op, const Tensor& x, bool in_place, Alignment alignment) {
  const Tensor expected(host(), DType::kF32, x.shape(), "expected");
  kernels::unary_forward(s.oracle, {op, x, expected});
  const GuardedTensor placed = place(s, x, Layout::kDense, alignment);
  const GuardedTensor fresh = output(s, x.shape(), Layout::kDense, alignment);
  const GuardedTensor& y = in_place ? placed : fresh;
  kernels::unary_forward(s.device, {op, placed.view(), y.view()});
  const bool transcendental =
      op == UnaryOp::kExp || op == UnaryOp::kLog || op == UnaryOp::kSigmoid || op == UnaryOp::kElu;
  expect_matches(y, expected, ulp_tolerance(expected, transcendental ? 2.5 : 0), Zeros::kExpected);
}

const RegisterCases unary_cases([](std::vector<Case>& cases) {
  for (const auto& [op, name] : kUnaryOps) {
    const UnaryOp which = op;
    for (const int64_t count : {1, 3, 15, 16, 17, 63, 65, 1000, 100003}) {
      cases.push_back({"unary_forward", CaseKind::kSweep, text(name, "_", count), [=](const Subject& s) {
                         run_unary(s, which,
                                   hard_values(count, count % 2 == 0 ? Values::kPositive : Values::kNormal),
                                   count == 65, Alignment::kAligned);
                       }});
    }
    cases.push_back({"unary_forward", CaseKind::kMisaligned, text(name, "_37"), [=](const Subject& s) {
                       run_unary(s, which, hard_values(37, Values::kPositive), false, Alignment::kMisaligned);
                     }});
    cases.push_back(
        {"unary_forward", CaseKind::kEmpty, name, [=](const Subject& s) {
           kernels::unary_forward(s.device, {which, output(s, {0, 3}).view(), output(s, {0, 3}).view()});
         }});
  }
  cases.push_back({"unary_forward", CaseKind::kError, "shapes", [](const Subject& s) {
                     expect_error<InvalidArgument>("unary_forward: x is f32 4 but y is f32 5", [&] {
                       kernels::unary_forward(s.device, {UnaryOp::kAbs, place(s, make_tensor({4}, 1)).view(),
                                                         output(s, {5}).view()});
                     });
                   }});
});

void run_binary(const Subject& s, BinaryOp op, const Tensor& a, const Tensor& b, int in_place,
                Alignment alignment) {
  const Tensor expected(host(), DType::kF32, a.shape(), "expected");
  kernels::binary_forward(s.oracle, {op, a, b, expected});
  const GuardedTensor a_placed = place(s, a, Layout::kDense, alignment);
  const GuardedTensor b_placed = place(s, b, Layout::kDense, alignment);
  const GuardedTensor fresh = output(s, a.shape(), Layout::kDense, alignment);
  const GuardedTensor& y = in_place == 1 ? a_placed : in_place == 2 ? b_placed : fresh;
  kernels::binary_forward(s.device, {op, a_placed.view(), b_placed.view(), y.view()});
  expect_matches(y, expected, 0.0, Zeros::kExpected);  // f64 then f32 rounding of + - * / is correct rounding
}

const RegisterCases binary_cases([](std::vector<Case>& cases) {
  for (const auto& [op, name] : kBinaryOps) {
    const BinaryOp which = op;
    for (const int64_t count : {1, 7, 16, 33, 257, 70001}) {
      cases.push_back({"binary_forward", CaseKind::kSweep, text(name, "_", count), [=](const Subject& s) {
                         run_binary(s, which, hard_values(count, Values::kNormal), make_tensor({count}, 72),
                                    static_cast<int>(count % 3), Alignment::kAligned);
                       }});
    }
    cases.push_back({"binary_forward", CaseKind::kMisaligned, text(name, "_45"), [=](const Subject& s) {
                       run_binary(s, which, make_tensor({45}, 1), make_tensor({45}, 2), 0,
                                  Alignment::kMisaligned);
                     }});
  }
  cases.push_back({"binary_forward", CaseKind::kEmpty, "add", [](const Subject& s) {
                     kernels::binary_forward(s.device, {BinaryOp::kAdd, output(s, {0}).view(),
                                                        output(s, {0}).view(), output(s, {0}).view()});
                   }});
  cases.push_back({"binary_forward", CaseKind::kError, "no_broadcasting", [](const Subject& s) {
                     expect_error<InvalidArgument>("binary_forward: b is f32 4x1 but y is f32 4x5", [&] {
                       kernels::binary_forward(
                           s.device, {BinaryOp::kAdd, output(s, {4, 5}).view(), output(s, {4, 1}).view(),
                                      output(s, {4, 5}).view()});
                     });
                   }});
});

/// `x` converted to `dtype` by the oracle, dense on the host.
Tensor converted(const Subject& s, const Tensor& x, DType dtype) {
  Tensor y(host(), dtype, x.shape(), "converted");
  kernels::convert(s.oracle, {x, y});
  return y;
}

void run_convert_dtype(const Subject& s, const Tensor& x, DType to, Alignment alignment) {
  const Tensor expected = converted(s, x, to);
  const GuardedTensor y = output(s, x.shape(), Layout::kDense, alignment, to);
  kernels::convert(s.device, {place(s, x, Layout::kDense, alignment).view(), y.view()});
  expect_matches(y, expected, 0.0, Zeros::kExpected);
}

constexpr Layout kLayouts[] = {Layout::kDense, Layout::kChannelsLast, Layout::kChannelBlocked16};

/// From a dense tensor of `x`'s dtype to every float in every other layout, and back.
void run_convert_both(const Subject& s, const Tensor& x) {
  for (const DType to : {DType::kF64, DType::kF32, DType::kF16, DType::kBF16}) {
    const Tensor expected = converted(s, x, to);
    for (const Layout layout : {Layout::kChannelsLast, Layout::kChannelBlocked16}) {
      GuardedTensor y(s.device, to, x.shape(), layout);
      kernels::convert(s.device, {place(s, x).view(), y.view()});
      expect_matches(y, expected, 0.0, Zeros::kExpected);
      const GuardedTensor back = output(s, x.shape());
      kernels::convert(s.device, {y.view(), back.view()});
      expect_matches(back, converted(s, expected, DType::kF32), 0.0, Zeros::kExpected);
    }
  }
}

void run_convert_layout(const Subject& s, const Shape& shape, Layout from, Layout to, Alignment alignment) {
  const Tensor x = make_operand(s, shape, 81);
  const GuardedTensor y = output(s, shape, to, alignment);
  kernels::convert(s.device, {place(s, x, from, alignment).view(), y.view()});
  expect_matches(y, x, 0.0);
}

const RegisterCases convert_cases([](std::vector<Case>& cases) {
  const std::vector<DType> floats = {DType::kF64, DType::kF32, DType::kF16, DType::kBF16};
  for (const DType from : floats) {
    for (const DType to : floats) {
      for (const int64_t count : {1, 17, 70003}) {
        cases.push_back({"convert", CaseKind::kSweep,
                         text(dtype_name(from), "_to_", dtype_name(to), "_", count), [=](const Subject& s) {
                           run_convert_dtype(s, converted(s, hard_values(count, Values::kNormal), from), to,
                                             Alignment::kAligned);
                         }});
      }
    }
  }
  for (const DType to : floats) {
    cases.push_back({"convert", CaseKind::kSweep, text("u8_to_", dtype_name(to)), [=](const Subject& s) {
                       Tensor x(host(), DType::kU8, {256}, "bytes");
                       for (int i = 0; i < 256; ++i) x.data<uint8_t>()[i] = static_cast<uint8_t>(i);
                       run_convert_dtype(s, x, to, Alignment::kAligned);
                     }});
    cases.push_back({"convert", CaseKind::kSweep, text("i64_to_", dtype_name(to)), [=](const Subject& s) {
                       const int64_t values[] = {0,          1,     -1,    16777217,        -16777219,
                                                 1000000007, 65519, 65520, 9007199254740991};
                       run_convert_dtype(s, Tensor::from({std::ssize(values)}, values), to,
                                         Alignment::kAligned);
                     }});
    cases.push_back(
        {"convert", CaseKind::kSweep, text("i32_to_", dtype_name(to)), [=](const Subject& s) {
           const int32_t values[] = {0, 1, -1, 16777217, -16777219, 1000000007, INT32_MIN, INT32_MAX};
           run_convert_dtype(s, Tensor::from({std::ssize(values)}, values), to, Alignment::kAligned);
         }});
  }
  for (const Shape& shape : {Shape{1, 1, 1, 1}, Shape{2, 3, 5, 7}, Shape{1, 16, 4, 4}, Shape{2, 17, 9, 8},
                             Shape{3, 64, 7, 7}, Shape{1, 100, 33, 3}}) {
    cases.push_back({"convert", CaseKind::kSweep, text("layout_", shape), [=](const Subject& s) {
                       for (const Layout from : kLayouts)
                         for (const Layout to : kLayouts)
                           run_convert_layout(s, shape, from, to, Alignment::kAligned);
                     }});
  }
  for (const DType from : {DType::kF64, DType::kF32, DType::kF16, DType::kBF16, DType::kU8, DType::kI32}) {
    cases.push_back({"convert", CaseKind::kSweep, text("dtype_and_layout_from_", dtype_name(from)),
                     [=](const Subject& s) {
                       const Shape shape{2, 19, 9, 5};
                       Tensor x(host(), from, shape, "operand");
                       const Tensor values = make_tensor(shape, 82, Values::kSmallIntegers);
                       for (int64_t i = 0; i < shape.numel(); ++i) {
                         const float value = values.data<float>()[i];
                         if (from == DType::kU8) x.data<uint8_t>()[i] = static_cast<uint8_t>(value + 3);
                         if (from == DType::kI32) x.data<int32_t>()[i] = static_cast<int32_t>(value);
                       }
                       if (dtype_is_float(from)) kernels::convert(s.oracle, {make_tensor(shape, 83), x});
                       run_convert_both(s, x);
                     }});
  }
  cases.push_back(
      {"convert", CaseKind::kSweep, "equal_dtypes_keep_their_bits", [](const Subject& s) {
         for (const DType dtype : {DType::kI64, DType::kI32, DType::kI16, DType::kI8, DType::kU8,
                                   DType::kBool, DType::kF16, DType::kF64}) {
           const Shape shape{2, 9, 3, 11};
           const int64_t bytes = shape.numel() * dtype_bytes(dtype);
           Tensor x(host(), dtype, shape, "bits");
           for (int64_t i = 0; i < bytes; ++i)
             static_cast<uint8_t*>(x.view().raw())[i] =
                 static_cast<uint8_t>(dtype == DType::kBool ? i % 3 == 0 : i * 37 + 11);
           for (const Layout layout : kLayouts) {
             const GuardedTensor there(s.device, dtype, shape, layout);
             const GuardedTensor back(s.device, dtype, shape);
             kernels::convert(s.device, {clone_to(x, s.device), there.view()});
             kernels::convert(s.device, {there.view(), back.view()});
             const Tensor result = clone_to(back.view(), host());
             EXPECT_EQ(std::memcmp(x.view().raw(), result.view().raw(), static_cast<size_t>(bytes)), 0)
                 << dtype_name(dtype) << " " << layout_name(layout);
             EXPECT_EQ(there.damage() + back.damage(), "");
           }
         }
       }});
  cases.push_back({"convert", CaseKind::kMisaligned, "dtype_and_layout", [](const Subject& s) {
                     run_convert_dtype(s, make_tensor({77}, 1), DType::kF16, Alignment::kMisaligned);
                     run_convert_dtype(s, converted(s, make_tensor({77}, 1), DType::kBF16), DType::kF32,
                                       Alignment::kMisaligned);
                     run_convert_layout(s, {1, 20, 5, 3}, Layout::kDense, s.device.activation_layout(),
                                        Alignment::kMisaligned);
                     run_convert_layout(s, {1, 20, 5, 3}, s.device.activation_layout(), Layout::kDense,
                                        Alignment::kMisaligned);
                   }});
  cases.push_back({"convert", CaseKind::kEmpty, "no_elements", [](const Subject& s) {
                     kernels::convert(s.device,
                                      {output(s, {0, 3, 2, 2}).view(),
                                       output(s, {0, 3, 2, 2}, s.device.activation_layout()).view()});
                   }});
  cases.push_back(
      {"convert", CaseKind::kError, "pairs_and_shapes", [](const Subject& s) {
         const GuardedTensor x = place(s, make_tensor({4}, 1));
         expect_error<Unsupported>("convert: f32 to u8", [&] {
           kernels::convert(
               s.device, {x.view(), output(s, {4}, Layout::kDense, Alignment::kAligned, DType::kU8).view()});
         });
         expect_error<InvalidArgument>("convert: x is f32 4 but y is f32 5", [&] {
           kernels::convert(s.device, {x.view(), output(s, {5}).view()});
         });
       }});
});

}  // namespace
}  // namespace panda::test
