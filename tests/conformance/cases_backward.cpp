// Gradients of pooling, enlarging, element-wise functions and losses.
#include <cmath>

#include "kernels/elementwise.h"
#include "kernels/loss.h"
#include "kernels/pool2d.h"
#include "tests/conformance/backward.h"

namespace panda::test {
namespace {

using kernels::Gradient;
using kernels::GradientMode;
using kernels::Pool2dGeometry;
using kernels::UnaryOp;

using PoolBackward = void (*)(Device&, const kernels::Pool2dBackwardArgs&);

int64_t pooled(int64_t input, int64_t window, int64_t stride, int64_t pad) {
  return (input + 2 * pad - window) / stride + 1;
}

BackwardCase pool_case(const Subject& s, PoolBackward pool, bool max, const Shape& x, const Pool2dGeometry& g,
                       Values values) {
  const Shape y{x[0], x[1], pooled(x[2], g.window_h, g.stride_h, g.pad_h),
                pooled(x[3], g.window_w, g.stride_w, g.pad_w)};
  BackwardCase one;
  // The maximum's x is not made absolute for the magnitudes: it only chooses. It travels as the closure's own
  // operand.
  const Tensor chosen = make_operand(s, x, 51, values);
  one.inputs = {{make_tensor(y, 52), true}};
  one.outputs = {{x, true, g.window_h * g.window_w}};
  one.call = [=](Device& device, const auto& inputs, const auto& gradients) {
    const Layout layout = inputs[0].layout();
    Tensor placed(device, inputs[0].dtype(), x, "x", layout);
    kernels::convert(device, {clone_to(chosen, device), placed});
    pool(device, {max ? ConstTensorView(placed) : ConstTensorView(), inputs[0], g, gradients[0]});
  };
  return one;
}

void add_pool_cases(std::vector<Case>& cases, const std::string& kernel, PoolBackward pool, bool max) {
  const auto add = [&](CaseKind kind, const Shape& x, const Pool2dGeometry& g, bool dense = false,
                       Values values = Values::kNormal) {
    cases.push_back(
        {kernel, kind,
         text(x, "_window", g.window_h, "x", g.window_w, "_stride", g.stride_h, "_pad", g.pad_h,
              dense ? "_dense" : "", values == Values::kSmallIntegers ? "_ties" : ""),
         [=](const Subject& s) {
           BackwardCase one = pool_case(s, pool, max, x, g, values);
           one.dense = dense;
           run_backward(s, one, kind == CaseKind::kMisaligned ? Alignment::kMisaligned : Alignment::kAligned);
         }});
  };
  const Pool2dGeometry stem{3, 3, 2, 2, 1, 1};
  for (const int64_t extent : {1, 2, 3, 7, 8, 17}) {
    add(CaseKind::kSweep, {2, 32, extent, extent + 2}, stem);
    add(CaseKind::kSweep, {1, 19, extent, extent}, stem, true);
  }
  add(CaseKind::kSweep, {2, 16, 9, 10}, stem, false, Values::kSmallIntegers);
  add(CaseKind::kSweep, {3, 17, 9, 10}, {2, 2, 2, 2, 0, 0});
  add(CaseKind::kSweep, {1, 16, 9, 10}, {2, 3, 1, 2, 1, 2});
  add(CaseKind::kSweep, {1, 5, 13, 13}, {5, 5, 1, 1, 2, 2});
  add(CaseKind::kSweep, {1, 5, 9, 8}, {2, 2, 3, 3, 0, 0});
  add(CaseKind::kMisaligned, {1, 18, 7, 9}, stem);
  cases.push_back({kernel, CaseKind::kEmpty, "no_images", [=](const Subject& s) {
                     const GuardedTensor none = output(s, {0, 4, 4, 4});
                     pool(s.device, {none.view(),
                                     output(s, {0, 4, 2, 2}).view(),
                                     {2, 2, 2, 2, 0, 0},
                                     {none.view(), GradientMode::kOverwrite}});
                     EXPECT_EQ(none.damage(), "");
                   }});
  cases.push_back({kernel, CaseKind::kError, "shape", [=](const Subject& s) {
                     const GuardedTensor x = place(s, make_tensor({1, 2, 4, 4}, 1));
                     const GuardedTensor dL_dx = output(s, {1, 2, 4, 4});
                     expect_error<InvalidArgument>(kernel + ": dL_dy is f32 1x2x2x3, expected 1x2x2x2", [&] {
                       pool(s.device, {x.view(),
                                       place(s, make_tensor({1, 2, 2, 3}, 2)).view(),
                                       {2, 2, 2, 2, 0, 0},
                                       {dL_dx.view(), GradientMode::kOverwrite}});
                     });
                   }});
}

const RegisterCases cases_of_pooling([](std::vector<Case>& cases) {
  add_pool_cases(cases, "max_pool2d_backward", kernels::max_pool2d_backward, true);
  add_pool_cases(cases, "avg_pool2d_backward", kernels::avg_pool2d_backward, false);

  const auto global = [](const Shape& x, bool dense) {
    BackwardCase one;
    one.inputs = {{make_tensor({x[0], x[1]}, 53)}};
    one.outputs = {{x, true, 1}};
    one.dense = dense;
    one.call = [](Device& device, const auto& inputs, const auto& gradients) {
      kernels::global_avg_pool2d_backward(device, {inputs[0], gradients[0]});
    };
    return one;
  };
  for (const Shape& x : std::vector<Shape>{{2, 32, 7, 7}, {1, 17, 3, 2}, {3, 1, 1, 1}, {2, 15, 5, 6}}) {
    for (const bool dense : {false, true}) {
      cases.push_back({"global_avg_pool2d_backward", CaseKind::kSweep, text(x, dense ? "_dense" : ""),
                       [=](const Subject& s) { run_backward(s, global(x, dense)); }});
    }
    cases.push_back({"global_avg_pool2d_backward", CaseKind::kMisaligned, text(x),
                     [=](const Subject& s) { run_backward(s, global(x, false), Alignment::kMisaligned); }});
  }
  cases.push_back({"global_avg_pool2d_backward", CaseKind::kEmpty, "no_images", [](const Subject& s) {
                     const GuardedTensor none = output(s, {0, 4, 2, 2});
                     kernels::global_avg_pool2d_backward(
                         s.device, {output(s, {0, 4}).view(), {none.view(), GradientMode::kOverwrite}});
                     EXPECT_EQ(none.damage(), "");
                   }});
  cases.push_back(
      {"global_avg_pool2d_backward", CaseKind::kError, "shape", [](const Subject& s) {
         const GuardedTensor dL_dx = output(s, {1, 4, 2, 2});
         expect_error<InvalidArgument>("global_avg_pool2d_backward: dL_dy is f32 1x5, expected 1x4", [&] {
           kernels::global_avg_pool2d_backward(
               s.device, {place(s, make_tensor({1, 5}, 1)).view(), {dL_dx.view(), GradientMode::kOverwrite}});
         });
       }});
});

const RegisterCases cases_of_upsampling([](std::vector<Case>& cases) {
  const auto gradient = [](const Shape& x, int64_t scale_h, int64_t scale_w, bool dense) {
    BackwardCase one;
    one.inputs = {{make_tensor({x[0], x[1], x[2] * scale_h, x[3] * scale_w}, 54), true}};
    one.outputs = {{x, true, scale_h * scale_w}};
    one.dense = dense;
    one.call = [=](Device& device, const auto& inputs, const auto& gradients) {
      kernels::upsample_nearest2d_backward(device, {inputs[0], scale_h, scale_w, gradients[0]});
    };
    return one;
  };
  const auto forward = [](const Subject& s, const Shape& x, int64_t scale_h, int64_t scale_w, Layout layout,
                          Alignment alignment) {
    const Tensor values = make_operand(s, x, 55);
    const Shape y_shape{x[0], x[1], x[2] * scale_h, x[3] * scale_w};
    const Tensor expected(host(), DType::kF32, y_shape, "expected");
    kernels::upsample_nearest2d_forward(s.oracle, {values, scale_h, scale_w, expected});
    const GuardedTensor y = output(s, y_shape, layout, alignment);
    kernels::upsample_nearest2d_forward(
        s.device, {place(s, values, layout, alignment).view(), scale_h, scale_w, y.view()});
    expect_matches(y, expected, 0.0);
  };
  for (const Shape& x : std::vector<Shape>{{2, 32, 4, 4}, {1, 17, 3, 5}, {1, 1, 1, 1}}) {
    for (const int64_t scale : {1, 2, 3}) {
      const std::string name = text(x, "_scale", scale);
      cases.push_back({"upsample_nearest2d_backward", CaseKind::kSweep, name,
                       [=](const Subject& s) { run_backward(s, gradient(x, scale, 2, scale == 3)); }});
      cases.push_back({"upsample_nearest2d_backward", CaseKind::kMisaligned, name, [=](const Subject& s) {
                         run_backward(s, gradient(x, scale, 2, false), Alignment::kMisaligned);
                       }});
      cases.push_back({"upsample_nearest2d_forward", CaseKind::kSweep, name, [=](const Subject& s) {
                         forward(s, x, scale, 2, s.device.activation_layout(), Alignment::kAligned);
                         forward(s, x, 2, scale, Layout::kDense, Alignment::kAligned);
                       }});
      cases.push_back({"upsample_nearest2d_forward", CaseKind::kMisaligned, name, [=](const Subject& s) {
                         forward(s, x, scale, 2, s.device.activation_layout(), Alignment::kMisaligned);
                       }});
    }
  }
  cases.push_back(
      {"upsample_nearest2d_forward", CaseKind::kEmpty, "no_images", [](const Subject& s) {
         const GuardedTensor y = output(s, {0, 3, 4, 4});
         kernels::upsample_nearest2d_forward(s.device, {output(s, {0, 3, 2, 2}).view(), 2, 2, y.view()});
         EXPECT_EQ(y.damage(), "");
       }});
  cases.push_back({"upsample_nearest2d_backward", CaseKind::kEmpty, "no_images", [](const Subject& s) {
                     const GuardedTensor none = output(s, {0, 3, 2, 2});
                     kernels::upsample_nearest2d_backward(
                         s.device,
                         {output(s, {0, 3, 4, 4}).view(), 2, 2, {none.view(), GradientMode::kOverwrite}});
                     EXPECT_EQ(none.damage(), "");
                   }});
  cases.push_back(
      {"upsample_nearest2d_forward", CaseKind::kError, "scale", [](const Subject& s) {
         const GuardedTensor x = place(s, make_tensor({1, 3, 2, 2}, 1));
         const GuardedTensor y = output(s, {1, 3, 4, 5});
         expect_error<InvalidArgument>("upsample_nearest2d_forward: scale 0x2, expected >= 1", [&] {
           kernels::upsample_nearest2d_forward(s.device, {x.view(), 0, 2, y.view()});
         });
         expect_error<InvalidArgument>("upsample_nearest2d_forward: y is f32 1x3x4x5, expected 1x3x4x4", [&] {
           kernels::upsample_nearest2d_forward(s.device, {x.view(), 2, 2, y.view()});
         });
       }});
  cases.push_back({"upsample_nearest2d_backward", CaseKind::kError, "shape", [](const Subject& s) {
                     const GuardedTensor dL_dx = output(s, {1, 3, 2, 2});
                     expect_error<InvalidArgument>(
                         "upsample_nearest2d_backward: dL_dy is f32 1x3x4x5, expected 1x3x4x4", [&] {
                           kernels::upsample_nearest2d_backward(
                               s.device, {place(s, make_tensor({1, 3, 4, 5}, 1)).view(),
                                          2,
                                          2,
                                          {dL_dx.view(), GradientMode::kOverwrite}});
                         });
                   }});
});

BackwardCase unary_case(UnaryOp op, const Shape& shape) {
  BackwardCase one;
  const Tensor x = make_tensor(shape, 56);
  const Tensor y(host(), DType::kF32, shape, "y");
  for (int64_t i = 0; i < x.numel(); ++i) {
    // Outputs of the operation: (0, 1) for the sigmoid, above -slope for elu.
    const float value = x.data<float>()[i];
    y.data<float>()[i] = op == UnaryOp::kSigmoid || op == UnaryOp::kExp ? 1 / (1 + value * value)
                         : op == UnaryOp::kElu && value < -0.49f        ? -0.49f
                                                                        : value;
  }
  one.inputs = {{y, shape.rank() == 4}, {make_tensor(shape, 57), shape.rank() == 4}};
  one.outputs = {{shape, shape.rank() == 4, 4}};
  one.sum_of_products = false;
  one.call = [=](Device& device, const auto& inputs, const auto& gradients) {
    kernels::unary_backward(device, {op, inputs[0], inputs[1], gradients[0], 0.5});
  };
  return one;
}

const RegisterCases cases_of_unary([](std::vector<Case>& cases) {
  constexpr std::pair<UnaryOp, const char*> kOps[] = {{UnaryOp::kRelu, "relu"},
                                                      {UnaryOp::kLeakyRelu, "leaky_relu"},
                                                      {UnaryOp::kElu, "elu"},
                                                      {UnaryOp::kSigmoid, "sigmoid"},
                                                      {UnaryOp::kExp, "exp"}};
  for (const auto& [op, name] : kOps) {
    const UnaryOp which = op;
    for (const Shape& shape : std::vector<Shape>{{1}, {15}, {17}, {65}, {70001}, {2, 17, 3, 5}}) {
      cases.push_back({"unary_backward", CaseKind::kSweep, text(name, "_", shape), [=](const Subject& s) {
                         BackwardCase one = unary_case(which, shape);
                         one.dense = storage_roundoff(s, s.device.activation_layout()) > 0;  // f32 alone
                         run_backward(s, one);
                       }});
    }
    cases.push_back({"unary_backward", CaseKind::kMisaligned, name, [=](const Subject& s) {
                       run_backward(s, unary_case(which, {37}), Alignment::kMisaligned);
                     }});
  }
  cases.push_back({"unary_backward", CaseKind::kSweep, "in_place", [](const Subject& s) {
                     const GuardedTensor y = place(s, make_tensor({100}, 1));
                     const GuardedTensor dL_dy = place(s, make_tensor({100}, 2));
                     const Tensor expected(host(), DType::kF32, {100}, "expected");
                     kernels::unary_backward(s.oracle, {UnaryOp::kRelu,
                                                        make_tensor({100}, 1),
                                                        make_tensor({100}, 2),
                                                        {expected, GradientMode::kOverwrite}});
                     kernels::unary_backward(
                         s.device,
                         {UnaryOp::kRelu, y.view(), dL_dy.view(), {dL_dy.view(), GradientMode::kOverwrite}});
                     expect_matches(dL_dy, expected, 0.0);
                   }});
  cases.push_back({"unary_backward", CaseKind::kEmpty, "nothing", [](const Subject& s) {
                     kernels::unary_backward(s.device, {UnaryOp::kRelu,
                                                        output(s, {0}).view(),
                                                        output(s, {0}).view(),
                                                        {output(s, {0}).view(), GradientMode::kOverwrite}});
                   }});
  cases.push_back(
      {"unary_backward", CaseKind::kError, "operation_and_slope", [](const Subject& s) {
         const GuardedTensor y = place(s, make_tensor({4}, 1));
         const GuardedTensor out = output(s, {4});
         const Gradient gradient{out.view(), GradientMode::kOverwrite};
         expect_error<InvalidArgument>(
             "unary_backward: the operation's gradient cannot be had from its output alone", [&] {
               kernels::unary_backward(s.device, {UnaryOp::kSquare, y.view(), y.view(), gradient});
             });
         expect_error<InvalidArgument>("unary_backward: slope 0, expected > 0", [&] {
           kernels::unary_backward(s.device, {UnaryOp::kElu, y.view(), y.view(), gradient, 0.0});
         });
       }});
});

Tensor labels_of(int64_t n, int64_t classes) {
  Tensor labels(host(), DType::kI64, {n}, "labels");
  for (int64_t i = 0; i < n; ++i) labels.data<int64_t>()[i] = (i * 7 + 3) % classes;
  return labels;
}

/// losses[n] of a forward kernel against the oracle's.
template <typename Forward>
void run_loss(const Subject& s, int64_t n, const std::vector<Tensor>& inputs, Alignment alignment,
              Forward forward) {
  const Tensor expected(host(), DType::kF32, {n}, "expected");
  std::vector<ConstTensorView> views;
  for (const Tensor& input : inputs) views.push_back(input);
  forward(s.oracle, views, expected.view());
  std::vector<GuardedTensor> placed;
  for (const Tensor& input : inputs) placed.push_back(place(s, input, Layout::kDense, alignment));
  for (size_t i = 0; i < placed.size(); ++i) views[i] = placed[i].view();
  const GuardedTensor losses = output(s, {n}, Layout::kDense, alignment);
  forward(s.device, views, losses.view());
  std::vector<double> tolerance = elements(expected);
  for (double& value : tolerance)
    value = 2 * 0x1p-24 * std::abs(value);  // f64 inside: one rounding, either way
  expect_matches(losses, expected, tolerance);
}

/// Its gradient: dL_dlosses last among the inputs.
template <typename Backward>
BackwardCase loss_case(std::vector<Tensor> inputs, const Shape& shape, Backward backward) {
  BackwardCase one;
  const int64_t n = shape[0];
  for (const Tensor& input : inputs) one.inputs.push_back({input});
  one.inputs.push_back({make_tensor({n}, 63)});
  one.outputs = {{shape, false, 1}};
  one.sum_of_products = false;
  one.call = backward;
  return one;
}

struct LossForms {
  std::function<void(const Subject&, int64_t, int64_t, Alignment)> forward;
  std::function<BackwardCase(int64_t, int64_t)> backward;
};

void add_loss_cases(std::vector<Case>& cases, const std::string& name, const LossForms& forms) {
  for (const auto& [n, d] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {2, 3}, {5, 17}, {32, 512}, {3, 1000}}) {
    const int64_t rows = n;
    const int64_t width = d;
    for (const CaseKind kind : {CaseKind::kSweep, CaseKind::kMisaligned}) {
      const Alignment alignment = kind == CaseKind::kSweep ? Alignment::kAligned : Alignment::kMisaligned;
      cases.push_back({name + "_forward", kind, text("n", n, "_d", d),
                       [=](const Subject& s) { forms.forward(s, rows, width, alignment); }});
      cases.push_back({name + "_backward", kind, text("n", n, "_d", d),
                       [=](const Subject& s) { run_backward(s, forms.backward(rows, width), alignment); }});
    }
  }
}

const RegisterCases cases_of_losses([](std::vector<Case>& cases) {
  using namespace kernels;
  add_loss_cases(cases, "softmax_cross_entropy",
                 {[](const Subject& s, int64_t n, int64_t d, Alignment alignment) {
                    if (d == 1) return;  // the loss of one class is 0: covered by unit tests
                    run_loss(s, n, {make_tensor({n, d}, 61), labels_of(n, d)}, alignment,
                             [](Device& device, const auto& in, const TensorView& losses) {
                               softmax_cross_entropy_forward(device, {in[0], in[1], 0.1, 0.5, losses});
                             });
                  },
                  [](int64_t n, int64_t d) {
                    return loss_case(
                        {make_tensor({n, d}, 61), labels_of(n, d)}, {n, d},
                        [](Device& device, const auto& in, const auto& out) {
                          softmax_cross_entropy_backward(device, {in[0], in[1], in[2], 0.1, 0.5, out[0]});
                        });
                  }});
  add_loss_cases(cases, "logistic_loss",
                 {[](const Subject& s, int64_t n, int64_t d, Alignment alignment) {
                    run_loss(s, n * d,
                             {make_tensor({n * d}, 61), make_tensor({n * d}, 62, Values::kPositive)},
                             alignment, [](Device& device, const auto& in, const TensorView& losses) {
                               logistic_loss_forward(device, {in[0], in[1], 2.0, losses});
                             });
                  },
                  [](int64_t n, int64_t d) {
                    return loss_case({make_tensor({n * d}, 61), make_tensor({n * d}, 62, Values::kPositive)},
                                     {n * d}, [](Device& device, const auto& in, const auto& out) {
                                       logistic_loss_backward(device, {in[0], in[1], in[2], 2.0, out[0]});
                                     });
                  }});
  add_loss_cases(cases, "compactness",
                 {[](const Subject& s, int64_t n, int64_t d, Alignment alignment) {
                    run_loss(s, n, {make_tensor({n, d}, 61), make_tensor({d}, 62)}, alignment,
                             [](Device& device, const auto& in, const TensorView& losses) {
                               compactness_forward(device, {in[0], in[1], 0.25, losses});
                             });
                  },
                  [](int64_t n, int64_t d) {
                    return loss_case({make_tensor({n, d}, 61), make_tensor({d}, 62)}, {n, d},
                                     [](Device& device, const auto& in, const auto& out) {
                                       compactness_backward(device, {in[0], in[1], in[2], 0.25, out[0]});
                                     });
                  }});
  const auto empty = [&](const char* kernel, const std::function<void(const Subject&)>& run) {
    cases.push_back({kernel, CaseKind::kEmpty, "no_rows", run});
  };
  empty("softmax_cross_entropy_forward", [](const Subject& s) {
    softmax_cross_entropy_forward(
        s.device,
        {output(s, {0, 3}).view(), output(s, {0}, Layout::kDense, Alignment::kAligned, DType::kI64).view(), 0,
         1, output(s, {0}).view()});
  });
  empty("softmax_cross_entropy_backward", [](const Subject& s) {
    softmax_cross_entropy_backward(s.device,
                                   {output(s, {0, 3}).view(),
                                    output(s, {0}, Layout::kDense, Alignment::kAligned, DType::kI64).view(),
                                    output(s, {0}).view(),
                                    0,
                                    1,
                                    {output(s, {0, 3}).view(), GradientMode::kOverwrite}});
  });
  empty("logistic_loss_forward", [](const Subject& s) {
    logistic_loss_forward(s.device, {output(s, {0}).view(), output(s, {0}).view(), 1, output(s, {0}).view()});
  });
  empty("logistic_loss_backward", [](const Subject& s) {
    logistic_loss_backward(s.device, {output(s, {0}).view(),
                                      output(s, {0}).view(),
                                      output(s, {0}).view(),
                                      1,
                                      {output(s, {0}).view(), GradientMode::kOverwrite}});
  });
  empty("compactness_forward", [](const Subject& s) {
    compactness_forward(s.device,
                        {output(s, {0, 3}).view(), output(s, {3}).view(), 1, output(s, {0}).view()});
  });
  empty("compactness_backward", [](const Subject& s) {
    compactness_backward(s.device, {output(s, {0, 3}).view(),
                                    output(s, {3}).view(),
                                    output(s, {0}).view(),
                                    1,
                                    {output(s, {0, 3}).view(), GradientMode::kOverwrite}});
  });
});

const RegisterCases errors_of_losses([](std::vector<Case>& cases) {
  using namespace kernels;
  const auto add = [&](const std::string& kernel, bool backward) {
    const auto run = [=](const Subject& s, const Tensor& labels, double smoothing, const GuardedTensor& out) {
      const GuardedTensor logits = place(s, make_tensor({3, 4}, 1));
      const GuardedTensor placed = place(s, labels);
      const GuardedTensor weights = place(s, make_tensor({3}, 2));
      if (backward) {
        softmax_cross_entropy_backward(s.device, {logits.view(), placed.view(), weights.view(), smoothing, 1,
                                                  Gradient{out.view(), GradientMode::kOverwrite}});
      } else {
        softmax_cross_entropy_forward(s.device, {logits.view(), placed.view(), smoothing, 1, out.view()});
      }
    };
    const Shape shape = backward ? Shape{3, 4} : Shape{3};
    cases.push_back({kernel, CaseKind::kError, "smoothing", [=](const Subject& s) {
                       expect_error<InvalidArgument>(kernel + ": smoothing 1, expected 0 <= smoothing < 1",
                                                     [&] { run(s, labels_of(3, 4), 1, output(s, shape)); });
                     }});
    for (const int64_t wrong : {int64_t{4}, int64_t{-1}, INT64_MAX, INT64_MIN}) {
      cases.push_back({kernel, CaseKind::kSweep, text("label_", wrong, "_gives_nan"), [=](const Subject& s) {
                         Tensor labels = labels_of(3, 4);
                         const GuardedTensor right = output(s, shape);
                         run(s, labels, 0.1, right);
                         labels.data<int64_t>()[1] = wrong;
                         const GuardedTensor out = output(s, shape);
                         run(s, labels, 0.1, out);
                         EXPECT_EQ(out.damage(), "");
                         const std::vector<double> expected = elements(right.view());
                         const std::vector<double> values = elements(out.view());
                         for (size_t i = 0; i < values.size(); ++i) {
                           const size_t row = backward ? i / 4 : i;
                           EXPECT_EQ(std::isnan(values[i]), row == 1) << i;
                           if (row != 1) {
                             EXPECT_EQ(values[i], expected[i]) << i;
                           }
                         }
                       }});
    }
  };
  add("softmax_cross_entropy_forward", false);
  add("softmax_cross_entropy_backward", true);
  cases.push_back(
      {"logistic_loss_forward", CaseKind::kError, "shape", [](const Subject& s) {
         const GuardedTensor z = place(s, make_tensor({3}, 1));
         expect_error<InvalidArgument>("logistic_loss_forward: targets is f32 4, expected 3", [&] {
           logistic_loss_forward(s.device,
                                 {z.view(), place(s, make_tensor({4}, 1)).view(), 1, output(s, {3}).view()});
         });
       }});
  cases.push_back({"logistic_loss_backward", CaseKind::kError, "shape", [](const Subject& s) {
                     const GuardedTensor z = place(s, make_tensor({3}, 1));
                     const GuardedTensor out = output(s, {3});
                     expect_error<InvalidArgument>(
                         "logistic_loss_backward: dL_dlosses is f32 4, expected 3", [&] {
                           logistic_loss_backward(s.device, {z.view(),
                                                             z.view(),
                                                             place(s, make_tensor({4}, 1)).view(),
                                                             1,
                                                             {out.view(), GradientMode::kOverwrite}});
                         });
                   }});
  cases.push_back({"compactness_forward", CaseKind::kError, "center", [](const Subject& s) {
                     expect_error<InvalidArgument>("compactness_forward: center is f32 4, expected 3", [&] {
                       compactness_forward(s.device,
                                           {place(s, make_tensor({2, 3}, 1)).view(),
                                            place(s, make_tensor({4}, 1)).view(), 1, output(s, {2}).view()});
                     });
                   }});
  cases.push_back({"compactness_backward", CaseKind::kError, "aliasing", [](const Subject& s) {
                     const GuardedTensor x = place(s, make_tensor({2, 3}, 1));
                     expect_error<InvalidArgument>("compactness_backward: dL_dx overlaps x", [&] {
                       compactness_backward(s.device, {x.view(),
                                                       place(s, make_tensor({3}, 1)).view(),
                                                       place(s, make_tensor({2}, 1)).view(),
                                                       1,
                                                       {x.view(), GradientMode::kOverwrite}});
                     });
                   }});
});

}  // namespace
}  // namespace panda::test
