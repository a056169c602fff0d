#include <cmath>

#include "kernels/conv2d.h"
#include "tests/conformance/suite.h"

namespace panda::test {
namespace {

using kernels::Conv2dFilter;
using kernels::Conv2dForwardArgs;
using kernels::Conv2dGeometry;

struct ConvCase {
  int64_t n, c, h, w, k, r, s, stride, pad;
  bool bias = true;
  bool residual = false;
  bool relu = false;
  bool dense_x = false;  // else the device's activation layout
  bool dense_y = false;
  bool in_place = false;        // the residual is y itself
  bool mixed_residual = false;  // the residual in the layout that y does not have

  [[nodiscard]] Conv2dGeometry geometry() const { return {stride, stride, pad, pad}; }
  [[nodiscard]] Shape y_shape() const {
    return {n, k, Conv2dGeometry::output_extent(h, r, stride, pad),
            Conv2dGeometry::output_extent(w, s, stride, pad)};
  }
  [[nodiscard]] std::string name() const {
    return text("n", n, "_c", c, "_h", h, "_w", w, "_k", k, "_f", r, "x", s, "_stride", stride, "_pad", pad,
                bias ? "_bias" : "",
                residual ? in_place         ? "_residualinplace"
                           : mixed_residual ? "_residualmixed"
                                            : "_residual"
                         : "",
                relu ? "_relu" : "", dense_x ? "_densex" : "", dense_y ? "_densey" : "");
  }
};

/// What the oracle makes of the operands.
Tensor run_oracle(const Subject& subject, const ConvCase& one, const Tensor& x, const Tensor& filter,
                  const Tensor& bias, const Tensor& residual, bool relu) {
  const Conv2dFilter prepared = kernels::conv2d_prepare_filter(subject.oracle, filter, one.geometry());
  Tensor y(host(), DType::kF32, one.y_shape(), "expected");
  kernels::conv2d_forward(subject.oracle, {x, &prepared, bias, residual, y, relu});
  return y;
}

void run_conv(const Subject& subject, const ConvCase& one, Values values = Values::kNormal,
              Alignment alignment = Alignment::kAligned) {
  const Tensor x = make_operand(subject, {one.n, one.c, one.h, one.w}, 21, values);
  const Tensor filter = make_operand(subject, {one.k, one.c, one.r, one.s}, 22, values);
  const Tensor bias = one.bias ? make_tensor({one.k}, 23, values) : Tensor();
  const Tensor residual = one.residual ? make_operand(subject, one.y_shape(), 24, values) : Tensor();
  const Tensor expected = run_oracle(subject, one, x, filter, bias, residual, one.relu);
  const Tensor magnitudes =
      run_oracle(subject, one, absolute(x), absolute(filter), one.bias ? absolute(bias) : Tensor(),
                 one.residual ? absolute(residual) : Tensor(), false);

  const Layout native = subject.device.activation_layout();
  const Layout x_layout = one.dense_x ? Layout::kDense : native;
  const Layout y_layout = one.dense_y ? Layout::kDense : native;
  const GuardedTensor filter_placed = place(subject, filter, Layout::kDense, alignment);
  const Conv2dFilter prepared =
      kernels::conv2d_prepare_filter(subject.device, filter_placed.view(), one.geometry());
  const GuardedTensor x_placed = place(subject, x, x_layout, alignment);
  const GuardedTensor bias_placed =
      place(subject, one.bias ? bias : make_tensor({1}, 1), Layout::kDense, alignment);
  const Layout other_layout = one.dense_y ? native : Layout::kDense;
  const Layout residual_layout = one.mixed_residual ? other_layout : y_layout;
  const GuardedTensor residual_placed =
      one.residual ? place(subject, residual, residual_layout, alignment) : output(subject, {1, 1, 1, 1});
  const GuardedTensor fresh = output(subject, one.y_shape(), y_layout, alignment);
  const GuardedTensor& actual = one.in_place ? residual_placed : fresh;
  const auto run = [&](int64_t begin, int64_t end, const GuardedTensor& y) {
    kernels::conv2d_forward(
        subject.device,
        {x_placed.view().rows(begin, end), &prepared, one.bias ? bias_placed.view() : ConstTensorView(),
         one.residual ? residual_placed.view().rows(begin, end) : ConstTensorView(), y.view(), one.relu});
  };
  // An image's result does not depend on the rest of the batch: the last image alone gives the same bits. It
  // runs first, because the batch may overwrite its residual.
  const GuardedTensor alone = output(subject, {1, one.k, one.y_shape()[2], one.y_shape()[3]}, y_layout);
  if (one.n > 1) run(one.n - 1, one.n, alone);
  run(0, one.n, actual);
  if (one.n > 1 && !subject.batch_changes_bits)
    expect_matches(alone, actual.view().rows(one.n - 1, one.n), 0.0, Zeros::kExpected);

  // A transform-domain algorithm spreads an error over its tile, so the bound of a sum is taken at the
  // largest sum of the image; the 2-norm, which it does not loosen, is bounded beside it.
  std::vector<double> tolerance = sum_tolerance(magnitudes, one.c * one.r * one.s + 2);
  const double largest = largest_magnitude(tolerance);
  for (double& value : tolerance) value = largest;
  tolerance = stored_tolerance(subject, y_layout, expected, std::move(tolerance));
  expect_matches(actual, expected, tolerance, Zeros::kExpected);
  if (largest_magnitude(elements(expected)) > 0) {
    EXPECT_LT(
        relative_error(elements(actual.view()), elements(expected)),
        4e-6 + storage_roundoff(subject, y_layout) + tensor_core_truncation(subject, one.c * one.r * one.s));
  }
  if (values == Values::kSmallIntegers) {
    tolerance.assign(tolerance.size(), 1e-2);  // a wrong term is off by 1 at least
    expect_matches(actual, expected, stored_tolerance(subject, y_layout, expected, std::move(tolerance)),
                   Zeros::kExpected);
  }
  EXPECT_EQ(filter_placed.damage(), "");
}

const RegisterCases conv_cases([](std::vector<Case>& cases) {
  const auto add = [&](CaseKind kind, const ConvCase& one, Values values = Values::kNormal,
                       Alignment alignment = Alignment::kAligned) {
    cases.push_back({"conv2d_forward", kind,
                     one.name() + (values == Values::kSmallIntegers ? "_integers" : ""),
                     [=](const Subject& s) { run_conv(s, one, values, alignment); }});
  };
  const auto sweep = [&](const ConvCase& one) { add(CaseKind::kSweep, one); };
  // The layers of a ResNet, small: stem, 3x3 (stride 1 and 2), 1x1 (stride 1 and 2), with their epilogues.
  sweep({.n = 2,
         .c = 3,
         .h = 37,
         .w = 33,
         .k = 64,
         .r = 7,
         .s = 7,
         .stride = 2,
         .pad = 3,
         .relu = true,
         .dense_x = true});
  sweep({.n = 1, .c = 1, .h = 16, .w = 17, .k = 16, .r = 7, .s = 7, .stride = 2, .pad = 3, .dense_x = true});
  sweep({.n = 1,
         .c = 4,
         .h = 20,
         .w = 20,
         .k = 24,
         .r = 7,
         .s = 7,
         .stride = 2,
         .pad = 3,
         .relu = true,
         .dense_x = true});
  for (const bool residual : {false, true}) {
    sweep({.n = 2,
           .c = 64,
           .h = 14,
           .w = 14,
           .k = 64,
           .r = 3,
           .s = 3,
           .stride = 1,
           .pad = 1,
           .residual = residual,
           .relu = true});
    sweep({.n = 2,
           .c = 64,
           .h = 15,
           .w = 13,
           .k = 96,
           .r = 1,
           .s = 1,
           .stride = 1,
           .pad = 0,
           .residual = residual,
           .relu = true});
  }
  sweep({.n = 2,
         .c = 64,
         .h = 14,
         .w = 14,
         .k = 64,
         .r = 3,
         .s = 3,
         .stride = 1,
         .pad = 1,
         .residual = true,
         .relu = true,
         .in_place = true});
  sweep({.n = 3,
         .c = 128,
         .h = 7,
         .w = 7,
         .k = 64,
         .r = 1,
         .s = 1,
         .stride = 1,
         .pad = 0,
         .residual = true,
         .in_place = true});
  sweep({.n = 2, .c = 64, .h = 15, .w = 15, .k = 128, .r = 3, .s = 3, .stride = 2, .pad = 1, .relu = true});
  sweep({.n = 2, .c = 64, .h = 15, .w = 16, .k = 128, .r = 1, .s = 1, .stride = 2, .pad = 0});
  sweep({.n = 1, .c = 256, .h = 7, .w = 7, .k = 256, .r = 3, .s = 3, .stride = 1, .pad = 1, .relu = true});
  sweep({.n = 1,
         .c = 512,
         .h = 7,
         .w = 7,
         .k = 512,
         .r = 3,
         .s = 3,
         .stride = 1,
         .pad = 1,
         .residual = true,
         .relu = true});
  // Maps around tile extents, down to one pixel.
  for (const int64_t extent : {1, 2, 3, 4, 5, 8, 13, 14, 27, 28, 29}) {
    sweep({.n = 1, .c = 64, .h = extent, .w = extent, .k = 64, .r = 3, .s = 3, .stride = 1, .pad = 1});
    sweep({.n = 1,
           .c = 32,
           .h = extent,
           .w = 1 + extent / 2,
           .k = 48,
           .r = 1,
           .s = 1,
           .stride = 1,
           .pad = 0,
           .relu = true});
    sweep({.n = 2, .c = 16, .h = extent, .w = extent + 1, .k = 32, .r = 3, .s = 3, .stride = 2, .pad = 1});
  }
  // Channels around blocks of 16 and 32.
  for (const int64_t channels : {1, 2, 15, 16, 17, 31, 33, 47, 65, 80}) {
    sweep({.n = 1,
           .c = channels,
           .h = 9,
           .w = 10,
           .k = 33,
           .r = 3,
           .s = 3,
           .stride = 1,
           .pad = 1,
           .relu = true});
    sweep({.n = 1,
           .c = 33,
           .h = 6,
           .w = 7,
           .k = channels,
           .r = 1,
           .s = 1,
           .stride = 1,
           .pad = 0,
           .residual = true});
    sweep({.n = 1,
           .c = channels,
           .h = 8,
           .w = 9,
           .k = channels,
           .r = 3,
           .s = 3,
           .stride = 1,
           .pad = 1,
           .dense_x = true,
           .dense_y = true});
  }
  // Anything else a user may build: even and long filters, large padding and strides, no bias, every layout.
  sweep({.n = 2, .c = 5, .h = 11, .w = 12, .k = 7, .r = 2, .s = 4, .stride = 1, .pad = 1});
  sweep({.n = 1, .c = 8, .h = 9, .w = 30, .k = 19, .r = 1, .s = 9, .stride = 1, .pad = 4, .bias = false});
  sweep({.n = 1, .c = 16, .h = 12, .w = 12, .k = 16, .r = 5, .s = 5, .stride = 3, .pad = 2, .relu = true});
  sweep({.n = 1, .c = 16, .h = 5, .w = 6, .k = 16, .r = 3, .s = 3, .stride = 1, .pad = 4});
  // Filters of 15, and of 16, of which a window's position no longer fits the bits that the GPU keeps of it.
  sweep({.n = 1, .c = 8, .h = 15, .w = 17, .k = 16, .r = 15, .s = 15, .stride = 1, .pad = 1});
  sweep({.n = 1, .c = 8, .h = 3, .w = 16, .k = 16, .r = 1, .s = 16, .stride = 1, .pad = 2});
  sweep({.n = 1, .c = 8, .h = 17, .w = 3, .k = 16, .r = 17, .s = 2, .stride = 1, .pad = 0});
  sweep({.n = 1, .c = 32, .h = 6, .w = 6, .k = 32, .r = 3, .s = 3, .stride = 1, .pad = 0});
  sweep({.n = 1, .c = 64, .h = 10, .w = 9, .k = 64, .r = 3, .s = 3, .stride = 1, .pad = 2, .dense_y = true});
  sweep({.n = 1,
         .c = 6,
         .h = 4,
         .w = 4,
         .k = 10,
         .r = 4,
         .s = 4,
         .stride = 4,
         .pad = 0,
         .bias = false,
         .dense_y = true});
  sweep({.n = 1,
         .c = 32,
         .h = 8,
         .w = 8,
         .k = 32,
         .r = 1,
         .s = 1,
         .stride = 1,
         .pad = 1,
         .residual = true,
         .dense_x = true,
         .dense_y = true});
  // Pixels and output channels around tiles of 64 and 128, whose depth is no whole number of stages.
  for (const int64_t extent : {63, 64, 65, 127, 128, 129}) {
    sweep({.n = 1,
           .c = 40,
           .h = 1,
           .w = extent,
           .k = 192 - extent,
           .r = 1,
           .s = 1,
           .stride = 1,
           .pad = 0,
           .residual = true,
           .relu = true});
    sweep({.n = 1, .c = 16, .h = 3, .w = extent, .k = extent, .r = 1, .s = 3, .stride = 1, .pad = 0});
  }
  // Channels that 16-byte loads take in every precision (8, 24, 72), in f32 alone (4, 12) or in none (6, 7),
  // and of which several taps, or parts of two, share a stage of the depth.
  for (const int64_t channels : {4, 6, 7, 8, 12, 24, 72}) {
    sweep({.n = 3,
           .c = channels,
           .h = 5,
           .w = 7,
           .k = 72,
           .r = 3,
           .s = 3,
           .stride = 1,
           .pad = 1,
           .residual = true});
  }
  // Batches whose images share tiles, and of which one image alone is cut into other tiles.
  sweep({.n = 8, .c = 32, .h = 14, .w = 14, .k = 128, .r = 1, .s = 1, .stride = 1, .pad = 0, .relu = true});
  sweep({.n = 6,
         .c = 16,
         .h = 9,
         .w = 9,
         .k = 136,
         .r = 3,
         .s = 3,
         .stride = 1,
         .pad = 1,
         .residual = true,
         .in_place = true});
  sweep({.n = 5, .c = 3, .h = 17, .w = 15, .k = 24, .r = 7, .s = 7, .stride = 2, .pad = 3, .dense_x = true});
  for (const bool dense_y : {false, true}) {
    sweep({.n = 3,
           .c = 16,
           .h = 5,
           .w = 6,
           .k = 24,
           .r = 3,
           .s = 3,
           .stride = 1,
           .pad = 1,
           .residual = true,
           .dense_y = dense_y,
           .mixed_residual = true});
  }
  add(CaseKind::kSweep, {.n = 2, .c = 64, .h = 9, .w = 11, .k = 64, .r = 3, .s = 3, .stride = 1, .pad = 1},
      Values::kSmallIntegers);
  add(CaseKind::kSweep, {.n = 2, .c = 48, .h = 9, .w = 11, .k = 40, .r = 1, .s = 1, .stride = 1, .pad = 0},
      Values::kSmallIntegers);

  add(CaseKind::kMisaligned,
      {.n = 1, .c = 32, .h = 9, .w = 9, .k = 32, .r = 3, .s = 3, .stride = 1, .pad = 1, .residual = true},
      Values::kNormal, Alignment::kMisaligned);
  add(CaseKind::kMisaligned,
      {.n = 1, .c = 48, .h = 5, .w = 6, .k = 32, .r = 1, .s = 1, .stride = 1, .pad = 0, .relu = true},
      Values::kNormal, Alignment::kMisaligned);
  add(CaseKind::kMisaligned,
      {.n = 1, .c = 3, .h = 19, .w = 21, .k = 32, .r = 7, .s = 7, .stride = 2, .pad = 3, .dense_x = true},
      Values::kNormal, Alignment::kMisaligned);

  cases.push_back(
      {"conv2d_forward", CaseKind::kEmpty, "no_images", [](const Subject& s) {
         const GuardedTensor filter = place(s, make_tensor({4, 3, 3, 3}, 1));
         const Conv2dFilter prepared = kernels::conv2d_prepare_filter(s.device, filter.view(), {1, 1, 1, 1});
         const GuardedTensor y = output(s, {0, 4, 5, 5});
         kernels::conv2d_forward(s.device, {output(s, {0, 3, 5, 5}).view(), &prepared, {}, {}, y.view()});
         EXPECT_EQ(y.damage(), "");
       }});
  cases.push_back(
      {"conv2d_forward", CaseKind::kError, "operands", [](const Subject& s) {
         const GuardedTensor weights = place(s, make_tensor({8, 64, 3, 3}, 1));
         const Conv2dFilter filter = kernels::conv2d_prepare_filter(s.device, weights.view(), {1, 1, 1, 1});
         const GuardedTensor x = place(s, make_tensor({1, 32, 6, 6}, 2));
         const GuardedTensor y = output(s, {1, 8, 6, 6});
         expect_error<InvalidArgument>("conv2d_forward: filter C=64 but input C=32 (x is 1x32x6x6)", [&] {
           kernels::conv2d_forward(s.device, {x.view(), &filter, {}, {}, y.view()});
         });
         const GuardedTensor fit = place(s, make_tensor({1, 64, 6, 6}, 2));
         const GuardedTensor bias = place(s, make_tensor({7}, 2));
         expect_error<InvalidArgument>("conv2d_forward: bias is f32 7, expected 8", [&] {
           kernels::conv2d_forward(s.device, {fit.view(), &filter, bias.view(), {}, y.view()});
         });
         const GuardedTensor small = output(s, {1, 8, 5, 6});
         expect_error<InvalidArgument>("conv2d_forward: y is f32 1x8x5x6, expected 1x8x6x6", [&] {
           kernels::conv2d_forward(s.device, {fit.view(), &filter, {}, {}, small.view()});
         });
         expect_error<InvalidArgument>("conv2d_forward: residual is f32 1x8x5x6, expected 1x8x6x6", [&] {
           kernels::conv2d_forward(s.device, {fit.view(), &filter, {}, small.view(), y.view()});
         });
         expect_error<InvalidArgument>("conv2d_forward: the filter is not prepared", [&] {
           kernels::conv2d_forward(s.device, {fit.view(), nullptr, {}, {}, y.view()});
         });
         const Conv2dFilter foreign =
             kernels::conv2d_prepare_filter(s.oracle, make_tensor({8, 64, 3, 3}, 1).view(), {1, 1, 1, 1});
         expect_error<InvalidArgument>(
             text("conv2d_forward: the filter was prepared for another device than ", s.device.name()), [&] {
               kernels::conv2d_forward(s.device, {fit.view(), &foreign, {}, {}, y.view()});
             });
         const GuardedTensor square = place(s, make_tensor({8, 8, 3, 3}, 1));
         const Conv2dFilter square_filter =
             kernels::conv2d_prepare_filter(s.device, square.view(), {1, 1, 1, 1});
         expect_error<InvalidArgument>("conv2d_forward: y overlaps x", [&] {
           kernels::conv2d_forward(s.device, {y.view(), &square_filter, {}, {}, y.view()});
         });
       }});

  // A prepared filter shows what it holds by what it computes: on unit impulses it gives its own coefficients
  // back.
  const auto impulse = [](const Subject& s, int64_t k, int64_t c, int64_t r, int64_t w, Alignment alignment) {
    const Tensor filter = make_operand(s, {k, c, r, w}, 31);
    const GuardedTensor placed = place(s, filter, Layout::kDense, alignment);
    const Conv2dFilter prepared = kernels::conv2d_prepare_filter(s.device, placed.view(), {1, 1, 0, 0});
    EXPECT_EQ(prepared.k, k);
    EXPECT_EQ(prepared.c, c);
    EXPECT_EQ(prepared.r, r);
    EXPECT_EQ(prepared.s, w);
    EXPECT_EQ(prepared.device, &s.device);
    for (const int64_t channel : {int64_t{0}, c / 2, c - 1}) {
      Tensor x(host(), DType::kF32, {1, c, r, w}, "impulse");
      Tensor expected(host(), DType::kF32, {1, k, 1, 1}, "coefficients");
      for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = 0;
      const int64_t tap = channel * r * w + r * w - 1;
      x.data<float>()[tap] = 1;
      for (int64_t i = 0; i < k; ++i) expected.data<float>()[i] = filter.data<float>()[i * c * r * w + tap];
      const GuardedTensor y = output(s, {1, k, 1, 1}, s.device.activation_layout());
      kernels::conv2d_forward(
          s.device, {place(s, x, s.device.activation_layout()).view(), &prepared, {}, {}, y.view()});
      expect_matches(y, expected, 1e-5);
    }
  };
  for (const auto& [k, c] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {15, 17}, {16, 16}, {33, 64}, {64, 31}, {96, 128}}) {
    for (const int64_t extent : {1, 3, 7}) {
      cases.push_back({"conv2d_prepare_filter", CaseKind::kSweep, text("k", k, "_c", c, "_f", extent),
                       [=](const Subject& s) { impulse(s, k, c, extent, extent, Alignment::kAligned); }});
    }
  }
  cases.push_back({"conv2d_prepare_filter", CaseKind::kMisaligned, "k20_c18_f3",
                   [=](const Subject& s) { impulse(s, 20, 18, 3, 3, Alignment::kMisaligned); }});
  cases.push_back(
      {"conv2d_prepare_filter", CaseKind::kEmpty, "an_empty_filter_is_an_error", [](const Subject& s) {
         const GuardedTensor filter = output(s, {4, 0, 3, 3});
         expect_error<InvalidArgument>(
             "conv2d_prepare_filter: filter is 4x0x3x3, expected extents >= 1",
             [&] { (void)kernels::conv2d_prepare_filter(s.device, filter.view(), {}); });
       }});
  cases.push_back({"conv2d_prepare_filter", CaseKind::kError, "geometry", [](const Subject& s) {
                     const GuardedTensor filter = place(s, make_tensor({4, 3, 3, 3}, 1));
                     expect_error<InvalidArgument>("conv2d_prepare_filter: stride 0x1, expected >= 1", [&] {
                       (void)kernels::conv2d_prepare_filter(s.device, filter.view(), {0, 1, 0, 0});
                     });
                     expect_error<InvalidArgument>("conv2d_prepare_filter: padding 0x-1, expected >= 0", [&] {
                       (void)kernels::conv2d_prepare_filter(s.device, filter.view(), {1, 1, 0, -1});
                     });
                     expect_error<InvalidArgument>("conv2d_prepare_filter: prepared is null", [&] {
                       kernels::conv2d_prepare_filter(s.device, {filter.view(), {}, nullptr});
                     });
                   }});
});

}  // namespace
}  // namespace panda::test
