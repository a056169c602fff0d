#include "kernels/conv2d_backward.h"

#include "kernels/reference/real.h"
#include "kernels/reference/reference_kernels.h"

namespace panda::kernels::reference {

namespace {

/// The output index that reads input index `at` through tap `tap`, or -1.
int64_t output_of(int64_t at, int64_t tap, int64_t stride, int64_t pad, int64_t extent) {
  const int64_t from = at + pad - tap;
  if (from < 0 || from % stride != 0 || from / stride >= extent) return -1;
  return from / stride;
}

/// The elements of an image batch as f64, row-major.
template <typename T>
std::vector<double> as_f64(const ConstTensorView& view) {
  const ImageReader<T> image(view);
  const Shape& shape = view.shape();
  std::vector<double> values;
  values.reserve(static_cast<size_t>(shape.numel()));
  for (int64_t n = 0; n < shape[0]; ++n) {
    for (int64_t c = 0; c < shape[1]; ++c) {
      for (int64_t h = 0; h < shape[2]; ++h) {
        for (int64_t w = 0; w < shape[3]; ++w) values.push_back(image(n, c, h, w));
      }
    }
  }
  return values;
}

template <typename T>
void backward_input(const Conv2dBackwardInputArgs& args) {
  const Conv2dTransposedFilter& f = *args.filter;
  const Conv2dGeometry& g = f.geometry;
  const std::vector<double> dL_dy = as_f64<T>(args.dL_dy);
  const GradientWriter<T> dL_dx(args.dL_dx);
  const Shape& ys = args.dL_dy.shape();
  const Shape& xs = args.dL_dx.view.shape();
  const T* filter = f.packed.data<T>();
  std::vector<double> sums(static_cast<size_t>(f.c));
  for_each_pixel(xs, [&](int64_t n, int64_t h, int64_t w) {
    sums.assign(sums.size(), 0.0);
    for (int64_t r = 0; r < f.r; ++r) {
      const int64_t p = output_of(h, r, g.stride_h, g.pad_h, ys[2]);
      if (p < 0) continue;
      for (int64_t s = 0; s < f.s; ++s) {
        const int64_t q = output_of(w, s, g.stride_w, g.pad_w, ys[3]);
        if (q < 0) continue;
        for (int64_t k = 0; k < f.k; ++k) {
          const double gradient = dL_dy[static_cast<size_t>(((n * f.k + k) * ys[2] + p) * ys[3] + q)];
          const T* coefficients = filter + k * f.c * f.r * f.s + r * f.s + s;
          for (int64_t c = 0; c < f.c; ++c)
            sums[static_cast<size_t>(c)] += gradient * coefficients[c * f.r * f.s];
        }
      }
    }
    for (int64_t c = 0; c < f.c; ++c) dL_dx.put(n, c, h, w, sums[static_cast<size_t>(c)]);
  });
}

/// G_n[k,c,r,s] of one image, from its channel of x and its channel of dL_dy.
double sample_gradient(const Conv2dGeometry& g, const double* x, const Shape& xs, const double* dL_dy,
                       const Shape& ys, int64_t r, int64_t s) {
  double sum = 0;
  for (int64_t p = 0; p < ys[2]; ++p) {
    const int64_t h = p * g.stride_h + r - g.pad_h;
    if (h < 0 || h >= xs[2]) continue;
    for (int64_t q = 0; q < ys[3]; ++q) {
      const int64_t w = q * g.stride_w + s - g.pad_w;
      if (w >= 0 && w < xs[3]) sum += x[h * xs[3] + w] * dL_dy[p * ys[3] + q];
    }
  }
  return sum;
}

template <typename T>
void backward_filter(const Conv2dBackwardFilterArgs& args) {
  const Shape filter = args.dL_dfilter.wanted() ? args.dL_dfilter.view.shape()
                       : args.squares.wanted()  ? args.squares.view.shape()
                                                : args.filter.shape();
  const std::vector<double> x = as_f64<T>(args.x);
  const std::vector<double> dL_dy = as_f64<T>(args.dL_dy);
  const Shape& xs = args.x.shape();
  const Shape& ys = args.dL_dy.shape();
  const GradientWriter<T> dL_dfilter(args.dL_dfilter);
  const GradientWriter<T> squares(args.squares);
  const T* coefficients = args.dots.present() ? args.filter.data<T>() : nullptr;
  std::vector<double> dots(static_cast<size_t>(xs[0] * filter[0]), 0.0);
  for (int64_t i = 0; i < filter.numel(); ++i) {
    const int64_t s = i % filter[3];
    const int64_t r = i / filter[3] % filter[2];
    const int64_t c = i / (filter[3] * filter[2]) % filter[1];
    const int64_t k = i / (filter[3] * filter[2] * filter[1]);
    double sum = 0;
    double sum_of_squares = 0;
    for (int64_t n = 0; n < xs[0]; ++n) {
      const double of_sample = sample_gradient(args.geometry, x.data() + (n * xs[1] + c) * xs[2] * xs[3], xs,
                                               dL_dy.data() + (n * ys[1] + k) * ys[2] * ys[3], ys, r, s);
      sum += of_sample;
      sum_of_squares += of_sample * of_sample;
      if (coefficients != nullptr)
        dots[static_cast<size_t>(n * filter[0] + k)] += coefficients[i] * of_sample;
    }
    dL_dfilter.put(i, sum);
    squares.put(i, sum_of_squares);
  }
  if (!args.dots.present()) return;
  for (size_t i = 0; i < dots.size(); ++i) args.dots.data<T>()[i] = static_cast<T>(dots[i]);
}

template <typename T>
void bias_gradient(const BiasBackwardArgs& args) {
  const Shape& shape = args.dL_dy.shape();
  const Shape image = shape.rank() == 4 ? shape : Shape{shape[0], shape[1], 1, 1};
  const ImageReader<T> dL_dy(shape.rank() == 4 ? args.dL_dy
                                               : args.dL_dy.reshaped({shape[0], shape[1], 1, 1}));
  const GradientWriter<T> dL_dbias(args.dL_dbias);
  const GradientWriter<T> squares(args.squares);
  for (int64_t k = 0; k < image[1]; ++k) {
    double sum = 0;
    double sum_of_squares = 0;
    for (int64_t n = 0; n < image[0]; ++n) {
      double of_sample = 0;
      for (int64_t p = 0; p < image[2]; ++p) {
        for (int64_t q = 0; q < image[3]; ++q) of_sample += dL_dy(n, k, p, q);
      }
      sum += of_sample;
      sum_of_squares += of_sample * of_sample;
      if (args.per_sample.present()) args.per_sample.data<T>()[n * image[1] + k] = static_cast<T>(of_sample);
    }
    dL_dbias.put(k, sum);
    squares.put(k, sum_of_squares);
  }
}

}  // namespace

void conv2d_prepare_transposed_filter(Device& device, const Conv2dPrepareTransposedFilterArgs& args) {
  args.prepared->packed = clone_to(args.filter, device, "filter");
}

void conv2d_backward_input(Device&, const Conv2dBackwardInputArgs& args) {
  with_real(args.dL_dy.dtype(), [&](auto real) { backward_input<decltype(real)>(args); });
}

void conv2d_backward_filter(Device&, const Conv2dBackwardFilterArgs& args) {
  with_real(args.x.dtype(), [&](auto real) { backward_filter<decltype(real)>(args); });
}

void bias_backward(Device&, const BiasBackwardArgs& args) {
  with_real(args.dL_dy.dtype(), [&](auto real) { bias_gradient<decltype(real)>(args); });
}

}  // namespace panda::kernels::reference
