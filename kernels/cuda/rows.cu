// softmax_forward, normalize_rows_forward (kernels/reduce.h): functions of whole rows.
//
// WHAT    y[n,c] = exp(x[n,c] - max) / sum · y[n,c] = x[n,c] / |x[n,:]|; N,C
// READS   x twice, the second time from L1 or L2 · WRITES y
// FLOPS   softmax: two exponentials and an f64 multiply-add an element · normalise: an f64 multiply-add and a
// multiplication LAUNCH  a warp a row of up to kWarpRow elements, else a block of 256 threads a row LIMITS
// sums are f64, in one order for each C; the softmax's difference and exponentials are f32 SOURCE  softmax:
// the largest and the sum in one pass (Milakov, Gimelshein 2018)
#include "kernels/cuda/gpu_kernels.h"
#include "kernels/cuda/work.cuh"
#include "kernels/reduce.h"

namespace panda::kernels::PANDA_TARGET {

namespace {

/// 32 elements a lane; a block's second barrier costs more than a longer loop until about there.
constexpr int64_t kWarpRow = 1024;
constexpr int kWarps = kBlockThreads / kWarpThreads;

/// The sum of exp(x - largest) over some elements; a NaN among them makes `largest` NaN.
struct SoftmaxSum {
  float largest;
  double sum;
};

__device__ SoftmaxSum join(const SoftmaxSum& a, const SoftmaxSum& b) {
  // A comparison, not fmaxf: that would lose a NaN.
  const bool b_leads = b.largest > a.largest || b.largest != b.largest;
  const SoftmaxSum high = {b_leads ? b.largest : a.largest, b_leads ? b.sum : a.sum};
  const SoftmaxSum low = {b_leads ? a.largest : b.largest, b_leads ? a.sum : b.sum};
  // Equal ones (both may be -inf: no elements yet) are not subtracted.
  const float factor = low.largest == high.largest ? 1.0F : expf(low.largest - high.largest);
  // Spelt as one fma, so that join(a, b) has the bits of join(b, a) whatever the compiler contracts.
  return {high.largest, fma(low.sum, static_cast<double>(factor), high.sum)};
}

/// Joins the values of all lanes of a warp, in one order; all lanes get the result.
__device__ SoftmaxSum join_warp(SoftmaxSum value) {
  for (int step = kWarpThreads / 2; step >= 1; step /= 2) {
    const SoftmaxSum other = {__shfl_xor_sync(kWholeWarp, value.largest, step),
                              __shfl_xor_sync(kWholeWarp, value.sum, step)};
    value = join(value, other);
  }
  return value;
}
__device__ double join_warp(double value) {
  for (int step = kWarpThreads / 2; step >= 1; step /= 2) value += __shfl_xor_sync(kWholeWarp, value, step);
  return value;
}
__device__ double join(double a, double b) {
  return a + b;
}

/// Joins the values of all threads that share a row: a warp's or a block's.
template <int kThreads, typename Value>
__device__ Value join_row(Value value) {
  value = join_warp(value);
  if constexpr (kThreads > kWarpThreads) {
    PANDA_SHARED(Value, values, [kWarps]);
    const int thread = static_cast<int>(threadIdx.x);
    if (thread % kWarpThreads == 0) values[thread / kWarpThreads] = value;
    __syncthreads();  // every warp's value is there before they are joined
    value = values[0];
    for (int i = 1; i < kWarps; ++i) value = join(value, values[i]);
  }
  return value;
}

/// The row of this thread, and its place among the threads of that row.
template <int kThreads>
struct RowThread {
  int64_t row;
  int place;
  __device__ RowThread() : row(thread_index() / kThreads), place(static_cast<int>(threadIdx.x) % kThreads) {}
};

// x and y may be the same memory (no __restrict__): a thread reads and writes its own elements alone.
template <int kThreads>
__global__ void __launch_bounds__(kBlockThreads)
    softmax_rows(const float* x, float* y, int64_t rows, int64_t columns) {
  const RowThread<kThreads> at;
  if (at.row >= rows) return;  // whole warps; never where a block shares a row
  x += at.row * columns;
  y += at.row * columns;
  SoftmaxSum value = {-INFINITY, 0};
  for (int64_t c = at.place; c < columns; c += kThreads) value = join(value, {x[c], 1.0});
  value = join_row<kThreads>(value);
  // inf - inf: a row whose largest is infinite is NaN throughout.
  const double scale = fabsf(value.largest) == INFINITY ? NAN : 1.0 / value.sum;
  for (int64_t c = at.place; c < columns; c += kThreads)
    y[c] = static_cast<float>(expf(x[c] - value.largest) * scale);
}

template <int kThreads>
__global__ void __launch_bounds__(kBlockThreads)
    normalize_rows(const float* x, float* y, int64_t rows, int64_t columns) {
  const RowThread<kThreads> at;
  if (at.row >= rows) return;  // whole warps; never where a block shares a row
  x += at.row * columns;
  y += at.row * columns;
  double squares = 0;
  for (int64_t c = at.place; c < columns; c += kThreads) {
    const double value = x[c];
    squares += value * value;
  }
  squares = join_row<kThreads>(squares);
  // A factor instead of a division an element: half an ulp of f64 more, lost when it is rounded to f32.
  const double factor = squares == 0 ? 0 : 1.0 / sqrt(squares);
  for (int64_t c = at.place; c < columns; c += kThreads) y[c] = static_cast<float>(x[c] * factor);
}

using RowsKernel = void (*)(const float* x, float* y, int64_t rows, int64_t columns);

void launch_rows(GpuDevice& device, RowsKernel by_warp, RowsKernel by_block, const ConstTensorView& x,
                 const TensorView& y) {
  const int64_t rows = x.shape()[0];
  const int64_t columns = x.shape()[1];
  const bool warp = columns <= kWarpRow;
  PANDA_LAUNCH((warp ? by_warp : by_block), grid_for(rows, warp ? kWarps : 1), dim3(kBlockThreads), 0, device,
               x.data<float>(), y.data<float>(), rows, columns);
}

}  // namespace

void softmax_forward(Device& base, const SoftmaxForwardArgs& args) {
  launch_rows(gpu_device(base), softmax_rows<kWarpThreads>, softmax_rows<kBlockThreads>, args.x, args.y);
}

void normalize_rows_forward(Device& base, const NormalizeRowsForwardArgs& args) {
  launch_rows(gpu_device(base), normalize_rows<kWarpThreads>, normalize_rows<kBlockThreads>, args.x, args.y);
}

}  // namespace panda::kernels::PANDA_TARGET
