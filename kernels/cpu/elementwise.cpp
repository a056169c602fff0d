// Functions of one and two tensors on the cpu device: vectors of contiguous elements, cut among the threads.
#include "kernels/elementwise.h"

#include <cmath>

#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

namespace {

// Elements below which a thread's wake-up costs more than the work.
constexpr int64_t kElementsPerItem = 32768;

/// body(begin, count) over [0, total) in parallel.
template <typename Body>
void for_ranges(CpuDevice& device, int64_t total, Body body) {
  const int64_t parts = ceil_div(total, kElementsPerItem);
  device.threads().parallel_for(parts, [&](int64_t part, int) {
    const Range range = part_of(total, parts, part);
    body(range.begin, range.size());
  });
}

SimdUnary simd_op(UnaryOp op) {
  switch (op) {
    case UnaryOp::kRelu:
      return SimdUnary::kRelu;
    case UnaryOp::kAbs:
      return SimdUnary::kAbs;
    case UnaryOp::kSquare:
      return SimdUnary::kSquare;
    case UnaryOp::kSqrt:
      return SimdUnary::kSqrt;
    case UnaryOp::kExp:
      return SimdUnary::kExp;
    case UnaryOp::kSigmoid:
      return SimdUnary::kSigmoid;
    case UnaryOp::kLog:
    case UnaryOp::kLeakyRelu:
    case UnaryOp::kElu:
      break;
  }
  throw InternalError("unary operation without a vector form");
}

SimdGradient simd_gradient(UnaryOp op) {
  switch (op) {
    case UnaryOp::kRelu:
      return SimdGradient::kRelu;
    case UnaryOp::kLeakyRelu:
      return SimdGradient::kLeakyRelu;
    case UnaryOp::kElu:
      return SimdGradient::kElu;
    case UnaryOp::kSigmoid:
      return SimdGradient::kSigmoid;
    case UnaryOp::kExp:
      return SimdGradient::kExp;
    default:
      throw InternalError("unary operation without a gradient from its output");
  }
}

/// The operations without a vector form: rare, so the C library's functions, rounded once from f64.
float apply_rare(UnaryOp op, double x, double slope) {
  if (op == UnaryOp::kLog) return static_cast<float>(std::log(x));
  if (op == UnaryOp::kLeakyRelu) return static_cast<float>(x < 0 ? slope * x : x);
  return static_cast<float>(x < 0 ? slope * std::expm1(x) : x);
}

SimdBinary simd_op(BinaryOp op) {
  switch (op) {
    case BinaryOp::kAdd:
      return SimdBinary::kAdd;
    case BinaryOp::kSubtract:
      return SimdBinary::kSubtract;
    case BinaryOp::kMultiply:
      return SimdBinary::kMultiply;
    case BinaryOp::kDivide:
      return SimdBinary::kDivide;
  }
  throw InternalError("unknown binary operation");
}

}  // namespace

void unary_forward(Device& base, const UnaryForwardArgs& args) {
  CpuDevice& device = cpu_device(base);
  const auto* x = args.x.data<float>();
  auto* y = args.y.data<float>();
  const int64_t total = stored_numel(args.x.shape(), args.x.layout());
  if (args.op == UnaryOp::kLog || args.op == UnaryOp::kLeakyRelu || args.op == UnaryOp::kElu) {
    for_ranges(device, total, [&](int64_t begin, int64_t count) {
      for (int64_t i = begin; i < begin + count; ++i) y[i] = apply_rare(args.op, x[i], args.slope);
    });
    return;
  }
  const SimdUnary op = simd_op(args.op);
  for_ranges(device, total,
             [&](int64_t begin, int64_t count) { device.micro().unary(op, x + begin, y + begin, count); });
}

void unary_backward(Device& base, const UnaryBackwardArgs& args) {
  CpuDevice& device = cpu_device(base);
  const auto* y = args.y.data<float>();
  const auto* dL_dy = args.dL_dy.data<float>();
  auto* dL_dx = args.dL_dx.view.data<float>();
  const SimdGradient op = simd_gradient(args.op);
  const auto slope = static_cast<float>(args.slope);
  for_ranges(device, stored_numel(args.y.shape(), args.y.layout()), [&](int64_t begin, int64_t count) {
    device.micro().unary_gradient(op, y + begin, dL_dy + begin, dL_dx + begin, slope,
                                  args.dL_dx.accumulates(), count);
  });
}

void binary_forward(Device& base, const BinaryForwardArgs& args) {
  CpuDevice& device = cpu_device(base);
  const auto* a = args.a.data<float>();
  const auto* b = args.b.data<float>();
  auto* y = args.y.data<float>();
  const SimdBinary op = simd_op(args.op);
  for_ranges(device, stored_numel(args.y.shape(), args.y.layout()), [&](int64_t begin, int64_t count) {
    device.micro().binary(op, a + begin, b + begin, y + begin, count);
  });
}

}  // namespace panda::kernels::cpu
