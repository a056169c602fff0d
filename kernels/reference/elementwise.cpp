#include "kernels/elementwise.h"

#include <cmath>
#include <cstring>

#include "kernels/reference/real.h"
#include "kernels/reference/reference_kernels.h"

namespace panda::kernels::reference {

namespace {

double apply(UnaryOp op, double x, double slope) {
  switch (op) {
    case UnaryOp::kRelu:
      return x < 0 ? 0.0 : x;
    case UnaryOp::kAbs:
      return std::abs(x);
    case UnaryOp::kSquare:
      return x * x;
    case UnaryOp::kSqrt:
      return std::sqrt(x);
    case UnaryOp::kExp:
      return std::exp(x);
    case UnaryOp::kLog:
      return std::log(x);
    case UnaryOp::kSigmoid:
      return 1 / (1 + std::exp(-x));
    case UnaryOp::kLeakyRelu:
      return x < 0 ? slope * x : x;
    case UnaryOp::kElu:
      return x < 0 ? slope * std::expm1(x) : x;
  }
  throw InternalError("unknown unary operation");
}

/// op'(x), from y = op(x).
double derivative(UnaryOp op, double y, double slope) {
  switch (op) {
    case UnaryOp::kRelu:
      return y > 0 ? 1.0 : 0.0;
    case UnaryOp::kLeakyRelu:
      return y >= 0 ? 1.0 : slope;
    case UnaryOp::kElu:
      return y >= 0 ? 1.0 : y + slope;
    case UnaryOp::kSigmoid:
      return y * (1 - y);
    case UnaryOp::kExp:
      return y;
    default:
      throw InternalError("unary operation without a gradient from its output");
  }
}

double apply(BinaryOp op, double a, double b) {
  switch (op) {
    case BinaryOp::kAdd:
      return a + b;
    case BinaryOp::kSubtract:
      return a - b;
    case BinaryOp::kMultiply:
      return a * b;
    case BinaryOp::kDivide:
      return a / b;
  }
  throw InternalError("unknown binary operation");
}

/// Element `i` of x as f64: exact for every dtype but i64 beyond 2^53.
double load(const ConstTensorView& x, int64_t i) {
  switch (x.dtype()) {
    case DType::kF64:
      return x.data<double>()[i];
    case DType::kF32:
      return x.data<float>()[i];
    case DType::kF16:
      return to_float(x.data<Float16>()[i]);
    case DType::kBF16:
      return to_float(x.data<BFloat16>()[i]);
    case DType::kU8:
      return x.data<uint8_t>()[i];
    case DType::kI32:
      return x.data<int32_t>()[i];
    case DType::kI64:
      return static_cast<double>(x.data<int64_t>()[i]);
    default:
      throw InternalError("convert: unreadable dtype");
  }
}

/// Rounds an f64 to f32 so that rounding the result once more, to 16 bits, equals rounding the f64 directly
/// ("round to odd").
float round_to_odd(double value) {
  const auto nearest = static_cast<float>(value);
  if (static_cast<double>(nearest) == value || std::isnan(value) || std::isinf(nearest)) return nearest;
  const bool above = std::abs(static_cast<double>(nearest)) > std::abs(value);
  const float truncated = above ? std::nextafter(nearest, 0.0f) : nearest;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(truncated) | 1u);
}

void store(const TensorView& y, int64_t i, double value) {
  switch (y.dtype()) {
    case DType::kF64:
      y.data<double>()[i] = value;
      return;
    case DType::kF32:
      y.data<float>()[i] = static_cast<float>(value);
      return;
    case DType::kF16:
      y.data<Float16>()[i] = to_float16(round_to_odd(value));
      return;
    case DType::kBF16:
      y.data<BFloat16>()[i] = to_bfloat16(round_to_odd(value));
      return;
    default:
      throw InternalError("convert: unwritable dtype");
  }
}

void convert_element(const ConstTensorView& x, int64_t from, const TensorView& y, int64_t to) {
  if (x.dtype() != y.dtype()) {
    store(y, to, load(x, from));
    return;
  }
  const int64_t size = dtype_bytes(x.dtype());
  std::memcpy(static_cast<char*>(y.raw()) + to * size, static_cast<const char*>(x.raw()) + from * size,
              static_cast<size_t>(size));
}

}  // namespace

void unary_forward(Device&, const UnaryForwardArgs& args) {
  with_real(args.x.dtype(), [&](auto real) {
    using T = decltype(real);
    const int64_t count = stored_numel(args.x.shape(), args.x.layout());
    for (int64_t i = 0; i < count; ++i)
      args.y.data<T>()[i] = static_cast<T>(apply(args.op, args.x.data<T>()[i], args.slope));
  });
}

void unary_backward(Device&, const UnaryBackwardArgs& args) {
  with_real(args.y.dtype(), [&](auto real) {
    using T = decltype(real);
    const GradientWriter<T> dL_dx(args.dL_dx);
    const int64_t count = stored_numel(args.y.shape(), args.y.layout());
    for (int64_t i = 0; i < count; ++i) {
      const double slope_here = derivative(args.op, args.y.data<T>()[i], args.slope);
      dL_dx.put(i, slope_here == 0 && args.op == UnaryOp::kRelu ? 0.0 : args.dL_dy.data<T>()[i] * slope_here);
    }
  });
}

void binary_forward(Device&, const BinaryForwardArgs& args) {
  with_real(args.a.dtype(), [&](auto real) {
    using T = decltype(real);
    const int64_t count = stored_numel(args.y.shape(), args.y.layout());
    for (int64_t i = 0; i < count; ++i)
      args.y.data<T>()[i] = static_cast<T>(apply(args.op, args.a.data<T>()[i], args.b.data<T>()[i]));
  });
}

void convert(Device& device, const ConvertArgs& args) {
  const Shape& shape = args.x.shape();
  if (args.x.layout() == args.y.layout()) {
    const int64_t count = stored_numel(shape, args.x.layout());
    for (int64_t i = 0; i < count; ++i) convert_element(args.x, i, args.y, i);
    return;
  }
  if (args.y.layout() == Layout::kChannelBlocked16) device.fill(args.y.raw(), 0, args.y.bytes());
  for (int64_t n = 0; n < shape[0]; ++n) {
    for (int64_t c = 0; c < shape[1]; ++c) {
      for (int64_t h = 0; h < shape[2]; ++h) {
        for (int64_t w = 0; w < shape[3]; ++w) {
          convert_element(args.x, image_offset(shape, args.x.layout(), n, c, h, w), args.y,
                          image_offset(shape, args.y.layout(), n, c, h, w));
        }
      }
    }
  }
}

}  // namespace panda::kernels::reference
