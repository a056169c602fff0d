// What g++ sees of CUDA C++ (kernels/cuda/dialect.cuh includes this where nvcc includes the toolkit).
// DIALECT.md lists what a kernel may use and how each piece is emulated.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "kernels/simt/arithmetic.h"
#include "kernels/simt/atomics.h"
#include "kernels/simt/emulator.h"
#include "kernels/simt/launch.h"
#include "kernels/simt/ptx_sm90_twins.h"
#include "kernels/simt/ptx_twins.h"
#include "kernels/simt/vector_types.h"
#include "kernels/simt/warp.h"

// __noinline__ is missing on purpose: libstdc++ uses the name.
#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

// A reference to the block's heap block; the static byte's address is the declaration's identity (each
// instantiation of a template has its own).
#define PANDA_SHARED(Type, name, extents)                                                           \
  static const char name##_declaration = 0;                                                         \
  using name##_element = Type;                                                                      \
  typedef name##_element name##_type extents;                                                       \
  name##_type& name = *static_cast<name##_type*>(::panda::kernels::simt::emulator::shared_variable( \
      &name##_declaration, sizeof(name##_type), #name, __FILE__, __LINE__))
#define PANDA_DYNAMIC_SHARED(Type, name) \
  Type* const name = static_cast<Type*>(::panda::kernels::simt::emulator::dynamic_shared())
