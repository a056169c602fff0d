// CUDA's vector types and index variables for the emulator. They live in the emulator's namespace: the
// toolkit's of the same names may be in the same binary.
#pragma once

#include <cstdint>

namespace panda::kernels::simt {

// Alignments are CUDA's: a float4 read through a pointer that is not 16-byte aligned is an error on a GPU and
// one that UBSan reports here.
#define PANDA_SIMT_VECTOR2(Name, Element, alignment) \
  struct alignas(alignment) Name {                   \
    Element x, y;                                    \
  };                                                 \
  inline Name make_##Name(Element x, Element y) {    \
    return {x, y};                                   \
  }
#define PANDA_SIMT_VECTOR3(Name, Element)                    \
  struct Name {                                              \
    Element x, y, z;                                         \
  };                                                         \
  inline Name make_##Name(Element x, Element y, Element z) { \
    return {x, y, z};                                        \
  }
#define PANDA_SIMT_VECTOR4(Name, Element, alignment)                    \
  struct alignas(alignment) Name {                                      \
    Element x, y, z, w;                                                 \
  };                                                                    \
  inline Name make_##Name(Element x, Element y, Element z, Element w) { \
    return {x, y, z, w};                                                \
  }
PANDA_SIMT_VECTOR2(char2, signed char, 2)
PANDA_SIMT_VECTOR2(uchar2, unsigned char, 2)
PANDA_SIMT_VECTOR2(short2, short, 4)
PANDA_SIMT_VECTOR2(ushort2, unsigned short, 4)
PANDA_SIMT_VECTOR2(int2, int, 8)
PANDA_SIMT_VECTOR2(uint2, unsigned, 8)
PANDA_SIMT_VECTOR2(float2, float, 8)
PANDA_SIMT_VECTOR2(double2, double, 16)
PANDA_SIMT_VECTOR2(longlong2, long long, 16)
PANDA_SIMT_VECTOR2(ulonglong2, unsigned long long, 16)
PANDA_SIMT_VECTOR3(int3, int)
PANDA_SIMT_VECTOR3(uint3, unsigned)
PANDA_SIMT_VECTOR3(float3, float)
PANDA_SIMT_VECTOR4(char4, signed char, 4)
PANDA_SIMT_VECTOR4(uchar4, unsigned char, 4)
PANDA_SIMT_VECTOR4(short4, short, 8)
PANDA_SIMT_VECTOR4(ushort4, unsigned short, 8)
PANDA_SIMT_VECTOR4(int4, int, 16)
PANDA_SIMT_VECTOR4(uint4, unsigned, 16)
PANDA_SIMT_VECTOR4(float4, float, 16)
#undef PANDA_SIMT_VECTOR2
#undef PANDA_SIMT_VECTOR3
#undef PANDA_SIMT_VECTOR4

struct dim3 {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;
  constexpr dim3(unsigned x_extent = 1, unsigned y_extent = 1, unsigned z_extent = 1)
      : x(x_extent), y(y_extent), z(z_extent) {}
};

// Rewritten whenever another thread runs: plain variables, so that a debugger's conditions can name them.
extern uint3 threadIdx;
extern uint3 blockIdx;
extern dim3 blockDim;
extern dim3 gridDim;
inline constexpr int warpSize = 32;

}  // namespace panda::kernels::simt
