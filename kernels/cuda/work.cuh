// What the bandwidth-bound kernels share: cutting work into blocks, 16-byte packs, and where the elements of
// an image lie.
#pragma once

#include "kernels/cuda/dialect.cuh"
#include "kernels/tensor/checked_math.h"
#include "kernels/tensor/tensor.h"

namespace panda::kernels::PANDA_TARGET {

/// Threads of a block where nothing asks for another number: eight warps, which divide every register file.
inline constexpr int kBlockThreads = 256;
inline constexpr int kWarpThreads = 32;
inline constexpr unsigned kWholeWarp = 0xffffffffU;

/// Blocks of a one-dimensional grid in which each block does `per_block` of `items`.
inline dim3 grid_for(int64_t items, int64_t per_block) {
  const int64_t blocks = ceil_div(items, per_block);
  PANDA_INTERNAL_ASSERT(blocks >= 1 && blocks <= INT32_MAX, "grid of ", blocks, " blocks");
  return dim3(static_cast<unsigned>(blocks));
}

__device__ inline int64_t thread_index() {
  return int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
}

/// a / b, and a % b in `remainder`, for 0 <= a and 0 < b: in 32 bits where both fit. Beyond that bit by bit,
/// which is slow and rare (a tensor of 2^32 packs); the compiler's own 64-bit division is a call, and a call
/// costs every thread registers.
__device__ inline int64_t divide(int64_t a, int64_t b, int64_t& remainder) {
  if (((a | b) >> 32) == 0) {
    const auto quotient = static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
    remainder = static_cast<uint32_t>(a) - quotient * static_cast<uint32_t>(b);
    return quotient;
  }
  int64_t quotient = 0;
  int64_t rest = 0;
#pragma unroll 1
  for (int bit = 62; bit >= 0; --bit) {
    rest = rest * 2 + (a >> bit & 1);
    quotient *= 2;
    if (rest >= b) {
      rest -= b;
      ++quotient;
    }
  }
  remainder = rest;
  return quotient;
}

/// Elements moved by one instruction. A pack begins at a multiple of its size.
template <typename T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
  T at[kCount];
};
/// Elements of T in 16 bytes, the widest load.
template <typename T>
inline constexpr int kPackOf = 16 / static_cast<int>(sizeof(T));

template <int kCount, typename T>
__device__ inline Pack<T, kCount> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, kCount>*>(from);
}
template <int kCount, typename T>
__device__ inline void store_pack(T* to, const Pack<T, kCount>& pack) {
  *reinterpret_cast<Pack<T, kCount>*>(to) = pack;
}

/// True if packs of `bytes` bytes may begin at the pointer.
inline bool packs_fit(const void* pointer, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % static_cast<uintptr_t>(bytes) == 0;
}

/// The extents of N,C,H,W and the distance between neighbours along each, in elements, of a dense or
/// channels-last tensor.
struct ImageLayout {
  int64_t extent_c, extent_h, extent_w;
  int64_t stride_n, stride_c, stride_h, stride_w;
  bool channels_last;
};
inline ImageLayout image_layout(const ConstTensorView& view) {
  const Shape& s = view.shape();
  PANDA_INTERNAL_ASSERT(view.layout() != Layout::kChannelBlocked16, "layout ", layout_name(view.layout()));
  if (view.layout() == Layout::kChannelsLast)
    return {s[1], s[2], s[3], s[2] * s[3] * s[1], 1, s[3] * s[1], s[1], true};
  return {s[1], s[2], s[3], s[1] * s[2] * s[3], s[2] * s[3], s[3], 1, false};
}

struct ImagePlace {
  int64_t n, c, h, w;
};
__device__ inline int64_t offset_of(const ImageLayout& layout, const ImagePlace& at) {
  return at.n * layout.stride_n + at.c * layout.stride_c + at.h * layout.stride_h + at.w * layout.stride_w;
}

/// The place of the element that is number `index * kPack` in memory: neighbouring threads, neighbouring
/// elements. kPack > 1 only where it divides C of a channels-last tensor.
template <int kPack>
__device__ inline ImagePlace place_of(const ImageLayout& layout, int64_t index) {
  ImagePlace at;
  if (layout.channels_last) {
    index = divide(index, layout.extent_c / kPack, at.c);
    at.c *= kPack;
    index = divide(index, layout.extent_w, at.w);
    at.n = divide(index, layout.extent_h, at.h);
  } else {
    index = divide(index, layout.extent_w, at.w);
    index = divide(index, layout.extent_h, at.h);
    at.n = divide(index, layout.extent_c, at.c);
  }
  return at;
}

/// Calls body(TX{}, TY{}) with the element types of x and y, which the public call has checked: f32, or the
/// activation dtype.
template <typename Body>
void with_image_types(DType x, DType y, Body&& body) {
  if (x == DType::kF32 && y == DType::kF32) return body(float{}, float{});
  if (x == DType::kF32 && y == DType::kF16) return body(float{}, Float16{});
  if (x == DType::kF16 && y == DType::kF32) return body(Float16{}, float{});
  if (x == DType::kF16 && y == DType::kF16) return body(Float16{}, Float16{});
  if (x == DType::kF32 && y == DType::kBF16) return body(float{}, BFloat16{});
  if (x == DType::kBF16 && y == DType::kF32) return body(BFloat16{}, float{});
  if (x == DType::kBF16 && y == DType::kBF16) return body(BFloat16{}, BFloat16{});
  throw InternalError(text("no image kernel from ", dtype_name(x), " to ", dtype_name(y)));
}

}  // namespace panda::kernels::PANDA_TARGET
