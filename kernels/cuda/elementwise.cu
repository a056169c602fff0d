// unary_forward, binary_forward (kernels/elementwise.h): f32, element by element in the order of memory.
//
// WHAT    y[i] = op(x[i]) · y[i] = a[i] op b[i], for all stored elements
// READS   4 B an element and operand · WRITES 4 B an element
// FLOPS   1 an element; about 10 for exp and log, 20 for sigmoid
// LAUNCH  one thread a pack of 4 elements (16 B); a single one where an operand is not 16-byte aligned
// LIMITS  2^31 blocks of 1024 elements
// SOURCE  kernels/elementwise.h; sigmoid as e^-|x| / (1 + e^-|x|): no overflow, no cancellation
#include "kernels/elementwise.h"

#include "kernels/cuda/gpu_kernels.h"
#include "kernels/cuda/work.cuh"

namespace panda::kernels::PANDA_TARGET {

namespace {

template <UnaryOp kOp>
__device__ float apply(float x, double slope) {
  if constexpr (kOp == UnaryOp::kRelu) return x < 0 ? 0.0F : x;  // a comparison: fmaxf would lose a NaN
  if constexpr (kOp == UnaryOp::kAbs) return fabsf(x);
  if constexpr (kOp == UnaryOp::kSquare) return x * x;
  if constexpr (kOp == UnaryOp::kSqrt) return sqrtf(x);
  if constexpr (kOp == UnaryOp::kExp) return expf(x);
  if constexpr (kOp == UnaryOp::kLog) return logf(x);
  if constexpr (kOp == UnaryOp::kSigmoid) {
    const float e = expf(-fabsf(x));
    return (x < 0 ? e : 1.0F) / (1.0F + e);
  }
  if constexpr (kOp == UnaryOp::kLeakyRelu) return x < 0 ? static_cast<float>(slope * x) : x;
  if constexpr (kOp == UnaryOp::kElu) return x < 0 ? static_cast<float>(slope * expm1f(x)) : x;
}

template <BinaryOp kOp>
__device__ float apply(float a, float b) {
  if constexpr (kOp == BinaryOp::kAdd) return a + b;
  if constexpr (kOp == BinaryOp::kSubtract) return a - b;
  if constexpr (kOp == BinaryOp::kMultiply) return a * b;
  if constexpr (kOp == BinaryOp::kDivide) return a / b;
}

// x and y may be the same memory: no __restrict__.
template <UnaryOp kOp, int kPack>
__global__ void __launch_bounds__(kBlockThreads)
    unary(const float* x, float* y, int64_t count, double slope) {
  const int64_t begin = thread_index() * kPack;
  if (begin + kPack <= count) {
    Pack<float, kPack> pack = load_pack<kPack>(x + begin);
    for (float& value : pack.at) value = apply<kOp>(value, slope);
    store_pack(y + begin, pack);
  } else {
    for (int64_t i = begin; i < count; ++i) y[i] = apply<kOp>(x[i], slope);
  }
}

template <BinaryOp kOp, int kPack>
__global__ void __launch_bounds__(kBlockThreads)
    binary(const float* a, const float* b, float* y, int64_t count) {
  const int64_t begin = thread_index() * kPack;
  if (begin + kPack <= count) {
    Pack<float, kPack> pack = load_pack<kPack>(a + begin);
    const Pack<float, kPack> other = load_pack<kPack>(b + begin);
    for (int i = 0; i < kPack; ++i) pack.at[i] = apply<kOp>(pack.at[i], other.at[i]);
    store_pack(y + begin, pack);
  } else {
    for (int64_t i = begin; i < count; ++i) y[i] = apply<kOp>(a[i], b[i]);
  }
}

template <UnaryOp kOp>
void launch_unary(GpuDevice& device, const UnaryForwardArgs& args) {
  constexpr int kPack = kPackOf<float>;
  const auto* x = args.x.data<float>();
  auto* y = args.y.data<float>();
  const double slope = args.slope;
  const int64_t count = stored_numel(args.y.shape(), args.y.layout());
  if (packs_fit(x, 16) && packs_fit(y, 16)) {
    PANDA_LAUNCH((unary<kOp, kPack>), grid_for(count, kBlockThreads * kPack), dim3(kBlockThreads), 0, device,
                 x, y, count, slope);
  } else {
    PANDA_LAUNCH((unary<kOp, 1>), grid_for(count, kBlockThreads), dim3(kBlockThreads), 0, device, x, y, count,
                 slope);
  }
}

template <BinaryOp kOp>
void launch_binary(GpuDevice& device, const BinaryForwardArgs& args) {
  constexpr int kPack = kPackOf<float>;
  const auto* a = args.a.data<float>();
  const auto* b = args.b.data<float>();
  auto* y = args.y.data<float>();
  const int64_t count = stored_numel(args.y.shape(), args.y.layout());
  if (packs_fit(a, 16) && packs_fit(b, 16) && packs_fit(y, 16)) {
    PANDA_LAUNCH((binary<kOp, kPack>), grid_for(count, kBlockThreads * kPack), dim3(kBlockThreads), 0, device,
                 a, b, y, count);
  } else {
    PANDA_LAUNCH((binary<kOp, 1>), grid_for(count, kBlockThreads), dim3(kBlockThreads), 0, device, a, b, y,
                 count);
  }
}

}  // namespace

void unary_forward(Device& base, const UnaryForwardArgs& args) {
  GpuDevice& device = gpu_device(base);
  switch (args.op) {
    case UnaryOp::kRelu:
      return launch_unary<UnaryOp::kRelu>(device, args);
    case UnaryOp::kAbs:
      return launch_unary<UnaryOp::kAbs>(device, args);
    case UnaryOp::kSquare:
      return launch_unary<UnaryOp::kSquare>(device, args);
    case UnaryOp::kSqrt:
      return launch_unary<UnaryOp::kSqrt>(device, args);
    case UnaryOp::kExp:
      return launch_unary<UnaryOp::kExp>(device, args);
    case UnaryOp::kLog:
      return launch_unary<UnaryOp::kLog>(device, args);
    case UnaryOp::kSigmoid:
      return launch_unary<UnaryOp::kSigmoid>(device, args);
    case UnaryOp::kLeakyRelu:
      return launch_unary<UnaryOp::kLeakyRelu>(device, args);
    case UnaryOp::kElu:
      return launch_unary<UnaryOp::kElu>(device, args);
  }
  throw InternalError("unknown unary operation");
}

void binary_forward(Device& base, const BinaryForwardArgs& args) {
  GpuDevice& device = gpu_device(base);
  switch (args.op) {
    case BinaryOp::kAdd:
      return launch_binary<BinaryOp::kAdd>(device, args);
    case BinaryOp::kSubtract:
      return launch_binary<BinaryOp::kSubtract>(device, args);
    case BinaryOp::kMultiply:
      return launch_binary<BinaryOp::kMultiply>(device, args);
    case BinaryOp::kDivide:
      return launch_binary<BinaryOp::kDivide>(device, args);
  }
  throw InternalError("unknown binary operation");
}

}  // namespace panda::kernels::PANDA_TARGET
