// conv2d_forward for one kind of product (gemm_kinds.cuh): conv2d.cu picks the kind, conv2d_<precision>.cu
// instantiates it, so that the four compile side by side.
#pragma once

#include "kernels/conv2d.h"
#include "kernels/cuda/gemm_kinds.cuh"

namespace panda::kernels::PANDA_TARGET {

/// Elements of a filter's row in packed form: r s c rounded up to whole stages, so that its loads need no
/// bound in the depth.
template <typename Kind>
[[nodiscard]] int64_t packed_depth(const Conv2dFilter& filter) {
  constexpr int64_t kStep = kStageDepth<typename Kind::Element>;
  return (filter.r * filter.s * filter.c + kStep - 1) / kStep * kStep;
}

/// ImageGatherLoader of one input type, in the form that launch_tiles takes.
template <typename Input>
struct Gathering {
  template <typename Element, int kRows, int kThreads>
  using Loader = ImageGatherLoader<Element, Input, kRows, kThreads>;
};

template <typename Kind>
class Conv2dLauncher {
 public:
  Conv2dLauncher(GpuDevice& device, const Conv2dForwardArgs& args) : device_(device), args_(args) {}

  /// Cuts the batch into launches of at most `max_pixels` output pixels, or of one image. An image's result
  /// does not depend on the cut.
  void run(int64_t max_pixels) const {
    const Shape& y = args_.y.shape();
    const int64_t images = std::max<int64_t>(1, max_pixels / (y[2] * y[3]));
    for (int64_t begin = 0; begin < y[0]; begin += images) run_images(begin, std::min(begin + images, y[0]));
  }

 private:
  using Element = typename Kind::Element;

  void run_images(int64_t begin, int64_t end) const {
    const Conv2dFilter& filter = *args_.filter;
    const ConstTensorView x = args_.x.rows(begin, end);
    const TileOutput out = output(begin, end);
    const int64_t depth = filter.r * filter.s * filter.c;
    const RowsSource<Element> b{static_cast<const Element*>(filter.packed.view().raw()),
                                packed_depth<Kind>(filter), filter.k,
                                static_cast<int>(packed_depth<Kind>(filter))};
    const bool dense = x.layout() == Layout::kDense;
    const bool large = filter.r > kLargestMaskedFilter || filter.s > kLargestMaskedFilter;
    if (dense || large || filter.c % kPackOf<Element> != 0 || !is_aligned(x.raw())) {
      gather(x, b, out, depth);
      return;
    }
    const Conv2dGeometry& g = filter.geometry;
    const auto* pixels = static_cast<const Element*>(x.raw());
    // The extents are compared because a phase of conv2d_backward_input may have other ones than its padding
    // says.
    const bool same_pixels = x.shape()[2] == args_.y.shape()[2] && x.shape()[3] == args_.y.shape()[3];
    if (filter.r == 1 && filter.s == 1 && g.stride_h == 1 && g.stride_w == 1 && g.pad_h == 0 &&
        g.pad_w == 0 && same_pixels) {
      const RowsSource<Element> a{pixels, filter.c, out.rows, static_cast<int>(filter.c)};
      launch_best_tiles<Kind, RowsLoader, RowsLoader>(device_, a, b, out, depth);
    } else {
      const ImageSource<Element> a{pixels, window(x, out.rows)};
      launch_best_tiles<Kind, ImageLoader, RowsLoader>(device_, a, b, out, depth);
    }
  }

  void gather(const ConstTensorView& x, const RowsSource<Element>& b, const TileOutput& out,
              int64_t depth) const {
    const WindowGeometry geometry = window(x, out.rows);
    if (x.layout() == Layout::kDense) {
      const ImageSource<float> a{x.data<float>(), geometry};
      launch_tiles<Kind, 64, 64, Gathering<float>::template Loader, RowsLoader>(device_, a, b, out, depth);
    } else {
      const ImageSource<Element> a{x.data<Element>(), geometry};
      launch_tiles<Kind, 64, 64, Gathering<Element>::template Loader, RowsLoader>(device_, a, b, out, depth);
    }
  }

  [[nodiscard]] WindowGeometry window(const ConstTensorView& x, int64_t rows) const {
    const Conv2dFilter& filter = *args_.filter;
    const Conv2dGeometry& g = filter.geometry;
    const Shape& in = x.shape();
    const Shape& y = args_.y.shape();
    WindowGeometry window{};
    window.rows = rows;
    window.height = static_cast<int>(in[2]);
    window.width = static_cast<int>(in[3]);
    window.channels = static_cast<int>(filter.c);
    window.filter_height = static_cast<int>(filter.r);
    window.filter_width = static_cast<int>(filter.s);
    window.stride_h = static_cast<int>(g.stride_h);
    window.stride_w = static_cast<int>(g.stride_w);
    window.pad_h = static_cast<int>(g.pad_h);
    window.pad_w = static_cast<int>(g.pad_w);
    window.per_image = FastDivisor(y[2] * y[3]);
    window.per_row = FastDivisor(y[3]);
    window.by_channels = FastDivisor(filter.c);
    window.by_filter_width = FastDivisor(filter.s);
    const bool dense = x.layout() == Layout::kDense;
    window.image_stride = filter.c * in[2] * in[3];
    window.h_stride = dense ? in[3] : in[3] * filter.c;
    window.w_stride = dense ? 1 : filter.c;
    window.c_stride = dense ? in[2] * in[3] : 1;
    window.next_s = window.w_stride - filter.c * window.c_stride;
    window.next_r = window.h_stride - filter.s * window.w_stride;
    return window;
  }

  [[nodiscard]] TileOutput output(int64_t begin, int64_t end) const {
    const TensorView y = args_.y.rows(begin, end);
    const ConstTensorView residual =
        args_.residual.present() ? args_.residual.rows(begin, end) : ConstTensorView();
    const Shape& shape = y.shape();
    TileOutput out{};
    out.y = y.raw();
    out.bias = args_.bias.present() ? args_.bias.data<float>() : nullptr;
    out.residual = residual.present() ? residual.raw() : nullptr;
    out.rows = shape[0] * shape[2] * shape[3];
    out.columns = static_cast<int>(shape[1]);
    out.y_dense = y.layout() == Layout::kDense;
    out.y_f32 = y.dtype() == DType::kF32;
    out.residual_dense = residual.present() && residual.layout() == Layout::kDense;
    out.residual_f32 = residual.present() && residual.dtype() == DType::kF32;
    out.relu = args_.relu;
    out.vectors = !out.y_dense && !out.residual_dense && shape[1] % kPackOf<Element> == 0 &&
                  is_aligned(y.raw()) && is_aligned(out.residual);
    out.per_image = FastDivisor(shape[2] * shape[3]);
    out.image_pixels = shape[2] * shape[3];
    return out;
  }

  GpuDevice& device_;
  const Conv2dForwardArgs& args_;
};

/// Output pixels of one launch: their numbers, and those of the rows that fill the last tile, have 31 bits.
inline constexpr int64_t kMaxPixels = INT32_MAX - 1024;

template <typename Kind>
void conv2d_forward_as(GpuDevice& device, const Conv2dForwardArgs& args, int64_t max_pixels) {
  Conv2dLauncher<Kind>(device, args).run(max_pixels);
}
extern template void conv2d_forward_as<F16Kind>(GpuDevice&, const Conv2dForwardArgs&, int64_t);
extern template void conv2d_forward_as<BF16Kind>(GpuDevice&, const Conv2dForwardArgs&, int64_t);
extern template void conv2d_forward_as<Tf32Kind>(GpuDevice&, const Conv2dForwardArgs&, int64_t);
extern template void conv2d_forward_as<F32Kind>(GpuDevice&, const Conv2dForwardArgs&, int64_t);

}  // namespace panda::kernels::PANDA_TARGET
