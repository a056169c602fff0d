// Convolution on the GPU: the filter's packing, and the choice of precision. The product itself is
// implicit_gemm.cuh.
//
// WHAT   conv2d_prepare_filter: packed[k, (r S + s) C + c] = filter[k,c,r,s], rounded to the device's
// precision;
//        rows are padded with zeros to whole stages (packed_depth).
//        conv2d_forward: contract in kernels/conv2d.h; conv2d.cuh says which loader reads x.
// READS  the filter once, 4 K C R S bytes. WRITES the packed filter, 2 or 4 bytes an element.
// LAUNCH a thread per packed element, 256 a block.
// LIMITS extents with padding below 2^30, C R S and K below 2^30: beyond, one line of error.
// SOURCE kernels/conv2d.h.
#include "kernels/conv2d.h"

#include "kernels/cuda/conv2d.cuh"
#include "kernels/cuda/gpu_kernels.h"

namespace panda::kernels::PANDA_TARGET {

namespace {

constexpr int kPackThreads = 256;
constexpr int64_t kLargestExtent = int64_t{1} << 30;

struct PackedFilter {
  const float* filter;  ///< k,c,r,s
  void* packed;
  int64_t packed_numel;
  int packed_depth, depth;
  int channels, taps;
  FastDivisor by_channels;
  bool tf32;
};

template <typename Element>
__global__ void __launch_bounds__(kPackThreads) pack_filter(const PackedFilter args) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kPackThreads + threadIdx.x;
  if (i >= args.packed_numel) return;
  const int64_t k = i / args.packed_depth;
  const auto at = static_cast<int>(i - k * args.packed_depth);
  float value = 0.0f;
  if (at < args.depth) {
    int c = at;
    const int tap = args.by_channels.divide(c);
    value = args.filter[(k * args.channels + c) * args.taps + tap];
    if (args.tf32) value = __uint_as_float(to_tf32(value));
  }
  static_cast<Element*>(args.packed)[i] = from_float<Element>(value);
}

template <typename Kind>
void prepare_as(GpuDevice& device, const Conv2dPrepareFilterArgs& args, bool tf32) {
  using Element = typename Kind::Element;
  Conv2dFilter& prepared = *args.prepared;
  const int64_t row = packed_depth<Kind>(prepared);
  const Shape shape{prepared.k, row};
  const ConstTensorView earlier = prepared.packed.present() ? prepared.packed.view() : TensorView();
  const bool fits = earlier.present() && &earlier.device() == &device && earlier.shape() == shape &&
                    earlier.dtype() == DTypeOf<Element>::value;
  if (!fits) prepared.packed = Tensor(device, DTypeOf<Element>::value, shape, "filter");
  PackedFilter pack{};
  pack.filter = args.filter.data<float>();
  pack.packed = prepared.packed.view().raw();
  pack.packed_numel = prepared.packed.numel();
  pack.packed_depth = static_cast<int>(row);
  pack.depth = static_cast<int>(prepared.r * prepared.s * prepared.c);
  pack.channels = static_cast<int>(prepared.c);
  pack.taps = static_cast<int>(prepared.r * prepared.s);
  pack.by_channels = FastDivisor(prepared.c);
  pack.tf32 = tf32;
  const int64_t blocks = (pack.packed_numel + kPackThreads - 1) / kPackThreads;
  PANDA_CHECK(blocks <= INT32_MAX, "conv2d_prepare_filter: filter is ", args.filter.shape(),
              ", too large for this device");
  PANDA_LAUNCH((pack_filter<Element>), dim3(static_cast<unsigned>(blocks)), dim3(kPackThreads), 0, device,
               pack);
}

}  // namespace

void conv2d_prepare_filter(Device& device, const Conv2dPrepareFilterArgs& args) {
  const Shape& shape = args.filter.shape();
  PANDA_CHECK(shape[0] < kLargestExtent && shape.numel() / shape[0] < kLargestExtent,
              "conv2d_prepare_filter: filter is ", shape, ", expected K and C R S below 2^30 on this device");
  GpuDevice& gpu = gpu_device(device);
  switch (gpu.precision()) {
    case Precision::kF32:
      return prepare_as<F32Kind>(gpu, args, false);
    case Precision::kTf32:
      return prepare_as<Tf32Kind>(gpu, args, true);
    case Precision::kF16:
      return prepare_as<F16Kind>(gpu, args, false);
    case Precision::kBF16:
      return prepare_as<BF16Kind>(gpu, args, false);
  }
}

void conv2d_forward(Device& device, const Conv2dForwardArgs& args) {
  const Shape& x = args.x.shape();
  const Conv2dGeometry& g = args.filter->geometry;
  const Shape& y = args.y.shape();
  PANDA_CHECK(x[2] < kLargestExtent && x[3] < kLargestExtent && g.pad_h < kLargestExtent / 2 &&
                  g.pad_w < kLargestExtent / 2 && y[2] * y[3] < kLargestExtent,
              "conv2d_forward: x is ", x, " with padding ", g.pad_h, "x", g.pad_w,
              ", expected extents and pixels below 2^30 on this device");
  GpuDevice& gpu = gpu_device(device);
  switch (gpu.precision()) {
    case Precision::kF32:
      return conv2d_forward_as<F32Kind>(gpu, args, kMaxPixels);
    case Precision::kTf32:
      return conv2d_forward_as<Tf32Kind>(gpu, args, kMaxPixels);
    case Precision::kF16:
      return conv2d_forward_as<F16Kind>(gpu, args, kMaxPixels);
    case Precision::kBF16:
      return conv2d_forward_as<BF16Kind>(gpu, args, kMaxPixels);
  }
}

}  // namespace panda::kernels::PANDA_TARGET
