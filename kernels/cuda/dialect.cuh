// The dialect of kernels/cuda/*.cu: CUDA C++ that two compilers take. nvcc makes the device `cuda` of a file,
// g++ the device `simt` of the same file (kernels/simt runs it on the CPU, one fiber per thread).
// kernels/simt/DIALECT.md says what a kernel may use. A file opens `namespace panda::kernels::PANDA_TARGET`,
// so that both live in one binary.
//
//   PANDA_SHARED(float, tile, [2][16][68]);       static shared memory, 16-byte aligned
//   PANDA_DYNAMIC_SHARED(float, scratch);         the launch's dynamic shared memory, 16-byte aligned; one
//   per kernel PANDA_LAUNCH((knn_l2<4>), grid, block, shared_bytes, device, q, nq, x, nb);   device:
//   GpuDevice&
//
// Inline PTX is in kernels/cuda/ptx.cuh and ptx_sm90.cuh alone; the emulated twins are in kernels/simt/.
#pragma once

#include "kernels/cuda/gpu_device.h"
#include "kernels/tensor/dtype.h"
#include "kernels/tensor/error.h"

#if defined(__CUDACC__)

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define PANDA_TARGET cuda

#define PANDA_SHARED(Type, name, extents) __shared__ __align__(16) Type name extents
#define PANDA_DYNAMIC_SHARED(Type, name)                                \
  extern __shared__ __align__(16) unsigned char panda_dynamic_shared[]; \
  Type* const name = reinterpret_cast<Type*>(panda_dynamic_shared)

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/ptx_sm90.cuh"

#else

#define PANDA_TARGET simt

#include "kernels/simt/simt.h"

#endif

namespace panda::kernels::PANDA_TARGET {

/// The 16-bit storage types of kernels/tensor/dtype.h, to and from f32 (nearest, ties to even). On the
/// emulator these are the host's functions; here the hardware's.
#if defined(__CUDACC__)
__device__ inline float as_float(float value) {
  return value;
}
__device__ inline float as_float(Float16 value) {
  return __half2float(__ushort_as_half(value.bits));
}
__device__ inline float as_float(BFloat16 value) {
  return __uint_as_float(static_cast<unsigned>(value.bits) << 16);
}
template <typename T>
__device__ T from_float(float value);
template <>
__device__ inline float from_float<float>(float value) {
  return value;
}
template <>
__device__ inline Float16 from_float<Float16>(float value) {
  return {__half_as_ushort(__float2half_rn(value))};
}
template <>
__device__ inline BFloat16 from_float<BFloat16>(float value) {
  return {__bfloat16_as_ushort(__float2bfloat16_rn(value))};
}
#else
inline float as_float(float value) {
  return value;
}
inline float as_float(Float16 value) {
  return to_float(value);
}
inline float as_float(BFloat16 value) {
  return to_float(value);
}
template <typename T>
T from_float(float value);
template <>
inline float from_float<float>(float value) {
  return value;
}
template <>
inline Float16 from_float<Float16>(float value) {
  return to_float16(value);
}
template <>
inline BFloat16 from_float<BFloat16>(float value) {
  return to_bfloat16(value);
}
#endif

}  // namespace panda::kernels::PANDA_TARGET
