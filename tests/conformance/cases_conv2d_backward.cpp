#include "kernels/conv2d_backward.h"
#include "tests/conformance/backward.h"
#include "tests/support/conv_form.h"

namespace panda::test {
namespace {

using kernels::Conv2dTransposedFilter;
using kernels::Gradient;
using kernels::GradientMode;

BackwardCase input_case(const ConvForm& form) {
  BackwardCase one;
  one.inputs = {{make_tensor(form.y(), 31), true}, {make_tensor(form.filter(), 32)}};
  one.outputs = {{form.x(), true, form.k * form.r * form.s + 1}};
  one.spread = true;
  one.dense = form.dense;
  one.call = [form](Device& device, const auto& inputs, const auto& gradients) {
    Conv2dTransposedFilter prepared;
    kernels::conv2d_prepare_transposed_filter(device, {inputs[1], form.geometry(), &prepared});
    kernels::conv2d_backward_input(device, {inputs[0], &prepared, gradients[0]});
  };
  return one;
}

BackwardCase filter_case(const ConvForm& form) {
  BackwardCase one;
  one.inputs = {{make_tensor(form.x(), 33), true}, {make_tensor(form.y(), 34), true}};
  const int64_t pixels = form.y()[2] * form.y()[3];
  // A square doubles the relative error of a sample's sum.
  one.outputs = {{form.filter(), false, form.n * pixels + 1}, {form.filter(), false, 4 * pixels + form.n}};
  one.dense = form.dense;
  one.call = [form](Device& device, const auto& inputs, const auto& gradients) {
    kernels::conv2d_backward_filter(
        device, {inputs[0], inputs[1], form.geometry(), gradients[0], gradients[1], {}, {}});
  };
  return one;
}

/// dots against the oracle's, with and without the gradients beside them.
void run_dots(const Subject& subject, const ConvForm& form) {
  const Tensor x = make_operand(subject, form.x(), 35);
  const Tensor dL_dy = make_operand(subject, form.y(), 36);
  const Tensor filter = make_operand(subject, form.filter(), 37);
  const Tensor expected(host(), DType::kF32, {form.n, form.k}, "expected");
  const Tensor magnitudes(host(), DType::kF32, {form.n, form.k}, "magnitudes");
  kernels::conv2d_backward_filter(subject.oracle, {x, dL_dy, form.geometry(), {}, {}, filter, expected});
  kernels::conv2d_backward_filter(
      subject.oracle, {absolute(x), absolute(dL_dy), form.geometry(), {}, {}, absolute(filter), magnitudes});
  const Layout native = subject.device.activation_layout();
  const GuardedTensor x_placed = place(subject, x, native);
  const GuardedTensor dL_dy_placed = place(subject, dL_dy, native);
  const GuardedTensor filter_placed = place(subject, filter);
  const GuardedTensor dots = output(subject, {form.n, form.k});
  const GuardedTensor squares = output(subject, form.filter());
  kernels::conv2d_backward_filter(subject.device, {x_placed.view(),
                                                   dL_dy_placed.view(),
                                                   form.geometry(),
                                                   {},
                                                   {squares.view(), GradientMode::kOverwrite},
                                                   filter_placed.view(),
                                                   dots.view()});
  expect_matches(dots, expected,
                 sum_tolerance(magnitudes, form.c * form.r * form.s + form.y()[2] * form.y()[3]));
}

std::vector<ConvForm> forms() {
  std::vector<ConvForm> list = {
      // The layers of a ResNet, small.
      {2, 3, 19, 21, 64, 7, 7, 2, 3},
      {2, 32, 14, 14, 64, 3, 3, 1, 1},
      {3, 64, 9, 13, 96, 1, 1, 1, 0},
      {1, 64, 15, 15, 96, 3, 3, 2, 1},
      {2, 32, 14, 14, 64, 3, 3, 2, 1},
      {2, 64, 15, 16, 128, 1, 1, 2, 0},
      {1, 128, 7, 7, 96, 3, 3, 1, 1},
      {1, 256, 7, 7, 64, 1, 1, 1, 0},
      // Anything else a user may build.
      {2, 5, 11, 12, 7, 2, 4, 1, 1},
      {1, 8, 9, 30, 19, 1, 9, 1, 4},
      {2, 16, 12, 13, 16, 5, 5, 3, 2},
      {1, 16, 5, 6, 16, 3, 3, 1, 4},
      {1, 32, 6, 6, 32, 3, 3, 1, 0},
      {1, 6, 9, 9, 10, 4, 4, 4, 0},
      {1, 6, 10, 11, 10, 2, 2, 3, 0},
      {1, 32, 8, 8, 32, 1, 1, 1, 1},
      {2, 33, 8, 7, 18, 3, 3, 2, 0, true},
      {1, 20, 8, 9, 40, 3, 3, 1, 1, true},
      {1, 4, 40, 44, 12, 5, 5, 1, 2},
  };
  for (const int64_t extent : {1, 2, 3, 4, 5, 8, 13, 17}) {
    list.push_back({1, 32, extent, extent, 32, 3, 3, 1, 1});
    list.push_back({2, 16, extent, extent + 1, 32, 3, 3, 2, 1});
  }
  for (const int64_t channels : {1, 2, 15, 16, 17, 31, 34, 47, 65}) {
    list.push_back({2, channels, 5, 6, 33, 3, 3, 1, 1});
    list.push_back({2, 33, 5, 6, channels, 3, 3, 1, 1});
  }
  return list;
}

const RegisterCases cases_of_conv2d_backward([](std::vector<Case>& cases) {
  for (const ConvForm& form : forms()) {
    cases.push_back({"conv2d_backward_input", CaseKind::kSweep, form.name(),
                     [=](const Subject& s) { run_backward(s, input_case(form)); }});
    cases.push_back({"conv2d_backward_filter", CaseKind::kSweep, form.name(),
                     [=](const Subject& s) { run_backward(s, filter_case(form)); }});
  }
  // More images than a GPU wants blocks: two in a group (kernels/cuda/conv2d_backward_filter.cu).
  const ConvForm grouped{265, 3, 2, 3, 5, 2, 2, 1, 1};
  cases.push_back({"conv2d_backward_filter", CaseKind::kSweep, grouped.name(),
                   [=](const Subject& s) { run_backward(s, filter_case(grouped)); }});
  for (const ConvForm& form :
       std::vector<ConvForm>{{2, 40, 6, 7, 33, 3, 3, 1, 1}, {3, 200, 5, 5, 20, 1, 1, 2, 0}}) {
    cases.push_back({"conv2d_backward_filter", CaseKind::kSweep, "dots_" + form.name(),
                     [=](const Subject& s) { run_dots(s, form); }});
  }
  for (const ConvForm& form :
       std::vector<ConvForm>{{1, 20, 6, 7, 18, 3, 3, 1, 1}, {2, 18, 7, 5, 20, 3, 3, 2, 1}}) {
    cases.push_back({"conv2d_backward_input", CaseKind::kMisaligned, form.name(),
                     [=](const Subject& s) { run_backward(s, input_case(form), Alignment::kMisaligned); }});
    cases.push_back({"conv2d_backward_filter", CaseKind::kMisaligned, form.name(),
                     [=](const Subject& s) { run_backward(s, filter_case(form), Alignment::kMisaligned); }});
    cases.push_back({"conv2d_prepare_transposed_filter", CaseKind::kMisaligned, form.name(),
                     [=](const Subject& s) { run_backward(s, input_case(form), Alignment::kMisaligned); }});
  }
  // Prepared again with other coefficients and other extents, as a training step does.
  cases.push_back(
      {"conv2d_prepare_transposed_filter", CaseKind::kSweep, "prepared_again", [](const Subject& s) {
         Conv2dTransposedFilter prepared;
         for (const int64_t c : {32, 32, 16}) {
           const ConvForm form{1, c, 6, 6, 32, 3, 3, 1, 1};
           BackwardCase one = input_case(form);
           one.inputs[1].values = make_tensor(form.filter(), static_cast<uint64_t>(50 + c));
           const auto fresh = one.call;
           one.call = [&, fresh](Device& device, const auto& inputs, const auto& gradients) {
             if (&device != &s.device) return fresh(device, inputs, gradients);
             kernels::conv2d_prepare_transposed_filter(device, {inputs[1], form.geometry(), &prepared});
             kernels::conv2d_backward_input(device, {inputs[0], &prepared, gradients[0]});
           };
           run_backward(s, one);
         }
       }});
  cases.push_back(
      {"conv2d_prepare_transposed_filter", CaseKind::kEmpty, "an_empty_filter_is_an_error",
       [](const Subject& s) {
         Conv2dTransposedFilter prepared;
         const GuardedTensor filter = output(s, {4, 0, 3, 3});
         expect_error<InvalidArgument>(
             "conv2d_prepare_transposed_filter: filter is 4x0x3x3, expected extents >= 1", [&] {
               kernels::conv2d_prepare_transposed_filter(s.device, {filter.view(), {}, &prepared});
             });
       }});
  cases.push_back(
      {"conv2d_prepare_transposed_filter", CaseKind::kError, "geometry", [](const Subject& s) {
         Conv2dTransposedFilter prepared;
         const GuardedTensor filter = place(s, make_tensor({4, 3, 3, 3}, 1));
         expect_error<InvalidArgument>("conv2d_prepare_transposed_filter: stride 0x1, expected >= 1", [&] {
           kernels::conv2d_prepare_transposed_filter(s.device, {filter.view(), {0, 1, 0, 0}, &prepared});
         });
         expect_error<InvalidArgument>("conv2d_prepare_transposed_filter: prepared is null", [&] {
           kernels::conv2d_prepare_transposed_filter(s.device, {filter.view(), {}, nullptr});
         });
       }});
  cases.push_back(
      {"conv2d_backward_input", CaseKind::kEmpty, "no_images_and_no_outputs", [](const Subject& s) {
         const GuardedTensor filter = place(s, make_tensor({4, 3, 3, 3}, 1));
         Conv2dTransposedFilter prepared;
         kernels::conv2d_prepare_transposed_filter(s.device, {filter.view(), {1, 1, 0, 0}, &prepared});
         const GuardedTensor none = output(s, {0, 3, 5, 5});
         kernels::conv2d_backward_input(
             s.device, {output(s, {0, 4, 3, 3}).view(), &prepared, {none.view(), GradientMode::kOverwrite}});
         EXPECT_EQ(none.damage(), "");
         // A filter larger than the image: no output saw the input.
         const GuardedTensor unseen = output(s, {1, 3, 2, 2});
         kernels::conv2d_backward_input(
             s.device,
             {output(s, {1, 4, 0, 0}).view(), &prepared, {unseen.view(), GradientMode::kOverwrite}});
         expect_matches(unseen, make_tensor({1, 3, 2, 2}, 1), 1e30, Zeros::kExpected);
         EXPECT_EQ(largest_magnitude(elements(unseen.view())), 0);
       }});
  cases.push_back(
      {"conv2d_backward_input", CaseKind::kError, "operands", [](const Subject& s) {
         const GuardedTensor filter = place(s, make_tensor({4, 3, 3, 3}, 1));
         Conv2dTransposedFilter prepared;
         kernels::conv2d_prepare_transposed_filter(s.device, {filter.view(), {1, 1, 1, 1}, &prepared});
         const GuardedTensor dL_dy = place(s, make_tensor({1, 4, 5, 5}, 2));
         const GuardedTensor wide = output(s, {1, 3, 6, 5});
         const auto run = [&](const GuardedTensor& dL_dx, const Conv2dTransposedFilter* f) {
           kernels::conv2d_backward_input(s.device,
                                          {dL_dy.view(), f, {dL_dx.view(), GradientMode::kOverwrite}});
         };
         expect_error<InvalidArgument>(
             "conv2d_backward_input: dL_dy is 1x4x5x5, expected 1x4x6x5 for dL_dx 1x3x6x5",
             [&] { run(wide, &prepared); });
         expect_error<InvalidArgument>("conv2d_backward_input: the filter is not prepared",
                                       [&] { run(wide, nullptr); });
         expect_error<InvalidArgument>(
             "conv2d_backward_input: filter takes C=3 to K=4 but dL_dx is 1x4x5x5 and dL_dy 1x4x5x5", [&] {
               run(output(s, {1, 4, 5, 5}), &prepared);
             });
       }});
  cases.push_back({"conv2d_backward_filter", CaseKind::kEmpty, "no_images_give_zeros", [](const Subject& s) {
                     const GuardedTensor dL_dfilter = output(s, {4, 3, 3, 3});
                     kernels::conv2d_backward_filter(s.device, {output(s, {0, 3, 5, 5}).view(),
                                                                output(s, {0, 4, 5, 5}).view(),
                                                                {1, 1, 1, 1},
                                                                {dL_dfilter.view(), GradientMode::kOverwrite},
                                                                {},
                                                                {},
                                                                {}});
                     EXPECT_EQ(dL_dfilter.damage(), "");
                     expect_matches(dL_dfilter, make_tensor({4, 3, 3, 3}, 1), 1e30);
                     EXPECT_EQ(largest_magnitude(elements(dL_dfilter.view())), 0);
                   }});
  cases.push_back(
      {"conv2d_backward_filter", CaseKind::kError, "operands", [](const Subject& s) {
         const GuardedTensor x = place(s, make_tensor({1, 3, 5, 5}, 1));
         const GuardedTensor dL_dy = place(s, make_tensor({1, 4, 5, 4}, 2));
         const GuardedTensor out = output(s, {4, 3, 3, 3});
         const GuardedTensor dots = output(s, {1, 4});
         const Gradient gradient{out.view(), GradientMode::kOverwrite};
         expect_error<InvalidArgument>("conv2d_backward_filter: dL_dy is f32 1x4x5x4, expected 1x4x5x5", [&] {
           kernels::conv2d_backward_filter(s.device,
                                           {x.view(), dL_dy.view(), {1, 1, 1, 1}, gradient, {}, {}, {}});
         });
         expect_error<InvalidArgument>(
             "conv2d_backward_filter: dots and filter come together or not at all", [&] {
               kernels::conv2d_backward_filter(
                   s.device, {x.view(), dL_dy.view(), {1, 1, 1, 1}, gradient, {}, {}, dots.view()});
             });
         expect_error<InvalidArgument>(
             "conv2d_backward_filter: dL_dfilter C=3 but input C=4 (x is 1x4x5x4)", [&] {
               kernels::conv2d_backward_filter(
                   s.device, {dL_dy.view(), dL_dy.view(), {1, 1, 1, 1}, gradient, {}, {}, {}});
             });
       }});
});

BackwardCase bias_case(const Shape& shape) {
  BackwardCase one;
  one.inputs = {{make_tensor(shape, 41), shape.rank() == 4}};
  one.outputs = {{{shape[1]}, false, 1}, {{shape[1]}, false, 2}};
  one.call = [](Device& device, const auto& inputs, const auto& gradients) {
    kernels::bias_backward(device, {inputs[0], gradients[0], gradients[1], {}});
  };
  return one;
}

const RegisterCases cases_of_bias([](std::vector<Case>& cases) {
  for (const Shape& shape : std::vector<Shape>{
           {2, 16, 5, 5}, {3, 33, 7, 9}, {1, 1, 1, 1}, {4, 15, 31, 2}, {5, 17}, {1, 64}, {32, 130}}) {
    cases.push_back({"bias_backward", CaseKind::kSweep, text(shape),
                     [=](const Subject& s) { run_backward(s, bias_case(shape)); }});
    cases.push_back({"bias_backward", CaseKind::kMisaligned, text(shape),
                     [=](const Subject& s) { run_backward(s, bias_case(shape), Alignment::kMisaligned); }});
  }
  cases.push_back({"bias_backward", CaseKind::kSweep, "dense_and_per_sample", [](const Subject& s) {
                     BackwardCase one = bias_case({3, 20, 6, 5});
                     one.dense = true;
                     run_backward(s, one);
                     const Tensor x = make_operand(s, {3, 20, 6, 5}, 42);
                     const Tensor expected(host(), DType::kF32, {3, 20}, "expected");
                     kernels::bias_backward(s.oracle, {x, {}, {}, expected});
                     const GuardedTensor sums = output(s, {3, 20});
                     kernels::bias_backward(
                         s.device, {place(s, x, s.device.activation_layout()).view(), {}, {}, sums.view()});
                     expect_matches(sums, expected, 1e-6);
                   }});
  cases.push_back({"bias_backward", CaseKind::kEmpty, "no_images_give_zeros", [](const Subject& s) {
                     const GuardedTensor sum = output(s, {4});
                     kernels::bias_backward(
                         s.device,
                         {output(s, {0, 4, 2, 2}).view(), {sum.view(), GradientMode::kOverwrite}, {}, {}});
                     EXPECT_EQ(largest_magnitude(elements(sum.view())), 0);
                     EXPECT_EQ(sum.damage(), "");
                   }});
  cases.push_back({"bias_backward", CaseKind::kError, "shape", [](const Subject& s) {
                     const GuardedTensor sum = output(s, {5});
                     expect_error<InvalidArgument>("bias_backward: dL_dbias is f32 5, expected 4", [&] {
                       kernels::bias_backward(s.device, {place(s, make_tensor({2, 4, 2, 2}, 1)).view(),
                                                         {sum.view(), GradientMode::kOverwrite},
                                                         {},
                                                         {}});
                     });
                   }});
});

}  // namespace
}  // namespace panda::test
