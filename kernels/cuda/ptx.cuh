// The instructions that CUDA C++ has no function for, one wrapper each: the only inline PTX of the project.
// Every wrapper has an emulated twin of the same name in kernels/simt/, and tools/gpu.sh compares the two bit
// by bit. Before sm_80 there are no asynchronous copies (they are made at once) and no bf16 or tf32 products
// (the host refuses those precisions).
//
// Fragments, with g = lane / 4 and t = lane % 4 (PTX ISA, "Warp-level matrix fragments"):
//   C, D 16x8 f32: c0 (g,2t), c1 (g,2t+1), c2 (g+8,2t), c3 (g+8,2t+1)
//   16-bit A 16x16, two elements a register, low half first: register r holds row g + 8(r&1), columns 2t +
//   8(r>>1), +1 16-bit B 16x8: register r holds rows 2t + 8r, +1, column g tf32 A 16x8: a0 (g,t), a1 (g+8,t),
//   a2 (g,t+4), a3 (g+8,t+4) · B 8x8: b0 (t,g), b1 (t+4,g)
#pragma once

#include <cstdint>

#include <cuda_runtime.h>

namespace panda::kernels::cuda {

__device__ inline uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

/// Copies 16 bytes from global to shared memory, both 16-byte aligned; of the source only the first
/// `valid_bytes` (0..16) are read, the rest becomes zero. The bytes are there after cp_async_wait and, for
/// other threads, a barrier.
__device__ inline void cp_async16(void* shared, const void* global, int valid_bytes) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(shared)), "l"(global),
               "r"(valid_bytes)
               : "memory");
#else
  alignas(16) unsigned char bytes[16] = {};
  const auto* source = static_cast<const unsigned char*>(global);
#pragma unroll
  for (int i = 0; i < 16; ++i)
    if (i < valid_bytes) bytes[i] = source[i];
  *static_cast<uint4*>(shared) = *reinterpret_cast<const uint4*>(bytes);
#endif
}

/// Closes a group of this thread's copies.
__device__ inline void cp_async_commit() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;\n" ::: "memory");
#endif
}

/// Returns when no more than kNewest of this thread's newest groups are still under way.
template <int kNewest>
__device__ inline void cp_async_wait() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kNewest) : "memory");
#endif
}

/// Loads four 8x8 matrices of 16-bit elements: lane 8q + r names row r (16 bytes, aligned, shared memory) of
/// matrix q; lane l gets of matrix q the elements (l / 4, 2 (l % 4)) and the next, low half first.
__device__ inline void ldmatrix_x4(uint32_t (&registers)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(shared_address(row))
               : "memory");
}
/// The same with each matrix transposed.
__device__ inline void ldmatrix_x4_trans(uint32_t (&registers)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(shared_address(row))
               : "memory");
}
/// Two matrices; lanes 0-15 name the rows.
__device__ inline void ldmatrix_x2(uint32_t (&registers)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];\n"
               : "=r"(registers[0]), "=r"(registers[1])
               : "r"(shared_address(row))
               : "memory");
}
__device__ inline void ldmatrix_x2_trans(uint32_t (&registers)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];\n"
               : "=r"(registers[0]), "=r"(registers[1])
               : "r"(shared_address(row))
               : "memory");
}

/// d = a b + d for f16 operands: 16x16 by 16x8.
__device__ inline void mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  // sm_75 has half the depth: the two halves of the fragments are its operands.
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(b[0]));
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[2]), "r"(a[3]), "r"(b[1]));
#endif
}

/// d = a b + d for bf16 operands: 16x16 by 16x8. From sm_80.
__device__ inline void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __trap();
#endif
}

/// d = a b + d for tf32 operands (f32 bits whose low 13 mantissa bits are ignored): 16x8 by 8x8. From sm_80.
__device__ inline void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __trap();
#endif
}

/// The bits of a value rounded to tf32: nearest, ties away from zero. From sm_80.
__device__ inline uint32_t to_tf32(float value) {
#if __CUDA_ARCH__ >= 800
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;\n" : "=r"(bits) : "f"(value));
  return bits;
#else
  __trap();
  return 0;
#endif
}

}  // namespace panda::kernels::cuda
