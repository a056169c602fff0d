// What implicit_gemm.cuh does with a stage: sums[m,n] += sum over the stage's depth of A[m,d] B[n,d], the
// sums in registers. `Math` is one thread's share:
//   multiply(a, b)   adds a stage
//   stage_sums(f32)  writes the tile's sums to shared memory, kTileM rows of kTileN in the order of sum_index
//
// Order of a sum, whatever the tile: d ascending; f32 one fused multiply-add at a time; tensor cores in
// steps of 16 (16-bit operands) or 8 (tf32) products, whose inner order is the hardware's.
#pragma once

#include "kernels/cuda/tile_layout.cuh"

namespace panda::kernels::PANDA_TARGET {

/// Place of a staged sum. Neighbouring blocks of 8 columns trade places from row to row, so that the 4 rows x
/// 8 columns of a half warp's stores fall into different banks.
template <int kTileN>
__device__ inline int sum_index(int row, int column) {
  return row * kTileN + (column ^ ((row & 3) << 3));
}

/// Operand kinds of the tensor cores.
struct F16Products {
  using Element = Float16;
  __device__ static void round(uint32_t (&)[4]) {}
  __device__ static void add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    mma_f16(d, a, b);
  }
};
struct BF16Products {
  using Element = BFloat16;
  __device__ static void round(uint32_t (&)[4]) {}
  __device__ static void add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    mma_bf16(d, a, b);
  }
};
/// f32 in memory; rounded as fragments, because asynchronous copies cannot round.
struct Tf32Products {
  using Element = float;
  __device__ static void round(uint32_t (&fragment)[4]) {
#pragma unroll
    for (uint32_t& bits : fragment) bits = to_tf32(__uint_as_float(bits));
  }
  __device__ static void add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    mma_tf32(d, a, b);
  }
};

/// Four warps, 2 x 2, each a quarter of the tile in 16 x 8 products. In bytes, an 8 x 4 matrix of f32 is an
/// 8 x 8 matrix of 16-bit elements: ldmatrix and the offsets below serve all operand kinds.
template <typename Products, int kTileM_, int kTileN_>
class TensorCoreMath {
 public:
  using Element = typename Products::Element;
  static constexpr int kTileM = kTileM_;
  static constexpr int kTileN = kTileN_;
  static constexpr int kThreads = 128;
  /// Blocks that share a multiprocessor: what the shared memory of the larger tiles allows on sm_80 (164
  /// KiB), and 168 registers, with which no loader spills.
  static constexpr int kBlocks = kTileM * kTileN == 128 * 128 ? 2 : 3;

  __device__ explicit TensorCoreMath(int thread) : thread_(thread) {
    const int lane = thread % 32;
    const int matrix = lane / 8;
    const int row = lane % 8;
    // Lane 8 q + r names row r of matrix q. A: the matrices are rows +0, +8, +0, +8 of chunks 0, 0, 1, 1;
    // B: columns +0, +0, +8, +8 of chunks 0, 1, 0, 1.
    a_offset_ = chunk_offset(warp_m() + (matrix & 1) * 8 + row, matrix >> 1);
    b_offset_ = chunk_offset(warp_n() + (matrix >> 1) * 8 + row, matrix & 1);
  }

  __device__ void multiply(const unsigned char* a, const unsigned char* b) {
    Fragments fragments[2];
    load(fragments[0], a, b, 0);
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      // The next step's fragments are on their way while this step's products are made.
      if (step + 1 < kSteps) load(fragments[(step + 1) % 2], a, b, step + 1);
      const Fragments& now = fragments[step % 2];
#pragma unroll
      for (int i = 0; i < kCountM; ++i)
#pragma unroll
        for (int j = 0; j < kCountN; ++j) Products::add(sums_[i][j], now.a[i], now.b[j]);
    }
  }

  /// Calls body(i, sum) for each of this thread's sums, i from 0 to kSums - 1.
  static constexpr int kSums = kTileM * kTileN / kThreads;
  template <typename Body>
  __device__ void each_sum(Body&& body) {
#pragma unroll
    for (int i = 0; i < kCountM; ++i)
#pragma unroll
      for (int j = 0; j < kCountN; ++j)
#pragma unroll
        for (int d = 0; d < 4; ++d) body((i * kCountN + j) * 4 + d, sums_[i][j][d]);
  }

  /// Where the sums lie, which each_sum numbers by i: this thread has sums of kThreadRows x kThreadColumns of
  /// the tile. thread_row(i) and thread_column(i) count these, row(r) and column(c) are places in the tile.
  static constexpr int kThreadRows = kTileM / 16;
  static constexpr int kThreadColumns = kTileN / 8;
  [[nodiscard]] __device__ static constexpr int thread_row(int i) {
    return i / (kCountN * 4) * 2 + i / 2 % 2;
  }
  [[nodiscard]] __device__ static constexpr int thread_column(int i) {
    return i / 4 % kCountN * 2 + i % 2;
  }
  [[nodiscard]] __device__ int row(int r) const {
    return warp_m() + r / 2 * 16 + r % 2 * 8 + thread_ % 32 / 4;
  }
  [[nodiscard]] __device__ int column(int c) const {
    return warp_n() + c / 2 * 8 + thread_ % 4 * 2 + c % 2;
  }

  __device__ void stage_sums(float* staged) const {
    const int lane = thread_ % 32;
#pragma unroll
    for (int i = 0; i < kCountM; ++i) {
#pragma unroll
      for (int j = 0; j < kCountN; ++j) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int row = warp_m() + i * 16 + half * 8 + lane / 4;
          const int column = warp_n() + j * 8 + lane % 4 * 2;
          float* pair = staged + sum_index<kTileN>(row, column);
          pair[0] = sums_[i][j][2 * half];
          pair[1] = sums_[i][j][2 * half + 1];
        }
      }
    }
  }

 private:
  static constexpr int kSteps = 2;  // of two chunks each
  static constexpr int kWarpM = kTileM / 2;
  static constexpr int kWarpN = kTileN / 2;
  static constexpr int kCountM = kWarpM / 16;
  static constexpr int kCountN = kWarpN / 8;
  static_assert(kCountN % 2 == 0);

  struct Fragments {
    uint32_t a[kCountM][4];
    uint32_t b[kCountN][2];
  };

  [[nodiscard]] __device__ int warp_m() const {
    return thread_ / 64 * kWarpM;
  }
  [[nodiscard]] __device__ int warp_n() const {
    return thread_ / 32 % 2 * kWarpN;
  }

  __device__ void load(Fragments& to, const unsigned char* a, const unsigned char* b, int step) const {
    const int flip = step * 2 * kChunkBytes;  // two chunks on: bit 1 of the chunk's place
#pragma unroll
    for (int i = 0; i < kCountM; ++i) {
      ldmatrix_x4(to.a[i], a + (a_offset_ ^ flip) + i * 16 * kRowBytes);
      Products::round(to.a[i]);
    }
#pragma unroll
    for (int j = 0; j < kCountN; j += 2) {
      uint32_t two[4];
      ldmatrix_x4(two, b + (b_offset_ ^ flip) + j * 8 * kRowBytes);
      Products::round(two);
      to.b[j][0] = two[0];
      to.b[j][1] = two[1];
      to.b[j + 1][0] = two[2];
      to.b[j + 1][1] = two[3];
    }
  }

  int thread_;
  int a_offset_, b_offset_;
  float sums_[kCountM][kCountN][4] = {};
};

/// Full precision: each thread 8 x kCountN sums, rows and columns strided by the thread grid, so that a warp
/// (4 x 8 threads) reads neighbouring rows of the stage: A 4 rows, each broadcast to 8 lanes, B 8 rows.
template <int kTileM_, int kTileN_>
class FmaMath {
 public:
  using Element = float;
  static constexpr int kTileM = kTileM_;
  static constexpr int kTileN = kTileN_;
  static constexpr int kThreads = kTileM * kTileN >= 128 * 128 ? 256 : 128;
  /// Blocks that share a multiprocessor, by registers: sums, operands and what the compiler loads ahead leave
  /// room for 8 warps at 128 x 128 and for 12 else.
  static constexpr int kBlocks = kTileM * kTileN == 128 * 128 ? 1 : 3;

  __device__ explicit FmaMath(int thread) {
    const int lane = thread % 32;
    const int warp = thread / 32;
    m_ = warp / (kGridN / 8) * 4 + lane / 8;
    n_ = warp % (kGridN / 8) * 8 + lane % 8;
    // The grids are multiples of 8, so that all rows of a thread share one order of chunks.
    a_offset_ = chunk_offset(m_, 0);
    b_offset_ = chunk_offset(n_, 0);
  }

  __device__ void multiply(const unsigned char* a, const unsigned char* b) {
#pragma unroll
    for (int chunk = 0; chunk < kChunksPerRow; ++chunk) {
      Vector<float> rows[kCountM];
#pragma unroll
      for (int i = 0; i < kCountM; ++i)
        rows[i] = chunk_at(a + (a_offset_ ^ chunk * kChunkBytes) + i * kGridM * kRowBytes);
#pragma unroll
      for (int j = 0; j < kCountN; ++j) {
        const Vector<float> column = chunk_at(b + (b_offset_ ^ chunk * kChunkBytes) + j * kGridN * kRowBytes);
#pragma unroll
        for (int d = 0; d < kPackOf<float>; ++d)
#pragma unroll
          for (int i = 0; i < kCountM; ++i) sums_[i][j] = fmaf(rows[i].at[d], column.at[d], sums_[i][j]);
      }
    }
  }

  /// Calls body(i, sum) for each of this thread's sums, i from 0 to kSums - 1.
  static constexpr int kSums = kTileM * kTileN / kThreads;
  template <typename Body>
  __device__ void each_sum(Body&& body) {
#pragma unroll
    for (int i = 0; i < kCountM; ++i)
#pragma unroll
      for (int j = 0; j < kCountN; ++j) body(i * kCountN + j, sums_[i][j]);
  }

  __device__ void stage_sums(float* staged) const {
#pragma unroll
    for (int i = 0; i < kCountM; ++i)
#pragma unroll
      for (int j = 0; j < kCountN; ++j)
        staged[sum_index<kTileN>(m_ + i * kGridM, n_ + j * kGridN)] = sums_[i][j];
  }

 private:
  static constexpr int kCountM = 8;
  static constexpr int kGridM = kTileM / kCountM;
  static constexpr int kGridN = kThreads / kGridM;
  static constexpr int kCountN = kTileN / kGridN;
  static_assert(kGridM % 8 == 0 && kGridN % 8 == 0 && kCountN * kGridN == kTileN);

  __device__ static Vector<float> chunk_at(const unsigned char* place) {
    return load_pack<kPackOf<float>>(reinterpret_cast<const float*>(place));
  }

  int m_, n_;
  int a_offset_, b_offset_;
  float sums_[kCountM][kCountN] = {};
};

}  // namespace panda::kernels::PANDA_TARGET
