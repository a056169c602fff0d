#include "kernels/reduce.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/reference/real.h"
#include "kernels/reference/reference_kernels.h"

namespace panda::kernels::reference {

namespace {

template <typename T>
double reduce_line(ReduceOp op, const T* x, int64_t count, int64_t stride) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  double result = op == ReduceOp::kMax ? -kInfinity : op == ReduceOp::kMin ? kInfinity : 0.0;
  for (int64_t i = 0; i < count; ++i) {
    const double value = x[i * stride];
    switch (op) {
      case ReduceOp::kSum:
      case ReduceOp::kMean:
        result += value;
        break;
      case ReduceOp::kSumOfSquares:
        result += value * value;
        break;
      case ReduceOp::kMax:
        if (value > result || std::isnan(value)) result = value;
        break;
      case ReduceOp::kMin:
        if (value < result || std::isnan(value)) result = value;
        break;
    }
  }
  return op == ReduceOp::kMean ? result / static_cast<double>(count) : result;
}

template <typename T>
void reduce(const ReduceForwardArgs& args) {
  const T* x = args.x.data<T>();
  T* y = args.y.data<T>();
  const Shape& shape = args.x.shape();
  const int64_t axis_extent = shape[args.axis];
  int64_t inner = 1;
  for (int i = args.axis + 1; i < shape.rank(); ++i) inner *= shape[i];
  const int64_t outer = args.y.numel() / inner;
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t i = 0; i < inner; ++i) {
      y[o * inner + i] =
          static_cast<T>(reduce_line(args.op, x + o * axis_extent * inner + i, axis_extent, inner));
    }
  }
}

}  // namespace

void reduce_forward(Device&, const ReduceForwardArgs& args) {
  with_real(args.x.dtype(), [&](auto real) { reduce<decltype(real)>(args); });
}

void softmax_forward(Device&, const SoftmaxForwardArgs& args) {
  const int64_t count = args.x.shape()[1];
  for (int64_t n = 0; n < args.x.shape()[0]; ++n) {
    const float* x = args.x.data<float>() + n * count;
    float* y = args.y.data<float>() + n * count;
    double largest = -std::numeric_limits<double>::infinity();
    for (int64_t c = 0; c < count; ++c)
      largest = std::isnan(x[c]) ? double{x[c]} : std::max(largest, double{x[c]});
    double sum = 0;
    for (int64_t c = 0; c < count; ++c) sum += std::exp(x[c] - largest);
    for (int64_t c = 0; c < count; ++c) y[c] = static_cast<float>(std::exp(x[c] - largest) / sum);
  }
}

void normalize_rows_forward(Device&, const NormalizeRowsForwardArgs& args) {
  const int64_t count = args.x.shape()[1];
  for (int64_t n = 0; n < args.x.shape()[0]; ++n) {
    const float* x = args.x.data<float>() + n * count;
    float* y = args.y.data<float>() + n * count;
    double squares = 0;
    for (int64_t i = 0; i < count; ++i) squares += double{x[i]} * x[i];
    const double norm = std::sqrt(squares);
    for (int64_t i = 0; i < count; ++i) y[i] = norm == 0 ? 0.0f : static_cast<float>(x[i] / norm);
  }
}

}  // namespace panda::kernels::reference
