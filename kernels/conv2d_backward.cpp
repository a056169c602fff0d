#include "kernels/conv2d_backward.h"

#include "kernels/checks.h"

namespace panda::kernels {

namespace {

void check_geometry(const char* kernel, const Conv2dGeometry& g) {
  PANDA_CHECK(g.stride_h >= 1 && g.stride_w >= 1, kernel, ": stride ", g.stride_h, "x", g.stride_w,
              ", expected >= 1");
  PANDA_CHECK(g.pad_h >= 0 && g.pad_w >= 0, kernel, ": padding ", g.pad_h, "x", g.pad_w, ", expected >= 0");
}

Shape output_shape(const Shape& x, int64_t k, int64_t r, int64_t s, const Conv2dGeometry& g) {
  return {x[0], k, Conv2dGeometry::output_extent(x[2], r, g.stride_h, g.pad_h),
          Conv2dGeometry::output_extent(x[3], s, g.stride_w, g.pad_w)};
}

}  // namespace

void conv2d_prepare_transposed_filter(Device& device, const Conv2dPrepareTransposedFilterArgs& args) {
  constexpr const char* kName = "conv2d_prepare_transposed_filter";
  const OperandCheck check(kName, device);
  check.present("filter", args.filter, 4);
  check.dense("filter", args.filter);
  PANDA_CHECK(!args.filter.shape().empty(), kName, ": filter is ", args.filter.shape(),
              ", expected extents >= 1");
  PANDA_CHECK(args.prepared != nullptr, kName, ": prepared is null");
  check_geometry(kName, args.geometry);
  Conv2dTransposedFilter& prepared = *args.prepared;
  prepared.geometry = args.geometry;
  prepared.k = args.filter.shape()[0];
  prepared.c = args.filter.shape()[1];
  prepared.r = args.filter.shape()[2];
  prepared.s = args.filter.shape()[3];
  prepared.device = &device;
  launch(kName, device.kernels().conv2d_prepare_transposed_filter, device, args);
}

void conv2d_backward_input(Device& device, const Conv2dBackwardInputArgs& args) {
  constexpr const char* kName = "conv2d_backward_input";
  if (!args.dL_dx.wanted()) return;
  const OperandCheck check(kName, device);
  check.image("dL_dy", args.dL_dy);
  PANDA_CHECK(args.filter != nullptr && args.filter->device != nullptr, kName,
              ": the filter is not prepared");
  const Conv2dTransposedFilter& filter = *args.filter;
  PANDA_CHECK(filter.device == &device, kName, ": the filter was prepared for another device than ",
              device.name());
  check.image("dL_dx", args.dL_dx.view);
  const Shape& x = args.dL_dx.view.shape();
  const Shape& y = args.dL_dy.shape();
  PANDA_CHECK(filter.k == y[1] && filter.c == x[1], kName, ": filter takes C=", filter.c, " to K=", filter.k,
              " but dL_dx is ", x, " and dL_dy ", y);
  const Shape expected = output_shape(x, filter.k, filter.r, filter.s, filter.geometry);
  PANDA_CHECK(y == expected, kName, ": dL_dy is ", y, ", expected ", expected, " for dL_dx ", x);
  check.no_overlap("dL_dx", args.dL_dx.view, "dL_dy", args.dL_dy);
  if (x.empty()) return;
  launch(kName, device.kernels().conv2d_backward_input, device, args);
}

void conv2d_backward_filter(Device& device, const Conv2dBackwardFilterArgs& args) {
  constexpr const char* kName = "conv2d_backward_filter";
  const bool dots = args.dots.present();
  if (!args.dL_dfilter.wanted() && !args.squares.wanted() && !dots) return;
  const OperandCheck check(kName, device);
  check.image("x", args.x);
  check.image("dL_dy", args.dL_dy);
  check_geometry(kName, args.geometry);
  PANDA_CHECK(dots == args.filter.present(), kName, ": dots and filter come together or not at all");
  const ConstTensorView& form = args.dL_dfilter.wanted() ? args.dL_dfilter.view
                                : args.squares.wanted()  ? args.squares.view
                                                         : args.filter;
  PANDA_CHECK(form.present() && form.shape().rank() == 4 && !form.shape().empty(), kName, ": dL_dfilter is ",
              form.present() ? form.to_string() : "absent", ", expected K,C,R,S with extents >= 1");
  const Shape& filter = form.shape();
  const Shape& x = args.x.shape();
  check_gradient(check, "dL_dfilter", args.dL_dfilter, filter, false);
  check_gradient(check, "squares", args.squares, filter, false);
  PANDA_CHECK(filter[1] == x[1], kName, ": dL_dfilter C=", filter[1], " but input C=", x[1], " (x is ", x,
              ")");
  check.image("dL_dy", args.dL_dy, output_shape(x, filter[0], filter[2], filter[3], args.geometry));
  if (dots) {
    check.shape("filter", args.filter, filter);
    check.dense("filter", args.filter);
    check.shape("dots", args.dots, {x[0], filter[0]});
  }
  for (const auto& [name, gradient] :
       {std::pair<const char*, const Gradient*>{"dL_dfilter", &args.dL_dfilter},
        {"squares", &args.squares}}) {
    check_gradient_apart(check, name, *gradient, "x", args.x);
    check_gradient_apart(check, name, *gradient, "dL_dy", args.dL_dy);
    check_gradient_apart(check, name, *gradient, "filter", args.filter);
  }
  launch(kName, device.kernels().conv2d_backward_filter, device, args);
}

void bias_backward(Device& device, const BiasBackwardArgs& args) {
  constexpr const char* kName = "bias_backward";
  if (!args.dL_dbias.wanted() && !args.squares.wanted() && !args.per_sample.present()) return;
  const OperandCheck check(kName, device);
  PANDA_CHECK(args.dL_dy.present(), kName, ": dL_dy is absent");
  const int rank = args.dL_dy.shape().rank();
  if (rank == 2) {
    check.present("dL_dy", args.dL_dy, 2);
  } else {
    check.image("dL_dy", args.dL_dy);
  }
  const int64_t k = args.dL_dy.shape()[1];
  check_gradient(check, "dL_dbias", args.dL_dbias, {k}, false);
  check_gradient(check, "squares", args.squares, {k}, false);
  check_gradient_apart(check, "dL_dbias", args.dL_dbias, "dL_dy", args.dL_dy);
  check_gradient_apart(check, "squares", args.squares, "dL_dy", args.dL_dy);
  if (args.per_sample.present()) {
    check.shape("per_sample", args.per_sample, {args.dL_dy.shape()[0], k});
    check.no_overlap("per_sample", args.per_sample, "dL_dy", args.dL_dy);
  }
  if (k == 0) return;
  launch(kName, device.kernels().bias_backward, device, args);
}

}  // namespace panda::kernels
