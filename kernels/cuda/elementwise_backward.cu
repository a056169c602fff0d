// unary_backward (kernels/elementwise.h): f32, element by element in the order of memory.
//
// WHAT    dL_dx[i] = dL_dy[i] op'(x[i]), op' from y = op(x), for all stored elements
// READS   y and dL_dy, 4 B each an element; dL_dx in mode accumulate · WRITES dL_dx
// FLOPS   1 to 3 an element
// LAUNCH  one thread an element
// LIMITS  2^31 blocks of 256 elements; dL_dx may be dL_dy's memory
// SOURCE  kernels/elementwise.h
#include "kernels/cuda/gpu_kernels.h"
#include "kernels/cuda/gradient_output.cuh"
#include "kernels/elementwise.h"

namespace panda::kernels::PANDA_TARGET {

namespace {

template <UnaryOp kOp>
__device__ float derivative(float y, float dL_dy, float slope) {
  if constexpr (kOp == UnaryOp::kRelu) return y > 0 ? dL_dy : 0.0F;
  if constexpr (kOp == UnaryOp::kLeakyRelu) return y >= 0 ? dL_dy : slope * dL_dy;
  if constexpr (kOp == UnaryOp::kElu) return y >= 0 ? dL_dy : (y + slope) * dL_dy;
  if constexpr (kOp == UnaryOp::kSigmoid) return y * (1.0F - y) * dL_dy;
  if constexpr (kOp == UnaryOp::kExp) return y * dL_dy;
}

// dL_dy and dL_dx may be the same memory: no __restrict__.
template <UnaryOp kOp>
__global__ void __launch_bounds__(kBlockThreads)
    differentiate(const float* y, const float* dL_dy, GradientOutput<float> dL_dx, int64_t count,
                  float slope) {
  const int64_t i = thread_index();
  if (i < count) dL_dx.put(i, derivative<kOp>(y[i], dL_dy[i], slope));
}

template <UnaryOp kOp>
void launch_backward(GpuDevice& device, const UnaryBackwardArgs& args) {
  const int64_t count = stored_numel(args.y.shape(), args.y.layout());
  PANDA_LAUNCH((differentiate<kOp>), grid_for(count, kBlockThreads), dim3(kBlockThreads), 0, device,
               args.y.data<float>(), args.dL_dy.data<float>(), gradient_output<float>(args.dL_dx), count,
               static_cast<float>(args.slope));
}

}  // namespace

void unary_backward(Device& base, const UnaryBackwardArgs& args) {
  GpuDevice& device = gpu_device(base);
  switch (args.op) {
    case UnaryOp::kRelu:
      return launch_backward<UnaryOp::kRelu>(device, args);
    case UnaryOp::kLeakyRelu:
      return launch_backward<UnaryOp::kLeakyRelu>(device, args);
    case UnaryOp::kElu:
      return launch_backward<UnaryOp::kElu>(device, args);
    case UnaryOp::kSigmoid:
      return launch_backward<UnaryOp::kSigmoid>(device, args);
    case UnaryOp::kExp:
      return launch_backward<UnaryOp::kExp>(device, args);
    default:
      throw InternalError("unary operation without a derivative from y");
  }
}

}  // namespace panda::kernels::PANDA_TARGET
