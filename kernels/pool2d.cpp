#include "kernels/pool2d.h"

#include "kernels/checks.h"
#include "kernels/conv2d.h"

namespace panda::kernels {

namespace {

void check_pool2d(const char* kernel, Device& device, const Pool2dForwardArgs& args) {
  const OperandCheck check(kernel, device);
  const Pool2dGeometry& g = args.geometry;
  check.image("x", args.x);
  PANDA_CHECK(g.window_h >= 1 && g.window_w >= 1 && g.stride_h >= 1 && g.stride_w >= 1, kernel, ": window ",
              g.window_h, "x", g.window_w, ", stride ", g.stride_h, "x", g.stride_w, ", expected >= 1");
  PANDA_CHECK(g.pad_h >= 0 && g.pad_w >= 0 && g.pad_h < g.window_h && g.pad_w < g.window_w, kernel,
              ": padding ", g.pad_h, "x", g.pad_w, " with window ", g.window_h, "x", g.window_w,
              ", expected less than the window");
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

}  // namespace panda::kernels
