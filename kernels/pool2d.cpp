#include "kernels/pool2d.h"

#include "kernels/checks.h"
#include "kernels/conv2d.h"
#include "kernels/tensor/checked_math.h"

namespace panda::kernels {

namespace {

void check_pool_geometry(const char* kernel, const Pool2dGeometry& g) {
  PANDA_CHECK(g.window_h >= 1 && g.window_w >= 1 && g.stride_h >= 1 && g.stride_w >= 1, kernel, ": window ",
              g.window_h, "x", g.window_w, ", stride ", g.stride_h, "x", g.stride_w, ", expected >= 1");
  PANDA_CHECK(g.pad_h >= 0 && g.pad_w >= 0 && g.pad_h < g.window_h && g.pad_w < g.window_w, kernel,
              ": padding ", g.pad_h, "x", g.pad_w, " with window ", g.window_h, "x", g.window_w,
              ", expected less than the window");
}

void check_same_layout(const char* kernel, const char* a_name, const ConstTensorView& a, const char* b_name,
                       const ConstTensorView& b) {
  PANDA_CHECK(a.layout() == b.layout(), kernel, ": ", a_name, " is in layout ", layout_name(a.layout()),
              " but ", b_name, " in ", layout_name(b.layout()));
}

void check_pool2d(const char* kernel, Device& device, const Pool2dForwardArgs& args) {
  const OperandCheck check(kernel, device);
  const Pool2dGeometry& g = args.geometry;
  check.image("x", args.x);
  check_pool_geometry(kernel, g);
  const Shape& x = args.x.shape();
  check.image("y", args.y,
              {x[0], x[1], Conv2dGeometry::output_extent(x[2], g.window_h, g.stride_h, g.pad_h),
               Conv2dGeometry::output_extent(x[3], g.window_w, g.stride_w, g.pad_w)});
  check.no_overlap("y", args.y, "x", args.x);
}

}  // namespace

void max_pool2d_forward(Device& device, const Pool2dForwardArgs& args) {
  check_pool2d("max_pool2d_forward", device, args);
  if (args.y.numel() == 0) return;
  launch("max_pool2d_forward", device.kernels().max_pool2d_forward, device, args);
}

void avg_pool2d_forward(Device& device, const Pool2dForwardArgs& args) {
  check_pool2d("avg_pool2d_forward", device, args);
  if (args.y.numel() == 0) return;
  launch("avg_pool2d_forward", device.kernels().avg_pool2d_forward, device, args);
}

void global_avg_pool2d_forward(Device& device, const GlobalAvgPool2dForwardArgs& args) {
  const OperandCheck check("global_avg_pool2d_forward", device);
  check.image("x", args.x);
  const Shape& x = args.x.shape();
  check.shape("y", args.y, {x[0], x[1]});
  check.no_overlap("y", args.y, "x", args.x);
  if (args.y.numel() == 0) return;
  PANDA_CHECK(x[2] * x[3] > 0, "global_avg_pool2d_forward: no pixels to average (x is ", x, ")");
  launch("global_avg_pool2d_forward", device.kernels().global_avg_pool2d_forward, device, args);
}

namespace {

void check_pool2d_backward(const char* kernel, Device& device, const Pool2dBackwardArgs& args, bool needs_x) {
  const OperandCheck check(kernel, device);
  const Pool2dGeometry& g = args.geometry;
  const TensorView& dL_dx = args.dL_dx.view;
  check.image("dL_dx", dL_dx);
  check_pool_geometry(kernel, g);
  const Shape& x = dL_dx.shape();
  if (needs_x) {
    check.image("x", args.x, x);
    check_same_layout(kernel, "x", args.x, "dL_dx", dL_dx);
    check.no_overlap("dL_dx", dL_dx, "x", args.x);
  }
  check.image("dL_dy", args.dL_dy,
              {x[0], x[1], Conv2dGeometry::output_extent(x[2], g.window_h, g.stride_h, g.pad_h),
               Conv2dGeometry::output_extent(x[3], g.window_w, g.stride_w, g.pad_w)});
  check_same_layout(kernel, "dL_dy", args.dL_dy, "dL_dx", dL_dx);
  check.no_overlap("dL_dx", dL_dx, "dL_dy", args.dL_dy);
}

void check_upsample(const char* kernel, const OperandCheck& check, const char* x_name,
                    const ConstTensorView& x, const char* y_name, const ConstTensorView& y, int64_t scale_h,
                    int64_t scale_w) {
  PANDA_CHECK(scale_h >= 1 && scale_w >= 1, kernel, ": scale ", scale_h, "x", scale_w, ", expected >= 1");
  check.image(x_name, x);
  const Shape& s = x.shape();
  check.image(y_name, y, {s[0], s[1], checked_mul(s[2], scale_h), checked_mul(s[3], scale_w)});
  check_same_layout(kernel, y_name, y, x_name, x);
  check.no_overlap(y_name, y, x_name, x);
}

}  // namespace

void max_pool2d_backward(Device& device, const Pool2dBackwardArgs& args) {
  if (!args.dL_dx.wanted()) return;
  check_pool2d_backward("max_pool2d_backward", device, args, true);
  if (args.dL_dx.view.numel() == 0) return;
  launch("max_pool2d_backward", device.kernels().max_pool2d_backward, device, args);
}

void avg_pool2d_backward(Device& device, const Pool2dBackwardArgs& args) {
  if (!args.dL_dx.wanted()) return;
  check_pool2d_backward("avg_pool2d_backward", device, args, false);
  if (args.dL_dx.view.numel() == 0) return;
  launch("avg_pool2d_backward", device.kernels().avg_pool2d_backward, device, args);
}

void global_avg_pool2d_backward(Device& device, const GlobalAvgPool2dBackwardArgs& args) {
  constexpr const char* kName = "global_avg_pool2d_backward";
  if (!args.dL_dx.wanted()) return;
  const OperandCheck check(kName, device);
  const TensorView& dL_dx = args.dL_dx.view;
  check.image("dL_dx", dL_dx);
  check.shape("dL_dy", args.dL_dy, {dL_dx.shape()[0], dL_dx.shape()[1]});
  check.no_overlap("dL_dx", dL_dx, "dL_dy", args.dL_dy);
  if (dL_dx.numel() == 0) return;
  launch(kName, device.kernels().global_avg_pool2d_backward, device, args);
}

void upsample_nearest2d_forward(Device& device, const UpsampleNearest2dForwardArgs& args) {
  constexpr const char* kName = "upsample_nearest2d_forward";
  const OperandCheck check(kName, device);
  check_upsample(kName, check, "x", args.x, "y", args.y, args.scale_h, args.scale_w);
  if (args.y.numel() == 0) return;
  launch(kName, device.kernels().upsample_nearest2d_forward, device, args);
}

void upsample_nearest2d_backward(Device& device, const UpsampleNearest2dBackwardArgs& args) {
  constexpr const char* kName = "upsample_nearest2d_backward";
  if (!args.dL_dx.wanted()) return;
  const OperandCheck check(kName, device);
  check_upsample(kName, check, "dL_dx", args.dL_dx.view, "dL_dy", args.dL_dy, args.scale_h, args.scale_w);
  if (args.dL_dx.view.numel() == 0) return;
  launch(kName, device.kernels().upsample_nearest2d_backward, device, args);
}

}  // namespace panda::kernels
