// Matrix products and the fully connected layer on the GPU. The product itself is implicit_gemm.cuh.
//
// WHAT   gemm: c[m,n] = sum_k op(a)[m,k] op(b)[k,n] (+ c). linear_forward: y[n,k] = sum_c x[n,c] weight[k,c]
// + bias[k].
//        Contracts in kernels/gemm.h. In f32 and tf32, operands whose rows are contiguous in the depth,
//        aligned and a multiple of 16 bytes long (op(a) = a, op(b) = b transposed; a linear layer's always
//        are contiguous) go the way of a 1x1 convolution. All others are gathered, and rounded to 16 bits on
//        the way in f16 and bf16.
// READS  4 bytes an element, A once per column tile, B once per row tile. WRITES 4 M N.
// LAUNCH, ORDER  as in implicit_gemm.cuh. A linear layer of few rows uses the same order of summation as one
// of
//        many, so that a row does not depend on the others: it has no kernel of its own.
// LIMITS K and N below 2^31.
// SOURCE kernels/gemm.h.
#include "kernels/gemm.h"

#include "kernels/cuda/gemm_kinds.cuh"
#include "kernels/cuda/gpu_kernels.h"

namespace panda::kernels::PANDA_TARGET {

namespace {

/// y[m,n] (+)= sum_d a[m,d] b[n,d] + bias[n].
struct Product {
  const float* a;
  int64_t a_row_stride, a_depth_stride;
  const float* b;
  int64_t b_row_stride, b_depth_stride;
  const float* bias;
  float* y;
  int64_t m, n, depth;
  bool accumulate;
};

[[nodiscard]] TileOutput output_of(const Product& one) {
  TileOutput out{};
  out.y = one.y;
  out.bias = one.bias;
  out.residual = one.accumulate ? one.y : nullptr;
  out.rows = one.m;
  out.columns = static_cast<int>(one.n);
  out.y_f32 = out.residual_f32 = true;
  out.vectors = one.n % kPackOf<float> == 0 && is_aligned(one.y);
  return out;
}

[[nodiscard]] bool has_aligned_rows(const float* elements, int64_t row_stride, int64_t depth_stride) {
  return depth_stride == 1 && row_stride % kPackOf<float> == 0 && is_aligned(elements);
}

template <typename Kind>
void multiply_as(GpuDevice& device, const Product& one) {
  const TileOutput out = output_of(one);
  if constexpr (std::is_same_v<typename Kind::Element, float>) {
    if (has_aligned_rows(one.a, one.a_row_stride, one.a_depth_stride) &&
        has_aligned_rows(one.b, one.b_row_stride, one.b_depth_stride)) {
      const RowsSource<float> a{one.a, one.a_row_stride, one.m, static_cast<int>(one.depth)};
      const RowsSource<float> b{one.b, one.b_row_stride, one.n, static_cast<int>(one.depth)};
      return launch_best_tiles<Kind, RowsLoader, RowsLoader>(device, a, b, out, one.depth);
    }
  }
  const MatrixSource a{one.a, one.a_row_stride, one.a_depth_stride, one.m, one.depth};
  const MatrixSource b{one.b, one.b_row_stride, one.b_depth_stride, one.n, one.depth};
  launch_tiles<Kind, 64, 64, MatrixGatherLoader, MatrixGatherLoader>(device, a, b, out, one.depth);
}

void multiply(const char* kernel, Device& device, const Product& one) {
  PANDA_CHECK(one.n <= INT32_MAX && one.depth <= INT32_MAX, kernel, ": N=", one.n, ", K=", one.depth,
              ", expected below 2^31 on this device");
  GpuDevice& gpu = gpu_device(device);
  switch (gpu.precision()) {
    case Precision::kF32:
      return multiply_as<F32Kind>(gpu, one);
    case Precision::kTf32:
      return multiply_as<Tf32Kind>(gpu, one);
    case Precision::kF16:
      return multiply_as<F16Kind>(gpu, one);
    case Precision::kBF16:
      return multiply_as<BF16Kind>(gpu, one);
  }
}

}  // namespace

void gemm(Device& device, const GemmArgs& args) {
  const int64_t a_columns = args.a.shape()[1];
  const int64_t b_columns = args.b.shape()[1];
  Product one{};
  one.a = args.a.data<float>();
  one.a_row_stride = args.transpose_a ? 1 : a_columns;
  one.a_depth_stride = args.transpose_a ? a_columns : 1;
  one.b = args.b.data<float>();
  one.b_row_stride = args.transpose_b ? b_columns : 1;
  one.b_depth_stride = args.transpose_b ? 1 : b_columns;
  one.y = args.c.data<float>();
  one.m = args.c.shape()[0];
  one.n = args.c.shape()[1];
  one.depth = args.a.shape()[args.transpose_a ? 0 : 1];
  one.accumulate = args.accumulate;
  multiply("gemm", device, one);
}

void linear_forward(Device& device, const LinearForwardArgs& args) {
  Product one{};
  one.a = args.x.data<float>();
  one.b = args.weight.data<float>();
  one.a_row_stride = one.b_row_stride = one.depth = args.x.shape()[1];
  one.a_depth_stride = one.b_depth_stride = 1;
  one.bias = args.bias.present() ? args.bias.data<float>() : nullptr;
  one.y = args.y.data<float>();
  one.m = args.y.shape()[0];
  one.n = args.y.shape()[1];
  multiply("linear_forward", device, one);
}

}  // namespace panda::kernels::PANDA_TARGET
