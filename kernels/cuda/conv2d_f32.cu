// conv2d_forward in f32: the kernels of implicit_gemm.cuh that conv2d.cuh launches.
#include "kernels/cuda/conv2d.cuh"

namespace panda::kernels::PANDA_TARGET {

template void conv2d_forward_as<F32Kind>(GpuDevice&, const Conv2dForwardArgs&, int64_t);

}  // namespace panda::kernels::PANDA_TARGET
