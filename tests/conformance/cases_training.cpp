// Batch norm in training, folding, and the updates of parameters.
#include <cmath>

#include "kernels/batch_norm.h"
#include "kernels/optimizer.h"
#include "tests/conformance/backward.h"

namespace panda::test {
namespace {

using namespace kernels;

Tensor variance_of(int64_t channels) {
  return make_tensor({channels}, 74, Values::kPositive);
}

BackwardCase evaluation_case(const Shape& x) {
  BackwardCase one;
  const Shape c{x[1]};
  one.inputs = {{make_tensor(x, 71), true},
                {make_tensor(x, 72), true},
                {make_tensor(c, 73)},
                {make_tensor(c, 75)},
                {variance_of(x[1])}};
  one.outputs = {{x, true, 2}, {c, false, x[0] * x[2] * x[3]}, {c, false, x[0] * x[2] * x[3]}};
  one.sum_of_products = false;
  one.call = [](Device& device, const auto& in, const auto& out) {
    batch_norm_backward(device, {in[0], in[1], in[2], in[3], in[4], 1e-5, out[0], out[1], out[2]});
  };
  return one;
}

/// Statistics that belong to x, so that the gradient's terms are those of a real step.
BackwardCase training_case(const Subject& s, const Shape& x) {
  const Shape c{x[1]};
  const Tensor values = make_tensor(x, 71);
  const Tensor y(host(), DType::kF32, x, "y");
  const Tensor mean(host(), DType::kF32, c, "mean");
  const Tensor inverse(host(), DType::kF32, c, "inverse deviation");
  batch_norm_training_forward(s.oracle, {values, {}, {}, 1e-5, y, mean, inverse, {}, {}});
  BackwardCase one;
  one.inputs = {{values, true}, {make_tensor(x, 72), true}, {make_tensor(c, 73)}, {mean}, {inverse}};
  one.outputs = {{x, true, 16}, {c, false, x[0] * x[2] * x[3]}, {c, false, x[0] * x[2] * x[3]}};
  one.sum_of_products = false;
  one.call = [](Device& device, const auto& in, const auto& out) {
    batch_norm_training_backward(device, {in[0], in[1], in[2], in[3], in[4], out[0], out[1], out[2]});
  };
  return one;
}

void run_training_forward(const Subject& s, const Shape& x, bool affine, bool running, bool dense,
                          Alignment alignment) {
  const Shape c{x[1]};
  const Layout layout = dense ? Layout::kDense : s.device.activation_layout();
  const Tensor values = make_operand(s, x, 71);
  const Tensor gamma = make_tensor(c, 73);
  const Tensor beta = make_tensor(c, 75);
  const Tensor running_mean = make_tensor(c, 76);
  const Tensor running_variance = variance_of(x[1]);
  const auto run = [&](Device& device, const ConstTensorView& in, const ConstTensorView& g,
                       const ConstTensorView& b, const TensorView& y, const TensorView& m,
                       const TensorView& i, const TensorView& rm, const TensorView& rv) {
    batch_norm_training_forward(
        device, {in, affine ? g : ConstTensorView(), affine ? b : ConstTensorView(), 1e-5, y, m, i,
                 running ? rm : TensorView(), running ? rv : TensorView(), 0.1});
  };
  const GuardedTensor placed_mean = place(s, running_mean);
  const GuardedTensor placed_variance = place(s, running_variance);
  const GuardedTensor y = output(s, x, layout, alignment);
  const GuardedTensor mean = output(s, c);
  const GuardedTensor inverse = output(s, c);
  run(s.device, place(s, values, layout, alignment).view(), place(s, gamma).view(), place(s, beta).view(),
      y.view(), mean.view(), inverse.view(), placed_mean.view(), placed_variance.view());
  const Tensor expected(host(), DType::kF32, x, "y");
  const Tensor expected_mean(host(), DType::kF32, c, "mean");
  const Tensor expected_inverse(host(), DType::kF32, c, "inverse deviation");
  run(s.oracle, values, gamma, beta, expected, expected_mean, expected_inverse, running_mean,
      running_variance);
  // x * scale + shift in f32: a few roundings of terms up to the largest |x| / deviation.
  const double bound = 8 * 0x1p-24 *
                       (1 + largest_magnitude(elements(expected)) +
                        6 * largest_magnitude(elements(gamma)) *
                            std::min(largest_magnitude(elements(expected_inverse)), 400.0));
  expect_matches(
      y, expected,
      stored_tolerance(s, layout, expected, std::vector<double>(static_cast<size_t>(x.numel()), bound)),
      Zeros::kExpected);
  expect_matches(mean, expected_mean, 0x1p-22, Zeros::kExpected);
  expect_matches(inverse, expected_inverse, 0x1p-22 * largest_magnitude(elements(expected_inverse)));
  expect_matches(placed_mean, running_mean, 0x1p-22);
  expect_matches(placed_variance, running_variance, 0x1p-21);
}

const std::vector<Shape>& image_shapes() {
  static const std::vector<Shape> shapes = {
      {2, 16, 5, 5}, {3, 33, 7, 9}, {2, 1, 3, 1}, {4, 15, 17, 2}, {1, 64, 3, 3}};
  return shapes;
}

const RegisterCases cases_of_batch_norm([](std::vector<Case>& cases) {
  for (const Shape& shape : image_shapes()) {
    for (const bool dense : {false, true}) {
      const std::string name = text(shape, dense ? "_dense" : "");
      cases.push_back({"batch_norm_backward", CaseKind::kSweep, name, [=](const Subject& s) {
                         BackwardCase one = evaluation_case(shape);
                         one.dense = dense;
                         run_backward(s, one);
                       }});
      cases.push_back({"batch_norm_training_backward", CaseKind::kSweep, name, [=](const Subject& s) {
                         BackwardCase one = training_case(s, shape);
                         one.dense = dense;
                         run_backward(s, one);
                       }});
      cases.push_back({"batch_norm_training_forward", CaseKind::kSweep, name, [=](const Subject& s) {
                         run_training_forward(s, shape, true, true, dense, Alignment::kAligned);
                         run_training_forward(s, shape, false, false, dense, Alignment::kAligned);
                       }});
    }
    cases.push_back({"batch_norm_backward", CaseKind::kMisaligned, text(shape), [=](const Subject& s) {
                       run_backward(s, evaluation_case(shape), Alignment::kMisaligned);
                     }});
    cases.push_back(
        {"batch_norm_training_backward", CaseKind::kMisaligned, text(shape),
         [=](const Subject& s) { run_backward(s, training_case(s, shape), Alignment::kMisaligned); }});
    cases.push_back(
        {"batch_norm_training_forward", CaseKind::kMisaligned, text(shape), [=](const Subject& s) {
           run_training_forward(s, shape, true, true, false, Alignment::kMisaligned);
         }});
  }
  cases.push_back({"batch_norm_backward", CaseKind::kEmpty, "no_images_give_zeros", [](const Subject& s) {
                     const GuardedTensor none = output(s, {0, 3, 2, 2});
                     const GuardedTensor c = place(s, variance_of(3));
                     const GuardedTensor sum = output(s, {3});
                     batch_norm_backward(s.device, {none.view(),
                                                    none.view(),
                                                    c.view(),
                                                    c.view(),
                                                    c.view(),
                                                    1e-5,
                                                    {},
                                                    {},
                                                    {sum.view(), GradientMode::kOverwrite}});
                     EXPECT_EQ(largest_magnitude(elements(sum.view())), 0);
                   }});
  cases.push_back({"batch_norm_training_backward", CaseKind::kEmpty, "no_images", [](const Subject& s) {
                     const GuardedTensor none = output(s, {0, 3, 2, 2});
                     const GuardedTensor c = place(s, variance_of(3));
                     batch_norm_training_backward(
                         s.device, {none.view(), none.view(), c.view(), c.view(), c.view(), {}, {}, {}});
                   }});
  cases.push_back(
      {"batch_norm_training_forward", CaseKind::kEmpty, "no_channels_and_no_values", [](const Subject& s) {
         const GuardedTensor none = output(s, {2, 0, 2, 2});
         const GuardedTensor c = output(s, {0});
         batch_norm_training_forward(
             s.device,
             {none.view(), {}, {}, 1e-5, output(s, {2, 0, 2, 2}).view(), c.view(), c.view(), {}, {}});
         const GuardedTensor statistics = output(s, {3});
         expect_error<InvalidArgument>(
             "batch_norm_training_forward: no values to take statistics of (x is 0x3x2x2)", [&] {
               batch_norm_training_forward(s.device, {output(s, {0, 3, 2, 2}).view(),
                                                      {},
                                                      {},
                                                      1e-5,
                                                      output(s, {0, 3, 2, 2}).view(),
                                                      statistics.view(),
                                                      statistics.view(),
                                                      {},
                                                      {}});
             });
       }});
  cases.push_back(
      {"batch_norm_backward", CaseKind::kError, "shape", [](const Subject& s) {
         const GuardedTensor x = place(s, make_tensor({1, 3, 2, 2}, 1));
         const GuardedTensor c = place(s, variance_of(3));
         expect_error<InvalidArgument>("batch_norm_backward: mean is f32 4, expected 3", [&] {
           batch_norm_backward(
               s.device,
               {x.view(), x.view(), c.view(), place(s, variance_of(4)).view(), c.view(), 1e-5, {}, {}, {}});
         });
       }});
  cases.push_back({"batch_norm_training_backward", CaseKind::kError, "aliasing", [](const Subject& s) {
                     const GuardedTensor x = place(s, make_tensor({1, 3, 2, 2}, 1));
                     const GuardedTensor c = place(s, variance_of(3));
                     expect_error<InvalidArgument>("batch_norm_training_backward: dL_dx overlaps x", [&] {
                       batch_norm_training_backward(s.device, {x.view(),
                                                               place(s, make_tensor({1, 3, 2, 2}, 2)).view(),
                                                               c.view(),
                                                               c.view(),
                                                               c.view(),
                                                               {x.view(), GradientMode::kOverwrite},
                                                               {},
                                                               {}});
                     });
                   }});
  cases.push_back({"batch_norm_training_forward", CaseKind::kError, "pairs", [](const Subject& s) {
                     const GuardedTensor x = place(s, make_tensor({1, 3, 2, 2}, 1));
                     const GuardedTensor c = output(s, {3});
                     expect_error<InvalidArgument>(
                         "batch_norm_training_forward: gamma and beta come together or not at all", [&] {
                           batch_norm_training_forward(s.device, {x.view(),
                                                                  c.view(),
                                                                  {},
                                                                  1e-5,
                                                                  output(s, {1, 3, 2, 2}).view(),
                                                                  c.view(),
                                                                  c.view(),
                                                                  {},
                                                                  {}});
                         });
                   }});
});

BackwardCase fold_case(const Shape& filter) {
  BackwardCase one;
  const Shape k{filter[0]};
  one.inputs = {{make_tensor(filter, 81)}, {make_tensor(k, 82)},      {make_tensor(k, 83)},
                {variance_of(filter[0])},  {make_tensor(filter, 84)}, {make_tensor(k, 85)}};
  one.outputs = {{filter}, {k, false, filter[1] * filter[2] * filter[3]}, {k}};
  one.sum_of_products = false;
  one.call = [](Device& device, const auto& in, const auto& out) {
    fold_batch_norm_backward(device,
                             {in[0], in[1], in[2], in[3], 1e-5, in[4], in[5], out[0], out[1], out[2]});
  };
  return one;
}

BackwardCase squares_case(const Shape& filter, int64_t n) {
  BackwardCase one;
  const Shape k{filter[0]};
  one.inputs = {{make_tensor(k, 82)},
                {make_tensor(k, 83)},
                {variance_of(filter[0])},
                {make_tensor(filter, 84, Values::kPositive)},
                {make_tensor({n, filter[0]}, 85)},
                {make_tensor({n, filter[0]}, 86)}};
  one.outputs = {{filter, false, 4}, {k, false, n}, {k, false, n}};
  one.sum_of_products = false;
  one.call = [](Device& device, const auto& in, const auto& out) {
    fold_batch_norm_squares(device, {in[0], in[1], in[2], 1e-5, in[3], in[4], in[5], out[0], out[1], out[2]});
  };
  return one;
}

void run_fold(const Subject& s, const Shape& filter, Alignment alignment) {
  const Shape k{filter[0]};
  const Tensor in[] = {make_tensor(filter, 81), make_tensor(k, 82), make_tensor(k, 83), make_tensor(k, 84),
                       variance_of(filter[0])};
  const Tensor folded(host(), DType::kF32, filter, "filter");
  const Tensor bias(host(), DType::kF32, k, "bias");
  fold_batch_norm_forward(s.oracle, {in[0], in[1], in[2], in[3], in[4], 1e-5, folded, bias});
  const GuardedTensor folded_filter = output(s, filter, Layout::kDense, alignment);
  const GuardedTensor folded_bias = output(s, k, Layout::kDense, alignment);
  const auto at = [&](int i) { return place(s, in[i], Layout::kDense, alignment); };
  fold_batch_norm_forward(s.device, {at(0).view(), at(1).view(), at(2).view(), at(3).view(), at(4).view(),
                                     1e-5, folded_filter.view(), folded_bias.view()});
  expect_matches(folded_filter, folded, 0x1p-23 * largest_magnitude(elements(folded)));
  expect_matches(folded_bias, bias, 0x1p-23 * largest_magnitude(elements(bias)));
}

const RegisterCases cases_of_folding([](std::vector<Case>& cases) {
  for (const Shape& filter : std::vector<Shape>{{1, 1, 1, 1}, {16, 3, 7, 7}, {33, 17, 3, 3}, {5, 64, 1, 1}}) {
    for (const CaseKind kind : {CaseKind::kSweep, CaseKind::kMisaligned}) {
      const Alignment alignment = kind == CaseKind::kSweep ? Alignment::kAligned : Alignment::kMisaligned;
      cases.push_back({"fold_batch_norm_forward", kind, text(filter),
                       [=](const Subject& s) { run_fold(s, filter, alignment); }});
      cases.push_back({"fold_batch_norm_backward", kind, text(filter),
                       [=](const Subject& s) { run_backward(s, fold_case(filter), alignment); }});
      cases.push_back({"fold_batch_norm_squares", kind, text(filter),
                       [=](const Subject& s) { run_backward(s, squares_case(filter, 5), alignment); }});
    }
  }
  cases.push_back({"fold_batch_norm_forward", CaseKind::kEmpty, "no_channels", [](const Subject& s) {
                     const GuardedTensor c = output(s, {0});
                     fold_batch_norm_forward(
                         s.device, {output(s, {0, 3, 1, 1}).view(), c.view(), c.view(), c.view(), c.view(),
                                    1e-5, output(s, {0, 3, 1, 1}).view(), output(s, {0}).view()});
                   }});
  cases.push_back({"fold_batch_norm_backward", CaseKind::kEmpty, "no_channels", [](const Subject& s) {
                     const GuardedTensor c = output(s, {0});
                     const GuardedTensor w = output(s, {0, 3, 1, 1});
                     fold_batch_norm_backward(
                         s.device,
                         {w.view(), c.view(), c.view(), c.view(), 1e-5, w.view(), c.view(), {}, {}, {}});
                   }});
  cases.push_back(
      {"fold_batch_norm_squares", CaseKind::kEmpty, "no_samples_give_zeros", [](const Subject& s) {
         const GuardedTensor c = place(s, variance_of(4));
         const GuardedTensor none = output(s, {0, 4});
         const GuardedTensor sum = output(s, {4});
         fold_batch_norm_squares(s.device, {c.view(),
                                            c.view(),
                                            c.view(),
                                            1e-5,
                                            place(s, make_tensor({4, 2, 1, 1}, 1)).view(),
                                            none.view(),
                                            none.view(),
                                            {},
                                            {sum.view(), GradientMode::kOverwrite},
                                            {}});
         EXPECT_EQ(largest_magnitude(elements(sum.view())), 0);
       }});
  cases.push_back(
      {"fold_batch_norm_forward", CaseKind::kError, "shape", [](const Subject& s) {
         const GuardedTensor w = place(s, make_tensor({4, 2, 1, 1}, 1));
         const GuardedTensor c = place(s, variance_of(4));
         expect_error<InvalidArgument>("fold_batch_norm_forward: folded_bias is f32 5, expected 4", [&] {
           fold_batch_norm_forward(s.device, {w.view(), c.view(), c.view(), c.view(), c.view(), 1e-5,
                                              output(s, {4, 2, 1, 1}).view(), output(s, {5}).view()});
         });
       }});
  cases.push_back({"fold_batch_norm_backward", CaseKind::kError, "shape", [](const Subject& s) {
                     const GuardedTensor w = place(s, make_tensor({4, 2, 1, 1}, 1));
                     const GuardedTensor c = place(s, variance_of(4));
                     expect_error<InvalidArgument>(
                         "fold_batch_norm_backward: dL_dfolded_filter is f32 4x2x1x2, expected 4x2x1x1", [&] {
                           fold_batch_norm_backward(s.device, {w.view(),
                                                               c.view(),
                                                               c.view(),
                                                               c.view(),
                                                               1e-5,
                                                               place(s, make_tensor({4, 2, 1, 2}, 1)).view(),
                                                               c.view(),
                                                               {},
                                                               {},
                                                               {}});
                         });
                   }});
  cases.push_back({"fold_batch_norm_squares", CaseKind::kError, "shape", [](const Subject& s) {
                     const GuardedTensor c = place(s, variance_of(4));
                     expect_error<InvalidArgument>(
                         "fold_batch_norm_squares: per_sample is f32 3x4, expected 2x4", [&] {
                           fold_batch_norm_squares(s.device, {c.view(),
                                                              c.view(),
                                                              c.view(),
                                                              1e-5,
                                                              place(s, make_tensor({4, 2, 1, 1}, 1)).view(),
                                                              place(s, make_tensor({2, 4}, 1)).view(),
                                                              place(s, make_tensor({3, 4}, 1)).view(),
                                                              {},
                                                              {},
                                                              {}});
                         });
                   }});
});

struct Placed {
  Tensor values;  ///< the oracle's copy
  GuardedTensor placed;
};
Placed operand(const Subject& s, const Shape& shape, uint64_t seed, Alignment alignment,
               Values values = Values::kNormal) {
  const Tensor tensor = make_tensor(shape, seed, values);
  return {clone_to(tensor, host()), place(s, tensor, Layout::kDense, alignment)};
}
/// One rounding of the same f64 value, either way at a tie that contraction breaks.
void expect_one_ulp(const Placed& one) {
  expect_matches(one.placed, one.values, 0x1p-23 * largest_magnitude(elements(one.values)));
}
Tensor scalar(Device& device, double value) {
  Tensor tensor(host(), DType::kF64, {1}, "scalar");
  *tensor.data<double>() = value;
  return clone_to(tensor, device);
}
double value_of(const Tensor& tensor) {
  return *clone_to(tensor, host()).data<double>();
}

void run_ewc(const Subject& s, int64_t count, int form, Alignment alignment) {
  const Shape shape{count};
  const Placed gradient = operand(s, shape, 91, alignment);
  const Placed theta = operand(s, shape, 92, alignment);
  const Placed anchor = operand(s, shape, 93, alignment);
  const Placed importance = operand(s, shape, 94, alignment, Values::kPositive);
  const Tensor norms[] = {scalar(s.oracle, 0.5), scalar(s.device, 0.5)};
  const Tensor penalties[] = {scalar(s.oracle, 0.25), scalar(s.device, 0.25)};
  const auto pick = [&](bool there, const ConstTensorView& view) { return there ? view : ConstTensorView(); };
  ewc_gradient(s.oracle, {gradient.values, pick(form > 0, theta.values), pick(form > 0, anchor.values),
                          pick(form > 1, importance.values), 0.7, norms[0], penalties[0]});
  ewc_gradient(s.device, {gradient.placed.view(), pick(form > 0, theta.placed.view()),
                          pick(form > 0, anchor.placed.view()), pick(form > 1, importance.placed.view()), 0.7,
                          norms[1], penalties[1]});
  expect_one_ulp(gradient);
  // A gradient one ulp away moves the norm by that much; the sums themselves are f64.
  EXPECT_NEAR(value_of(norms[1]), value_of(norms[0]), 1e-6 * value_of(norms[0]));
  EXPECT_NEAR(value_of(penalties[1]), value_of(penalties[0]), 1e-12 * value_of(penalties[0]));
  EXPECT_GT(value_of(norms[0]), 0.5);
}

void run_sgd(const Subject& s, int64_t count, bool first, double max_norm, Alignment alignment) {
  const Shape shape{count};
  const Placed theta = operand(s, shape, 91, alignment);
  const Placed velocity = operand(s, shape, 92, alignment);
  const Placed gradient = operand(s, shape, 93, alignment);
  const Tensor norms[] = {scalar(s.oracle, 9.0), scalar(s.device, 9.0)};
  const auto run = [&](Device& device, const TensorView& t, const TensorView& v, const ConstTensorView& g,
                       const Tensor& norm) {
    sgd_update(device, {t, v, g, 0.01, 0.9, 5e-5, first,
                        max_norm > 0 ? ConstTensorView(norm) : ConstTensorView(), max_norm});
  };
  run(s.oracle, theta.values, velocity.values, gradient.values, norms[0]);
  run(s.device, theta.placed.view(), velocity.placed.view(), gradient.placed.view(), norms[1]);
  expect_one_ulp(theta);
  expect_one_ulp(velocity);
}

void run_adam(const Subject& s, int64_t count, int64_t step, Alignment alignment) {
  const Shape shape{count};
  const Placed theta = operand(s, shape, 91, alignment);
  const Placed m = operand(s, shape, 92, alignment);
  const Placed v = operand(s, shape, 93, alignment, Values::kPositive);
  const Placed gradient = operand(s, shape, 94, alignment);
  adam_update(s.oracle,
              {theta.values, m.values, v.values, gradient.values, 0.01, 0.9, 0.999, 1e-8, 1e-3, step});
  adam_update(s.device, {theta.placed.view(), m.placed.view(), v.placed.view(), gradient.placed.view(), 0.01,
                         0.9, 0.999, 1e-8, 1e-3, step});
  expect_one_ulp(theta);
  expect_one_ulp(m);
  expect_one_ulp(v);
}

const RegisterCases cases_of_updates([](std::vector<Case>& cases) {
  for (const int64_t count : {1, 15, 17, 4095, 4096, 4097, 50021}) {
    for (const CaseKind kind : {CaseKind::kSweep, CaseKind::kMisaligned}) {
      const Alignment alignment = kind == CaseKind::kSweep ? Alignment::kAligned : Alignment::kMisaligned;
      cases.push_back({"ewc_gradient", kind, text(count), [=](const Subject& s) {
                         for (const int form : {1, 2}) run_ewc(s, count, form, alignment);
                       }});
      cases.push_back({"sgd_update", kind, text(count), [=](const Subject& s) {
                         run_sgd(s, count, true, 0, alignment);
                         run_sgd(s, count, false, 0.5, alignment);
                         run_sgd(s, count, false, 50, alignment);
                       }});
      cases.push_back({"adam_update", kind, text(count), [=](const Subject& s) {
                         run_adam(s, count, 1, alignment);
                         run_adam(s, count, 1000, alignment);
                       }});
    }
  }
  cases.push_back({"ewc_gradient", CaseKind::kSweep, "norm_alone", [](const Subject& s) {
                     const GuardedTensor gradient = place(s, make_tensor({1000}, 91));
                     const Tensor norm = scalar(s.device, 0);
                     ewc_gradient(s.device, {gradient.view(), {}, {}, {}, 0, norm, {}});
                     double expected = 0;
                     for (const double g : elements(make_tensor({1000}, 91))) expected += g * g;
                     EXPECT_NEAR(value_of(norm), expected, 1e-12 * expected);
                     expect_matches(gradient, make_tensor({1000}, 91), 0.0);
                   }});
  cases.push_back({"ewc_gradient", CaseKind::kEmpty, "nothing", [](const Subject& s) {
                     const Tensor norm = scalar(s.device, 0.5);
                     ewc_gradient(s.device, {output(s, {0}).view(), {}, {}, {}, 0, norm, {}});
                     EXPECT_EQ(value_of(norm), 0.5);
                   }});
  cases.push_back(
      {"sgd_update", CaseKind::kEmpty, "nothing", [](const Subject& s) {
         sgd_update(s.device, {output(s, {0}).view(), output(s, {0}).view(), output(s, {0}).view()});
       }});
  cases.push_back({"adam_update", CaseKind::kEmpty, "nothing", [](const Subject& s) {
                     adam_update(s.device, {output(s, {0}).view(), output(s, {0}).view(),
                                            output(s, {0}).view(), output(s, {0}).view()});
                   }});
  cases.push_back(
      {"ewc_gradient", CaseKind::kError, "anchor", [](const Subject& s) {
         const GuardedTensor g = place(s, make_tensor({4}, 1));
         expect_error<InvalidArgument>("ewc_gradient: importance without an anchor", [&] {
           ewc_gradient(s.device, {g.view(), {}, {}, place(s, make_tensor({4}, 2)).view(), 1, {}, {}});
         });
         expect_error<InvalidArgument>("ewc_gradient: strength -1, expected >= 0", [&] {
           ewc_gradient(s.device, {g.view(), {}, {}, {}, -1, {}, {}});
         });
       }});
  cases.push_back({"sgd_update", CaseKind::kError, "norm_and_shape", [](const Subject& s) {
                     const GuardedTensor a = place(s, make_tensor({4}, 1));
                     const GuardedTensor b = place(s, make_tensor({4}, 2));
                     const GuardedTensor c = place(s, make_tensor({4}, 3));
                     const Tensor norm = scalar(s.device, 1);
                     expect_error<InvalidArgument>("sgd_update: max_norm 0, expected > 0", [&] {
                       sgd_update(s.device, {a.view(), b.view(), c.view(), 1, 0, 0, true, norm, 0});
                     });
                     expect_error<InvalidArgument>("sgd_update: theta overlaps velocity", [&] {
                       sgd_update(s.device, {a.view(), a.view(), c.view()});
                     });
                   }});
  cases.push_back(
      {"adam_update", CaseKind::kError, "step", [](const Subject& s) {
         const GuardedTensor a = place(s, make_tensor({4}, 1));
         const GuardedTensor b = place(s, make_tensor({4}, 2));
         const GuardedTensor c = place(s, make_tensor({4}, 3));
         const GuardedTensor d = place(s, make_tensor({4}, 4));
         expect_error<InvalidArgument>("adam_update: step 0, expected >= 1", [&] {
           adam_update(s.device, {a.view(), b.view(), c.view(), d.view(), 1, 0.9, 0.999, 1e-8, 0, 0});
         });
       }});
});

}  // namespace
}  // namespace panda::test
