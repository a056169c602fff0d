// What the parts of implicit_gemm.cuh share: how operands lie in shared memory, and division by a
// constant of the launch.
//
// A stage of the pipeline holds kTileM rows of A and kTileN rows of B, 64 bytes each: 32 elements of 16 bits
// or 16 of f32, consecutive in the depth, in four chunks of 16 bytes. Chunk c of row r lies in place
// c ^ ((r / 2) % 4) of its row: eight neighbouring rows of one chunk (what a phase of ldmatrix reads, and
// what a quarter warp of cp.async writes) fall into eight different groups of four banks.
#pragma once

#include "kernels/cuda/work.cuh"

namespace panda::kernels::PANDA_TARGET {

inline constexpr int kChunkBytes = 16;
inline constexpr int kChunksPerRow = 4;
inline constexpr int kRowBytes = kChunkBytes * kChunksPerRow;

/// Stages of the pipeline: three are being filled while one is read. 128 x 128 tiles take 64 KiB so: all that
/// a block of sm_75 can have, and two blocks share a multiprocessor of sm_80 (164 KiB) or sm_90 (228 KiB).
inline constexpr int kStages = 4;

/// Elements of the depth in a stage.
template <typename Element>
inline constexpr int kStageDepth = kRowBytes / static_cast<int>(sizeof(Element));

/// Byte offset of a chunk in a stage's A or B.
__device__ inline int chunk_offset(int row, int chunk) {
  return row * kRowBytes + ((chunk ^ ((row >> 1) & 3)) * kChunkBytes);
}

/// 16 bytes: what cp.async copies, and the widest load.
template <typename T>
using Vector = Pack<T, kPackOf<T>>;

/// n / divisor for 0 <= n < 2^31, 1 <= divisor < 2^31, by one multiplication. With l = ceil(log2 divisor) and
/// m = floor(2^(31+l) / divisor) + 1, the excess m divisor - 2^(31+l) lies in 1..divisor <= 2^l, so that
/// n times it stays below 2^(31+l): floor(n m / 2^(31+l)) is the quotient. m < 2^32.
class FastDivisor {
 public:
  FastDivisor() = default;
  explicit FastDivisor(int64_t divisor) : divisor_(static_cast<uint32_t>(divisor)) {
    uint32_t log2 = 0;
    while ((uint64_t{1} << log2) < divisor_) ++log2;
    shift_ = 31 + log2;
    multiplier_ = static_cast<uint32_t>((uint64_t{1} << shift_) / divisor_ + 1);
  }
  /// Gives the quotient and leaves the remainder in `n`.
  __device__ int divide(int& n) const {
    const auto quotient = static_cast<uint32_t>((uint64_t{static_cast<uint32_t>(n)} * multiplier_) >> shift_);
    n -= static_cast<int>(quotient * divisor_);
    return static_cast<int>(quotient);
  }

 private:
  uint32_t divisor_ = 1;
  uint32_t multiplier_ = 0x80000001u;
  uint32_t shift_ = 31;
};

}  // namespace panda::kernels::PANDA_TARGET
