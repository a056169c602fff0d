#include "kernels/conv2d.h"

#include <vector>

#include "kernels/reference/real.h"
#include "kernels/reference/reference_kernels.h"

namespace panda::kernels::reference {

void conv2d_prepare_filter(Device& device, const Conv2dPrepareFilterArgs& args) {
  args.prepared->packed = clone_to(args.filter, device, "filter");
}

namespace {

template <typename T>
void forward(const Conv2dForwardArgs& args) {
  const Conv2dFilter& filter = *args.filter;
  const Conv2dGeometry& g = filter.geometry;
  const Shape& xs = args.x.shape();
  const Shape& ys = args.y.shape();
  const T* x = args.x.data<T>();
  const T* w = filter.packed.data<T>();
  const T* bias = args.bias.present() ? args.bias.data<T>() : nullptr;
  const T* residual = args.residual.present() ? args.residual.data<T>() : nullptr;
  T* y = args.y.data<T>();

  // One output pixel at a time, all its channels: the pixel's window is read once into `window`.
  std::vector<double> window(static_cast<size_t>(filter.c * filter.r * filter.s));
  const int64_t stored_k = stored_channels(ys, args.y.layout());
  for (int64_t n = 0; n < ys[0]; ++n) {
    for (int64_t p = 0; p < ys[2]; ++p) {
      for (int64_t q = 0; q < ys[3]; ++q) {
        size_t i = 0;
        for (int64_t c = 0; c < filter.c; ++c) {
          for (int64_t r = 0; r < filter.r; ++r) {
            for (int64_t s = 0; s < filter.s; ++s, ++i) {
              const int64_t h = p * g.stride_h + r - g.pad_h;
              const int64_t v = q * g.stride_w + s - g.pad_w;
              const bool inside = h >= 0 && h < xs[2] && v >= 0 && v < xs[3];
              window[i] = inside ? double{x[image_offset(xs, args.x.layout(), n, c, h, v)]} : 0.0;
            }
          }
        }
        for (int64_t k = 0; k < stored_k; ++k) {
          double sum = 0;
          if (k < filter.k) {
            const T* row = w + k * static_cast<int64_t>(window.size());
            for (size_t j = 0; j < window.size(); ++j) sum += window[j] * double{row[j]};
            if (bias != nullptr) sum += bias[k];
            if (residual != nullptr) sum += residual[image_offset(ys, args.residual.layout(), n, k, p, q)];
            if (args.relu && sum < 0) sum = 0;
          }
          y[image_offset(ys, args.y.layout(), n, k, p, q)] = static_cast<T>(sum);
        }
      }
    }
  }
}

}  // namespace

void conv2d_forward(Device&, const Conv2dForwardArgs& args) {
  with_real(args.x.dtype(), [&](auto real) { forward<decltype(real)>(args); });
}

}  // namespace panda::kernels::reference
