// The product behind gemm, linear_forward and conv2d_forward, one loop for all:
//
//   y[m,n] = relu(sum_d A[m,d] B[n,d] + bias[n] + residual[m,n])
//
//   gemm            m, n: rows and columns of c          d: k          A = op(a), B = op(b) transposed
//   linear_forward  m: rows of x, n: outputs             d: c          A = x, B = weight
//   conv2d_forward  m: pixels n,p,q, n: output channels  d: r,s,c      A = windows of x (never written out),
//   B = filter
//
// WHAT   A block makes kTileM x kTileN of y and runs the whole depth. A ring of 4 stages in shared memory
//        (tile_layout.cuh) is filled by the loaders (tile_loaders.cuh), three stages ahead, and read by Math
//        (tile_math.cuh): tensor cores for f16, bf16, tf32, fused multiply-adds for f32. The sums go through
//        shared memory once more, so that y and residual move in whole lines (tile_output.cuh).
// READS  A once per column tile, B once per row tile; blocks of one row tile are neighbours in launch order,
// so
//        that all but one of them find A in L2. Residual once.
// WRITES y once.
// FLOPS  2 M N D, rounded up to tiles and, in the depth, to 64 bytes of operand.
// LAUNCH 1-D grid, column tiles fastest; 128 threads (f32 128 x 128: 256); 256 (kTileM + kTileN) bytes of
// dynamic
//        shared memory: 64 KiB for 128 x 128, 48 for 128 x 64, 32 for 64 x 64.
// LIMITS depth, columns < 2^31; convolution: rows < 2^31 (conv2d.cuh cuts the batch); any pointers and
// extents
//        with the gathering loaders, 16-byte alignment with the others.
// ORDER  A sum's order is fixed by its depth alone: ascending, in the steps that tile_math.cuh states, in one
//        accumulator, whatever tile, loader and grid. So a row's bits do not depend on the other rows. There
//        is no split of the depth: its partial sums would have to be the same ones at every batch size.
// SOURCE the formulas above; fragment layouts: PTX ISA, "Warp-level matrix fragments".
#pragma once

#include "kernels/cuda/tile_loaders.cuh"
#include "kernels/cuda/tile_math.cuh"
#include "kernels/cuda/tile_output.cuh"

namespace panda::kernels::PANDA_TARGET {

template <typename Math>
inline constexpr int kStageBytes = (Math::kTileM + Math::kTileN) * kRowBytes;
/// Dynamic shared memory of a block: the stages, over which the sums are staged at the end.
template <typename Math>
inline constexpr int kSharedBytes = kStages* kStageBytes<Math>;

/// Adds the products of all stages to the sums of `math`; on return no copy is under way, and all threads'
/// reads of `shared` are done once they have met at a barrier.
template <typename Math, typename LoaderA, typename LoaderB>
__device__ __forceinline__ void multiply_stages(Math& math, LoaderA& a, LoaderB& b, unsigned char* shared,
                                                int depth_stages) {
  constexpr int kTileM = Math::kTileM;
  unsigned char* filling = shared;
  for (int stage = 0; stage < kStages - 1; ++stage, filling += kStageBytes<Math>) {
    if (stage < depth_stages) {
      a.issue(filling);
      b.issue(filling + kTileM * kRowBytes);
      a.finish(filling);
      b.finish(filling + kTileM * kRowBytes);
    }
    cp_async_commit();
  }
  unsigned char* reading = shared;
  unsigned char* const end = shared + kSharedBytes<Math>;
  for (int stage = 0; stage < depth_stages; ++stage) {
    cp_async_wait<kStages - 2>();
    // Orders every thread's copies into `reading` before any thread's reads of it, and every thread's reads
    // of the stage before, which is `filling`, before any thread fills that.
    __syncthreads();
    const bool more = stage + kStages - 1 < depth_stages;
    if (more) {
      a.issue(filling);
      b.issue(filling + kTileM * kRowBytes);
    }
    cp_async_commit();
    math.multiply(reading, reading + kTileM * kRowBytes);
    if (more) {
      a.finish(filling);
      b.finish(filling + kTileM * kRowBytes);
    }
    filling = reading;
    reading = reading + kStageBytes<Math> == end ? shared : reading + kStageBytes<Math>;
  }
}

template <typename Math, typename LoaderA, typename LoaderB>
__global__ void __launch_bounds__(Math::kThreads, Math::kBlocks)
    implicit_gemm(const typename LoaderA::Source a_source, const typename LoaderB::Source b_source,
                  const TileOutput output, const int column_tiles, const int depth_stages) {
  constexpr int kTileM = Math::kTileM;
  constexpr int kTileN = Math::kTileN;
  static_assert(kTileM * kTileN * static_cast<int>(sizeof(float)) <= kSharedBytes<Math>);
  PANDA_DYNAMIC_SHARED(unsigned char, shared);
  const int thread = static_cast<int>(threadIdx.x);
  const int row_tile = static_cast<int>(blockIdx.x) / column_tiles;
  const int column_tile = static_cast<int>(blockIdx.x) - row_tile * column_tiles;
  const int64_t first_row = static_cast<int64_t>(row_tile) * kTileM;
  const int first_column = column_tile * kTileN;

  LoaderA a(a_source, first_row, thread);
  LoaderB b(b_source, first_column, thread);
  Math math(thread);
  multiply_stages(math, a, b, shared, depth_stages);

  auto* const staged = reinterpret_cast<float*>(shared);
  // Orders every thread's reads of the last stage before the sums that overwrite the stages. No copy is under
  // way: the groups that the loop did not wait for are empty.
  __syncthreads();
  math.stage_sums(staged);
  // Orders the staged sums before the reads by the threads that finish them.
  __syncthreads();
  write_tile<typename Math::Element, kTileM, kTileN, Math::kThreads>(output, staged, first_row, first_column,
                                                                     thread);
}

}  // namespace panda::kernels::PANDA_TARGET
