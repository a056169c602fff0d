#include <cmath>
#include <limits>

#include "kernels/batch_norm.h"
#include "kernels/pool2d.h"
#include "tests/conformance/suite.h"

namespace panda::test {
namespace {

using kernels::Pool2dForwardArgs;
using kernels::Pool2dGeometry;

using PoolFunction = void (*)(Device&, const Pool2dForwardArgs&);

int64_t pooled(int64_t input, int64_t window, int64_t stride, int64_t pad) {
  return (input + 2 * pad - window) / stride + 1;
}

struct PoolCase {
  Shape x;
  Pool2dGeometry geometry;
  bool dense_x = false;
  bool dense_y = false;
};

void run_pool(const Subject& subject, PoolFunction pool, const PoolCase& one, bool exact,
              Alignment alignment) {
  const Pool2dGeometry& g = one.geometry;
  const Shape y_shape{one.x[0], one.x[1], pooled(one.x[2], g.window_h, g.stride_h, g.pad_h),
                      pooled(one.x[3], g.window_w, g.stride_w, g.pad_w)};
  const Tensor x = make_operand(subject, one.x, 41);
  const Tensor expected(host(), DType::kF32, y_shape, "expected");
  const Tensor magnitudes(host(), DType::kF32, y_shape, "magnitudes");
  pool(subject.oracle, {x, g, expected});
  pool(subject.oracle, {absolute(x), g, magnitudes});
  const Layout native = subject.device.activation_layout();
  const GuardedTensor x_placed = place(subject, x, one.dense_x ? Layout::kDense : native, alignment);
  const GuardedTensor y = output(subject, y_shape, one.dense_y ? Layout::kDense : native, alignment);
  pool(subject.device, {x_placed.view(), g, y.view()});
  if (exact) {
    expect_matches(y, expected, 0.0);
  } else {
    expect_matches(y, expected,
                   stored_tolerance(subject, y.view().layout(), expected,
                                    sum_tolerance(magnitudes, g.window_h * g.window_w)));
  }
}

void add_pool_cases(std::vector<Case>& cases, const std::string& kernel, PoolFunction pool, bool exact) {
  const auto add = [&](CaseKind kind, const PoolCase& one, Alignment alignment = Alignment::kAligned) {
    const Pool2dGeometry& g = one.geometry;
    cases.push_back({kernel, kind,
                     text(one.x, "_window", g.window_h, "x", g.window_w, "_stride", g.stride_h, "_pad",
                          g.pad_h, one.dense_x ? "_densex" : "", one.dense_y ? "_densey" : ""),
                     [=](const Subject& s) { run_pool(s, pool, one, exact, alignment); }});
  };
  const Pool2dGeometry stem{3, 3, 2, 2, 1, 1};
  for (const int64_t extent : {1, 2, 3, 7, 8, 28, 31}) {
    add(CaseKind::kSweep, {{2, 32, extent, extent + 2}, stem});
    add(CaseKind::kSweep, {{1, 19, extent, extent}, stem, true, false});
  }
  add(CaseKind::kSweep, {{3, 17, 9, 10}, {2, 2, 2, 2, 0, 0}});
  add(CaseKind::kSweep, {{1, 16, 9, 10}, {2, 3, 1, 2, 1, 2}, false, true});
  add(CaseKind::kSweep, {{1, 5, 13, 13}, {5, 5, 1, 1, 2, 2}, true, true});
  add(CaseKind::kSweep, {{2, 64, 7, 7}, {7, 7, 1, 1, 0, 0}});
  add(CaseKind::kMisaligned, {{1, 18, 7, 9}, stem}, Alignment::kMisaligned);
  add(CaseKind::kMisaligned, {{1, 24, 7, 9}, stem}, Alignment::kMisaligned);
  cases.push_back({kernel, CaseKind::kEmpty, "no_images", [=](const Subject& s) {
                     const GuardedTensor y = output(s, {0, 4, 2, 2});
                     pool(s.device, {output(s, {0, 4, 4, 4}).view(), {2, 2, 2, 2, 0, 0}, y.view()});
                     EXPECT_EQ(y.damage(), "");
                   }});
  cases.push_back({kernel, CaseKind::kError, "geometry", [=](const Subject& s) {
                     const GuardedTensor x = place(s, make_tensor({1, 2, 4, 4}, 1));
                     const GuardedTensor y = output(s, {1, 2, 2, 2});
                     expect_error<InvalidArgument>(
                         kernel + ": padding 2x0 with window 2x2, expected less than the window", [&] {
                           pool(s.device, {x.view(), {2, 2, 2, 2, 2, 0}, y.view()});
                         });
                     expect_error<InvalidArgument>(kernel + ": window 2x2, stride 0x1, expected >= 1", [&] {
                       pool(s.device, {x.view(), {2, 2, 0, 1, 0, 0}, y.view()});
                     });
                     expect_error<InvalidArgument>(kernel + ": y is f32 1x2x2x2, expected 1x2x3x3", [&] {
                       pool(s.device, {x.view(), {2, 2, 1, 1, 0, 0}, y.view()});
                     });
                   }});
}

const RegisterCases pool_cases([](std::vector<Case>& cases) {
  add_pool_cases(cases, "max_pool2d_forward", kernels::max_pool2d_forward, true);
  add_pool_cases(cases, "avg_pool2d_forward", kernels::avg_pool2d_forward, false);

  cases.push_back({"max_pool2d_forward", CaseKind::kSweep, "nan_and_infinity", [](const Subject& s) {
                     const Tensor x = make_operand(s, {1, 16, 6, 6}, 5);
                     x.data<float>()[7] = NAN;
                     x.data<float>()[40] = -std::numeric_limits<float>::infinity();
                     x.data<float>()[80] = std::numeric_limits<float>::infinity();
                     for (int i = 108; i < 144; ++i)
                       x.data<float>()[i] = -std::numeric_limits<float>::infinity();  // one whole channel
                     const Tensor expected(host(), DType::kF32, {1, 16, 3, 3}, "expected");
                     kernels::max_pool2d_forward(s.oracle, {x, {3, 3, 2, 2, 1, 1}, expected});
                     const GuardedTensor y = output(s, {1, 16, 3, 3}, s.device.activation_layout());
                     kernels::max_pool2d_forward(
                         s.device,
                         {place(s, x, s.device.activation_layout()).view(), {3, 3, 2, 2, 1, 1}, y.view()});
                     expect_matches(y, expected, 0.0);
                   }});

  const auto global = [](const Subject& s, const Shape& shape, bool dense, Alignment alignment) {
    const Tensor x = make_operand(s, shape, 51);
    const Shape y_shape{shape[0], shape[1]};
    const Tensor expected(host(), DType::kF32, y_shape, "expected");
    const Tensor magnitudes(host(), DType::kF32, y_shape, "magnitudes");
    kernels::global_avg_pool2d_forward(s.oracle, {x, expected});
    kernels::global_avg_pool2d_forward(s.oracle, {absolute(x), magnitudes});
    const GuardedTensor placed =
        place(s, x, dense ? Layout::kDense : s.device.activation_layout(), alignment);
    const GuardedTensor y = output(s, y_shape, Layout::kDense, alignment);
    kernels::global_avg_pool2d_forward(s.device, {placed.view(), y.view()});
    expect_matches(y, expected, sum_tolerance(magnitudes, shape[2] * shape[3]));
  };
  for (const Shape& shape : {Shape{1, 512, 7, 7}, Shape{3, 17, 1, 1}, Shape{2, 33, 5, 8}, Shape{1, 1, 40, 41},
                             Shape{5, 16, 2, 3}, Shape{2, 264, 3, 3}}) {
    for (const bool dense : {false, true}) {
      cases.push_back({"global_avg_pool2d_forward", CaseKind::kSweep, text(shape, dense ? "_densex" : ""),
                       [=](const Subject& s) { global(s, shape, dense, Alignment::kAligned); }});
    }
  }
  cases.push_back({"global_avg_pool2d_forward", CaseKind::kMisaligned, "2x24x3x5", [=](const Subject& s) {
                     global(s, {2, 24, 3, 5}, false, Alignment::kMisaligned);
                     global(s, {2, 24, 3, 5}, true, Alignment::kMisaligned);
                   }});
  cases.push_back({"global_avg_pool2d_forward", CaseKind::kEmpty, "no_images", [](const Subject& s) {
                     kernels::global_avg_pool2d_forward(
                         s.device, {output(s, {0, 3, 2, 2}).view(), output(s, {0, 3}).view()});
                   }});
  cases.push_back(
      {"global_avg_pool2d_forward", CaseKind::kError, "no_pixels", [](const Subject& s) {
         expect_error<InvalidArgument>("global_avg_pool2d_forward: no pixels to average (x is 2x3x0x2)", [&] {
           kernels::global_avg_pool2d_forward(s.device,
                                              {output(s, {2, 3, 0, 2}).view(), output(s, {2, 3}).view()});
         });
         expect_error<InvalidArgument>("global_avg_pool2d_forward: y is f32 2x4, expected 2x3", [&] {
           kernels::global_avg_pool2d_forward(s.device,
                                              {output(s, {2, 3, 1, 2}).view(), output(s, {2, 4}).view()});
         });
       }});
});

struct BatchNormCase {
  Shape shape;
  bool dense_x = false;
  bool dense_y = false;
  bool in_place = false;
};

void run_batch_norm(const Subject& s, const BatchNormCase& one, Alignment alignment) {
  const Shape& shape = one.shape;
  const Tensor x = make_operand(s, shape, 61);
  const Tensor gamma = make_tensor({shape[1]}, 62);
  const Tensor beta = make_tensor({shape[1]}, 63);
  const Tensor mean = make_tensor({shape[1]}, 64);
  const Tensor variance = make_tensor({shape[1]}, 65, Values::kPositive);
  const Tensor expected(host(), DType::kF32, shape, "expected");
  kernels::batch_norm_forward(s.oracle, {x, gamma, beta, mean, variance, 1e-5, expected});
  const Layout native = s.device.activation_layout();
  const Layout y_layout = one.dense_y ? Layout::kDense : native;
  const GuardedTensor x_placed = place(s, x, one.dense_x ? Layout::kDense : native, alignment);
  const GuardedTensor fresh = output(s, shape, y_layout, alignment);
  const GuardedTensor& y = one.in_place ? x_placed : fresh;
  kernels::batch_norm_forward(s.device, {x_placed.view(), place(s, gamma).view(), place(s, beta).view(),
                                         place(s, mean).view(), place(s, variance).view(), 1e-5, y.view()});
  // Three terms of at most (|x| + |mean|) |gamma| / sqrt(variance) + |beta| <= 12 * 4.5 / 0.1 each, a few
  // roundings of them.
  const std::vector<double> tolerance(static_cast<size_t>(shape.numel()), 8 * 0x1p-24 * 600);
  expect_matches(y, expected, stored_tolerance(s, y_layout, expected, tolerance));
  EXPECT_LT(relative_error(elements(y.view()), elements(expected)), 4e-7 + storage_roundoff(s, y_layout));
}

const RegisterCases batch_norm_cases([](std::vector<Case>& cases) {
  const auto add = [&](CaseKind kind, const BatchNormCase& one, Alignment alignment = Alignment::kAligned) {
    cases.push_back({"batch_norm_forward", kind,
                     text(one.shape, one.dense_x ? "_densex" : "", one.dense_y ? "_densey" : "",
                          one.in_place ? "_in_place" : ""),
                     [=](const Subject& s) { run_batch_norm(s, one, alignment); }});
  };
  for (const Shape& shape : {Shape{1, 1, 1, 1}, Shape{2, 16, 5, 7}, Shape{1, 33, 4, 4}, Shape{3, 64, 9, 2}}) {
    for (const bool dense_x : {false, true})
      for (const bool dense_y : {false, true}) add(CaseKind::kSweep, {shape, dense_x, dense_y});
  }
  add(CaseKind::kSweep, {{2, 72, 23, 29}});  // more pixels than one thread takes, in a number that has a rest
  add(CaseKind::kSweep, {{2, 18, 3, 3}, false, false, true});
  add(CaseKind::kSweep, {{2, 24, 3, 3}, false, false, true});
  add(CaseKind::kSweep, {{2, 18, 3, 3}, true, true, true});
  add(CaseKind::kMisaligned, {{1, 20, 3, 7}}, Alignment::kMisaligned);
  add(CaseKind::kMisaligned, {{1, 24, 3, 7}}, Alignment::kMisaligned);
  cases.push_back({"batch_norm_forward", CaseKind::kEmpty, "no_images", [](const Subject& s) {
                     const GuardedTensor c = place(s, make_tensor({4}, 1, Values::kPositive));
                     kernels::batch_norm_forward(
                         s.device, {output(s, {0, 4, 2, 2}).view(), c.view(), c.view(), c.view(), c.view(),
                                    1e-5, output(s, {0, 4, 2, 2}).view()});
                   }});
  cases.push_back({"batch_norm_forward", CaseKind::kError, "channels", [](const Subject& s) {
                     const GuardedTensor c = place(s, make_tensor({4}, 1, Values::kPositive));
                     const GuardedTensor three = place(s, make_tensor({3}, 1, Values::kPositive));
                     const GuardedTensor x = place(s, make_tensor({1, 4, 2, 2}, 2));
                     const GuardedTensor y = output(s, {1, 4, 2, 2});
                     expect_error<InvalidArgument>("batch_norm_forward: mean is f32 3, expected 4", [&] {
                       kernels::batch_norm_forward(
                           s.device, {x.view(), c.view(), c.view(), three.view(), c.view(), 1e-5, y.view()});
                     });
                     expect_error<InvalidArgument>("batch_norm_forward: epsilon -1, expected >= 0", [&] {
                       kernels::batch_norm_forward(
                           s.device, {x.view(), c.view(), c.view(), c.view(), c.view(), -1, y.view()});
                     });
                   }});
});

}  // namespace
}  // namespace panda::test
