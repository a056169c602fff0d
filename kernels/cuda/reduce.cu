// reduce_forward (kernels/reduce.h): sum, mean, sum of squares, largest and smallest along one axis.
//
// WHAT    x: outer,axis,inner -> y: outer,inner
// READS   x once; partial results (8 B each) twice · WRITES y, and a partial result for each part of an axis
// FLOPS   one f64 addition an element (none for largest and smallest)
// LAUNCH  inner = 1: a block of 256 threads a part of a line, or a warp where lines are short
//         inner > 1: a block of 32 neighbouring lines x 8 threads along the axis
//         an axis longer than a part is cut into equal parts, whose results a second kernel joins in order
// LIMITS  the cut depends on the shape alone and every sum has one order: the same bits on every GPU
// SOURCE  kernels/reduce.h
#include "kernels/reduce.h"

#include <algorithm>

#include "kernels/cuda/gpu_kernels.h"
#include "kernels/cuda/work.cuh"

namespace panda::kernels::PANDA_TARGET {

namespace {

constexpr int kWarps = kBlockThreads / kWarpThreads;

/// Lines up to this length are left to a warp: 16 elements a lane.
constexpr int64_t kWarpLine = 512;
/// Elements of a part of a line that a block adds up: 64 a thread, long enough to make the joining of parts
/// (8 B written and read, and a launch) nothing beside the 64 KiB read.
constexpr int64_t kPartOfLine = 16384;
/// Elements of a part of an axis with inner > 1: 32 for each of a block's 8 threads along the axis.
constexpr int64_t kPartOfAxis = 256;

/// What a thread keeps while it reduces: f64 sums; largest and smallest are exact in f64 as well.
template <ReduceOp kOp>
struct Reduction {
  static constexpr bool kMax = kOp == ReduceOp::kMax;
  static constexpr bool kMin = kOp == ReduceOp::kMin;

  __device__ static double neutral() { return kMax ? -INFINITY : kMin ? INFINITY : 0.0; }
  /// The element's own contribution.
  __device__ static double of(float value) {
    const double wide = value;
    return kOp == ReduceOp::kSumOfSquares ? wide * wide : wide;
  }
  /// Comparisons, not fmax and fmin: those would lose a NaN.
  __device__ static double join(double a, double b) {
    if constexpr (kMax) return b > a || b != b ? b : a;
    if constexpr (kMin) return b < a || b != b ? b : a;
    return a + b;
  }
};

/// All lanes get the join of all lanes' values, in one order.
template <ReduceOp kOp>
__device__ double join_warp(double value) {
  // a + b has the bits of b + a, so that both lanes of a pair hold the same.
  for (int step = kWarpThreads / 2; step >= 1; step /= 2)
    value = Reduction<kOp>::join(value, __shfl_xor_sync(kWholeWarp, value, step));
  return value;
}

/// Where a result goes: y itself, divided, if the axis is one part; else the partial results.
struct Destination {
  float* y;
  double* partial;  ///< nullptr: there is one part
  double divisor;
};
__device__ void write_result(const Destination& to, int64_t line, int64_t part, int64_t lines, double value) {
  if (to.partial == nullptr) {
    to.y[line] = static_cast<float>(value / to.divisor);
  } else {
    to.partial[part * lines + line] = value;
  }
}

/// x: lines,axis. A warp a line.
template <ReduceOp kOp>
__global__ void __launch_bounds__(kBlockThreads)
    reduce_short_lines(const float* __restrict__ x, Destination to, int64_t lines, int64_t axis) {
  const int64_t line = thread_index() / kWarpThreads;
  if (line >= lines) return;  // whole warps
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  double result = Reduction<kOp>::neutral();
  for (int64_t i = lane; i < axis; i += kWarpThreads)
    result = Reduction<kOp>::join(result, Reduction<kOp>::of(x[line * axis + i]));
  result = join_warp<kOp>(result);
  if (lane == 0) write_result(to, line, 0, lines, result);
}

/// x: lines,axis. A block a part of a line.
template <ReduceOp kOp>
__global__ void __launch_bounds__(kBlockThreads)
    reduce_lines(const float* __restrict__ x, Destination to, int64_t lines, int64_t axis, int64_t parts) {
  PANDA_SHARED(double, results, [kWarps]);
  int64_t part;
  const int64_t line = divide(blockIdx.x, parts, part);
  const int64_t begin = part * kPartOfLine;
  const int64_t end = begin + kPartOfLine < axis ? begin + kPartOfLine : axis;
  const int thread = static_cast<int>(threadIdx.x);
  double result = Reduction<kOp>::neutral();
#pragma unroll 4
  for (int64_t i = begin + thread; i < end; i += kBlockThreads)
    result = Reduction<kOp>::join(result, Reduction<kOp>::of(x[line * axis + i]));
  result = join_warp<kOp>(result);
  if (thread % kWarpThreads == 0) results[thread / kWarpThreads] = result;
  __syncthreads();  // every warp's result is there before they are joined
  if (thread == 0) {
    result = results[0];
    for (int i = 1; i < kWarps; ++i) result = Reduction<kOp>::join(result, results[i]);
    write_result(to, line, part, lines, result);
  }
}

/// x: outer,axis,inner. A block: 32 neighbours along inner, 8 threads along a part of the axis.
template <ReduceOp kOp>
__global__ void __launch_bounds__(kBlockThreads)
    reduce_columns(const float* __restrict__ x, Destination to, int64_t outer, int64_t axis, int64_t inner,
                   int64_t parts) {
  PANDA_SHARED(double, results, [kWarps][kWarpThreads]);
  int64_t column_block;
  int64_t part;
  int64_t rest = divide(blockIdx.x, (inner + kWarpThreads - 1) / kWarpThreads, column_block);
  const int64_t o = divide(rest, parts, part);
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int row = static_cast<int>(threadIdx.x) / kWarpThreads;
  const int64_t column = column_block * kWarpThreads + lane;
  const int64_t begin = part * kPartOfAxis;
  const int64_t end = begin + kPartOfAxis < axis ? begin + kPartOfAxis : axis;
  double result = Reduction<kOp>::neutral();
  if (column < inner) {
#pragma unroll 4
    for (int64_t i = begin + row; i < end; i += kWarps)
      result = Reduction<kOp>::join(result, Reduction<kOp>::of(x[(o * axis + i) * inner + column]));
  }
  results[row][lane] = result;
  __syncthreads();  // all rows' results are there before they are joined
  if (row == 0 && column < inner) {
    for (int i = 1; i < kWarps; ++i) result = Reduction<kOp>::join(result, results[i][lane]);
    write_result(to, o * inner + column, part, outer * inner, result);
  }
}

/// partial: parts,lines -> y: lines.
template <ReduceOp kOp>
__global__ void __launch_bounds__(kBlockThreads)
    join_parts(const double* __restrict__ partial, float* __restrict__ y, int64_t lines, int64_t parts,
               double divisor) {
  const int64_t line = thread_index();
  if (line >= lines) return;
  double result = partial[line];
  for (int64_t part = 1; part < parts; ++part)
    result = Reduction<kOp>::join(result, partial[part * lines + line]);
  y[line] = static_cast<float>(result / divisor);
}

template <ReduceOp kOp>
void launch_reduce(GpuDevice& device, const ReduceForwardArgs& args) {
  const Shape& shape = args.x.shape();
  const auto* x = args.x.data<float>();
  auto* y = args.y.data<float>();
  const int64_t axis = shape[args.axis];
  const int64_t lines = args.y.numel();
  int64_t inner = 1;
  for (int i = args.axis + 1; i < shape.rank(); ++i) inner *= shape[i];
  const int64_t outer = lines / inner;
  const double divisor = kOp == ReduceOp::kMean ? static_cast<double>(axis) : 1.0;
  const dim3 block(kBlockThreads);
  if (inner == 1 && axis <= kWarpLine) {
    PANDA_LAUNCH((reduce_short_lines<kOp>), grid_for(lines, kWarps), block, 0, device, x,
                 (Destination{y, nullptr, divisor}), lines, axis);
    return;
  }
  const int64_t parts = std::max<int64_t>(ceil_div(axis, inner == 1 ? kPartOfLine : kPartOfAxis), 1);
  const Storage partial(device, parts == 1 ? 0 : checked_mul(checked_mul(parts, lines), sizeof(double)),
                        "reduce_forward");
  const Destination to = {y, static_cast<double*>(partial.data()), divisor};
  if (inner == 1) {
    PANDA_LAUNCH((reduce_lines<kOp>), grid_for(checked_mul(lines, parts), 1), block, 0, device, x, to, lines,
                 axis, parts);
  } else {
    const int64_t blocks = checked_mul(checked_mul(outer, parts), ceil_div(inner, kWarpThreads));
    PANDA_LAUNCH((reduce_columns<kOp>), grid_for(blocks, 1), block, 0, device, x, to, outer, axis, inner,
                 parts);
  }
  if (parts > 1) {
    PANDA_LAUNCH((join_parts<kOp>), grid_for(lines, kBlockThreads), block, 0, device, to.partial, y, lines,
                 parts, divisor);
  }
}

}  // namespace

void reduce_forward(Device& base, const ReduceForwardArgs& args) {
  GpuDevice& device = gpu_device(base);
  switch (args.op) {
    case ReduceOp::kSum:
      return launch_reduce<ReduceOp::kSum>(device, args);
    case ReduceOp::kMean:
      return launch_reduce<ReduceOp::kMean>(device, args);
    case ReduceOp::kSumOfSquares:
      return launch_reduce<ReduceOp::kSumOfSquares>(device, args);
    case ReduceOp::kMax:
      return launch_reduce<ReduceOp::kMax>(device, args);
    case ReduceOp::kMin:
      return launch_reduce<ReduceOp::kMin>(device, args);
  }
  throw InternalError("unknown reduction");
}

}  // namespace panda::kernels::PANDA_TARGET
