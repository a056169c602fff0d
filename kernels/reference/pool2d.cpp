#include "kernels/pool2d.h"

#include <cmath>
#include <limits>

#include "kernels/reference/reference_kernels.h"

namespace panda::kernels::reference {

namespace {

/// The largest value of the window, or the sum of its values, padding left out.
template <bool kMax>
double pool_window(const Pool2dForwardArgs& args, const float* x, int64_t n, int64_t c, int64_t p,
                   int64_t q) {
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

template <bool kMax>
void pool2d(const Pool2dForwardArgs& args) {
  const Shape& xs = args.x.shape();
  const Shape& ys = args.y.shape();
  const auto* x = args.x.data<float>();
  auto* y = args.y.data<float>();
  const double divisor = kMax ? 1.0 : static_cast<double>(args.geometry.window_h * args.geometry.window_w);
  for (int64_t n = 0; n < ys[0]; ++n) {
    for (int64_t c = 0; c < stored_channels(ys, args.y.layout()); ++c) {
      for (int64_t p = 0; p < ys[2]; ++p) {
        for (int64_t q = 0; q < ys[3]; ++q) {
          const double value = c < xs[1] ? pool_window<kMax>(args, x, n, c, p, q) / divisor : 0.0;
          y[image_offset(ys, args.y.layout(), n, c, p, q)] = static_cast<float>(value);
        }
      }
    }
  }
}

}  // namespace

void max_pool2d_forward(Device&, const Pool2dForwardArgs& args) {
  pool2d<true>(args);
}
void avg_pool2d_forward(Device&, const Pool2dForwardArgs& args) {
  pool2d<false>(args);
}

void global_avg_pool2d_forward(Device&, const GlobalAvgPool2dForwardArgs& args) {
  const Shape& shape = args.x.shape();
  const auto* x = args.x.data<float>();
  auto* y = args.y.data<float>();
  for (int64_t n = 0; n < shape[0]; ++n) {
    for (int64_t c = 0; c < shape[1]; ++c) {
      double sum = 0;
      for (int64_t h = 0; h < shape[2]; ++h) {
        for (int64_t w = 0; w < shape[3]; ++w) sum += x[image_offset(shape, args.x.layout(), n, c, h, w)];
      }
      y[n * shape[1] + c] = static_cast<float>(sum / static_cast<double>(shape[2] * shape[3]));
    }
  }
}

}  // namespace panda::kernels::reference
