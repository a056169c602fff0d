// Reductions, softmax and row normalisation on the cpu device. Sums are f64 in a fixed order: along the last
// axis 16 lanes (element i in lane i mod 16), along any other axis one after another.
#include "kernels/reduce.h"

#include <cmath>
#include <limits>

#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

namespace {

constexpr int64_t kColumns = 128;  // f64 results in L1

SimdReduce simd_op(ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
    case ReduceOp::kMean:
      return SimdReduce::kSum;
    case ReduceOp::kSumOfSquares:
      return SimdReduce::kSumOfSquares;
    case ReduceOp::kMax:
      return SimdReduce::kMax;
    case ReduceOp::kMin:
      return SimdReduce::kMin;
  }
  throw InternalError("unknown reduction");
}

double neutral(ReduceOp op) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  return op == ReduceOp::kMax ? -kInfinity : op == ReduceOp::kMin ? kInfinity : 0.0;
}

}  // namespace

void reduce_forward(Device& base, const ReduceForwardArgs& args) {
  CpuDevice& device = cpu_device(base);
  const MicroKernels& micro = device.micro();
  const auto* x = args.x.data<float>();
  auto* y = args.y.data<float>();
  const Shape& shape = args.x.shape();
  const int64_t count = shape[args.axis];
  int64_t inner = 1;
  for (int i = args.axis + 1; i < shape.rank(); ++i) inner *= shape[i];
  const int64_t outer = args.y.numel() / inner;
  const SimdReduce op = simd_op(args.op);
  const double divisor = args.op == ReduceOp::kMean ? static_cast<double>(count) : 1.0;
  if (inner == 1) {
    device.threads().parallel_for(outer, [&](int64_t o, int) {
      y[o] = static_cast<float>(micro.reduce_line(op, x + o * count, count) / divisor);
    });
    return;
  }
  const int64_t strips = ceil_div(inner, kColumns);
  device.threads().parallel_for(outer * strips, [&](int64_t item, int) {
    const int64_t o = item / strips;
    const Range columns{item % strips * kColumns, std::min((item % strips + 1) * kColumns, inner)};
    double results[kColumns];
    std::fill_n(results, kColumns, neutral(args.op));
    micro.reduce_columns(op, x + o * count * inner + columns.begin, count, inner, columns.size(), results);
    for (int64_t j = 0; j < columns.size(); ++j)
      y[o * inner + columns.begin + j] = static_cast<float>(results[j] / divisor);
  });
}

void softmax_forward(Device& base, const SoftmaxForwardArgs& args) {
  CpuDevice& device = cpu_device(base);
  const int64_t count = args.x.shape()[1];
  device.threads().parallel_for(args.x.shape()[0], [&](int64_t n, int) {
    const float* x = args.x.data<float>() + n * count;
    float* y = args.y.data<float>() + n * count;
    const auto largest = static_cast<float>(device.micro().reduce_line(SimdReduce::kMax, x, count));
    const double sum = device.micro().exp_and_sum(x, largest, y, count);
    device.micro().divide(y, sum, y, count);
  });
}

void normalize_rows_forward(Device& base, const NormalizeRowsForwardArgs& args) {
  CpuDevice& device = cpu_device(base);
  const int64_t count = args.x.shape()[1];
  device.threads().parallel_for(args.x.shape()[0], [&](int64_t n, int) {
    const float* x = args.x.data<float>() + n * count;
    float* y = args.y.data<float>() + n * count;
    const double norm = std::sqrt(device.micro().reduce_line(SimdReduce::kSumOfSquares, x, count));
    if (norm == 0) {
      std::fill_n(y, count, 0.0f);
    } else {
      device.micro().divide(x, norm, y, count);
    }
  });
}

}  // namespace panda::kernels::cpu
