#include "kernels/pool2d.h"

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/reference/real.h"
#include "kernels/reference/reference_kernels.h"

namespace panda::kernels::reference {

namespace {

/// The largest value of the window, or the sum of its values, padding left out.
template <bool kMax, typename T>
double pool_window(const Pool2dForwardArgs& args, const T* x, int64_t n, int64_t c, int64_t p, int64_t q) {
  const Pool2dGeometry& g = args.geometry;
  const Shape& shape = args.x.shape();
  double result = kMax ? -std::numeric_limits<double>::infinity() : 0.0;
  for (int64_t r = 0; r < g.window_h; ++r) {
    for (int64_t s = 0; s < g.window_w; ++s) {
      const int64_t h = p * g.stride_h + r - g.pad_h;
      const int64_t w = q * g.stride_w + s - g.pad_w;
      if (h < 0 || h >= shape[2] || w < 0 || w >= shape[3]) continue;
      const double value = x[image_offset(shape, args.x.layout(), n, c, h, w)];
      if (!kMax) {
        result += value;
      } else if (value > result || std::isnan(value)) {
        result = value;
      }
    }
  }
  return result;
}

template <bool kMax, typename T>
void pool2d(const Pool2dForwardArgs& args) {
  const Shape& xs = args.x.shape();
  const Shape& ys = args.y.shape();
  const T* x = args.x.data<T>();
  T* y = args.y.data<T>();
  const double divisor = kMax ? 1.0 : static_cast<double>(args.geometry.window_h * args.geometry.window_w);
  for (int64_t n = 0; n < ys[0]; ++n) {
    for (int64_t c = 0; c < stored_channels(ys, args.y.layout()); ++c) {
      for (int64_t p = 0; p < ys[2]; ++p) {
        for (int64_t q = 0; q < ys[3]; ++q) {
          const double value = c < xs[1] ? pool_window<kMax, T>(args, x, n, c, p, q) / divisor : 0.0;
          y[image_offset(ys, args.y.layout(), n, c, p, q)] = static_cast<T>(value);
        }
      }
    }
  }
}

/// Row-major offset within the window of the element that max_pool2d_forward takes, or -1 for a window
/// outside the image.
template <typename T>
int64_t largest_of_window(const ImageReader<T>& x, const Shape& xs, const Pool2dGeometry& g, int64_t n,
                          int64_t c, int64_t p, int64_t q) {
  int64_t best = -1;
  double largest = 0;
  for (int64_t i = 0; i < g.window_h * g.window_w; ++i) {
    const int64_t h = p * g.stride_h + i / g.window_w - g.pad_h;
    const int64_t w = q * g.stride_w + i % g.window_w - g.pad_w;
    if (h < 0 || h >= xs[2] || w < 0 || w >= xs[3]) continue;
    const double value = x(n, c, h, w);
    if (best >= 0 && !(value > largest) && !std::isnan(value)) continue;
    best = i;
    largest = value;
  }
  return best;
}

/// The sum over the windows that hold pixel (h, w) of what each gives it.
template <bool kMax, typename T>
void pool2d_backward(const Pool2dBackwardArgs& args) {
  const Pool2dGeometry& g = args.geometry;
  const Shape& xs = args.dL_dx.view.shape();
  const Shape& ys = args.dL_dy.shape();
  const ImageReader<T> x(kMax ? args.x : args.dL_dy);  // not read for the average
  const ImageReader<T> dL_dy(args.dL_dy);
  std::vector<double> sums(static_cast<size_t>(xs[2] * xs[3]));
  for (int64_t n = 0; n < xs[0]; ++n) {
    for (int64_t c = 0; c < xs[1]; ++c) {
      sums.assign(sums.size(), 0.0);
      for (int64_t p = 0; p < ys[2]; ++p) {
        for (int64_t q = 0; q < ys[3]; ++q) {
          const int64_t best = kMax ? largest_of_window(x, xs, g, n, c, p, q) : 0;
          for (int64_t i = 0; i < g.window_h * g.window_w; ++i) {
            const int64_t h = p * g.stride_h + i / g.window_w - g.pad_h;
            const int64_t w = q * g.stride_w + i % g.window_w - g.pad_w;
            if (h < 0 || h >= xs[2] || w < 0 || w >= xs[3] || (kMax && i != best)) continue;
            const double share = kMax ? 1.0 : static_cast<double>(g.window_h * g.window_w);
            sums[static_cast<size_t>(h * xs[3] + w)] += dL_dy(n, c, p, q) / share;
          }
        }
      }
      const GradientWriter<T> dL_dx(args.dL_dx);
      for (int64_t i = 0; i < xs[2] * xs[3]; ++i)
        dL_dx.put(n, c, i / xs[3], i % xs[3], sums[static_cast<size_t>(i)]);
    }
  }
}

template <typename T>
void global_average(const GlobalAvgPool2dForwardArgs& args) {
  const Shape& shape = args.x.shape();
  const ImageReader<T> x(args.x);
  for (int64_t n = 0; n < shape[0]; ++n) {
    for (int64_t c = 0; c < shape[1]; ++c) {
      double sum = 0;
      for (int64_t h = 0; h < shape[2]; ++h) {
        for (int64_t w = 0; w < shape[3]; ++w) sum += x(n, c, h, w);
      }
      args.y.data<T>()[n * shape[1] + c] = static_cast<T>(sum / static_cast<double>(shape[2] * shape[3]));
    }
  }
}

}  // namespace

void max_pool2d_forward(Device&, const Pool2dForwardArgs& args) {
  with_real(args.x.dtype(), [&](auto real) { pool2d<true, decltype(real)>(args); });
}
void avg_pool2d_forward(Device&, const Pool2dForwardArgs& args) {
  with_real(args.x.dtype(), [&](auto real) { pool2d<false, decltype(real)>(args); });
}
void global_avg_pool2d_forward(Device&, const GlobalAvgPool2dForwardArgs& args) {
  with_real(args.x.dtype(), [&](auto real) { global_average<decltype(real)>(args); });
}
void max_pool2d_backward(Device&, const Pool2dBackwardArgs& args) {
  with_real(args.dL_dy.dtype(), [&](auto real) { pool2d_backward<true, decltype(real)>(args); });
}
void avg_pool2d_backward(Device&, const Pool2dBackwardArgs& args) {
  with_real(args.dL_dy.dtype(), [&](auto real) { pool2d_backward<false, decltype(real)>(args); });
}

void global_avg_pool2d_backward(Device&, const GlobalAvgPool2dBackwardArgs& args) {
  with_real(args.dL_dy.dtype(), [&](auto real) {
    using T = decltype(real);
    const Shape& xs = args.dL_dx.view.shape();
    const GradientWriter<T> dL_dx(args.dL_dx);
    for_each_pixel(xs, [&](int64_t n, int64_t h, int64_t w) {
      for (int64_t c = 0; c < xs[1]; ++c) {
        dL_dx.put(n, c, h, w, args.dL_dy.data<T>()[n * xs[1] + c] / static_cast<double>(xs[2] * xs[3]));
      }
    });
  });
}

void upsample_nearest2d_forward(Device&, const UpsampleNearest2dForwardArgs& args) {
  with_real(args.x.dtype(), [&](auto real) {
    using T = decltype(real);
    const ImageReader<T> x(args.x);
    const Shape& ys = args.y.shape();
    for_each_pixel(ys, [&](int64_t n, int64_t p, int64_t q) {
      for (int64_t c = 0; c < ys[1]; ++c) {
        args.y.data<T>()[image_offset(ys, args.y.layout(), n, c, p, q)] =
            static_cast<T>(x(n, c, p / args.scale_h, q / args.scale_w));
      }
    });
  });
}

void upsample_nearest2d_backward(Device&, const UpsampleNearest2dBackwardArgs& args) {
  with_real(args.dL_dy.dtype(), [&](auto real) {
    using T = decltype(real);
    const ImageReader<T> dL_dy(args.dL_dy);
    const GradientWriter<T> dL_dx(args.dL_dx);
    const Shape& xs = args.dL_dx.view.shape();
    for_each_pixel(xs, [&](int64_t n, int64_t h, int64_t w) {
      for (int64_t c = 0; c < xs[1]; ++c) {
        double sum = 0;
        for (int64_t i = 0; i < args.scale_h; ++i) {
          for (int64_t j = 0; j < args.scale_w; ++j)
            sum += dL_dy(n, c, h * args.scale_h + i, w * args.scale_w + j);
        }
        dL_dx.put(n, c, h, w, sum);
      }
    });
  });
}

}  // namespace panda::kernels::reference
