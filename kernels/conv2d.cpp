#include "kernels/conv2d.h"

#include "kernels/checks.h"

namespace panda::kernels {

void conv2d_prepare_filter(Device& device, const Conv2dPrepareFilterArgs& args) {
  const OperandCheck check("conv2d_prepare_filter", device);
  check.present("filter", args.filter, 4);
  check.dense("filter", args.filter);
  PANDA_CHECK(!args.filter.shape().empty(), "conv2d_prepare_filter: filter is ", args.filter.shape(),
              ", expected extents >= 1");
  PANDA_CHECK(args.prepared != nullptr, "conv2d_prepare_filter: prepared is null");
  const Conv2dGeometry& g = args.geometry;
  PANDA_CHECK(g.stride_h >= 1 && g.stride_w >= 1, "conv2d_prepare_filter: stride ", g.stride_h, "x",
              g.stride_w, ", expected >= 1");
  PANDA_CHECK(g.pad_h >= 0 && g.pad_w >= 0, "conv2d_prepare_filter: padding ", g.pad_h, "x", g.pad_w,
              ", expected >= 0");
  Conv2dFilter& prepared = *args.prepared;
  prepared.geometry = g;
  prepared.k = args.filter.shape()[0];
  prepared.c = args.filter.shape()[1];
  prepared.r = args.filter.shape()[2];
  prepared.s = args.filter.shape()[3];
  prepared.device = &device;
  launch("conv2d_prepare_filter", device.kernels().conv2d_prepare_filter, device, args);
}

Conv2dFilter conv2d_prepare_filter(Device& device, const ConstTensorView& filter,
                                   const Conv2dGeometry& geometry) {
  Conv2dFilter prepared;
  conv2d_prepare_filter(device, {filter, geometry, &prepared});
  return prepared;
}

void conv2d_forward(Device& device, const Conv2dForwardArgs& args) {
  const OperandCheck check("conv2d_forward", device);
  check.image("x", args.x);
  PANDA_CHECK(args.filter != nullptr && args.filter->device != nullptr,
              "conv2d_forward: the filter is not prepared");
  const Conv2dFilter& filter = *args.filter;
  PANDA_CHECK(filter.device == &device, "conv2d_forward: the filter was prepared for another device than ",
              device.name());
  const Shape& x = args.x.shape();
  PANDA_CHECK(filter.c == x[1], "conv2d_forward: filter C=", filter.c, " but input C=", x[1], " (x is ", x,
              ")");
  const Conv2dGeometry& g = filter.geometry;
  const int64_t p = Conv2dGeometry::output_extent(x[2], filter.r, g.stride_h, g.pad_h);
  const int64_t q = Conv2dGeometry::output_extent(x[3], filter.s, g.stride_w, g.pad_w);
  check.image("y", args.y, {x[0], filter.k, p, q});
  check.no_overlap("y", args.y, "x", args.x);
  if (args.bias.present()) {
    check.shape("bias", args.bias, {filter.k});
    check.no_overlap("y", args.y, "bias", args.bias);
  }
  if (args.residual.present()) {
    check.image("residual", args.residual, args.y.shape());
    const bool same_layout = args.residual.layout() == args.y.layout();
    check.no_overlap("y", args.y, "residual", args.residual, same_layout);
  }
  if (args.y.numel() == 0) return;
  launch("conv2d_forward", device.kernels().conv2d_forward, device, args);
}

}  // namespace panda::kernels
