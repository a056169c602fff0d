// Winograd's filter gradient for 3x3 filters with stride 1: the transpose of the forward algorithm
// (conv2d_winograd.cpp). With y = A^T [ (G g G^T) . (B^T d B) ] A per tile,
//
//   dL/dg = G^T [ sum over tiles (A dL/dy A^T) . (B^T d B) ] G
//
// so each of the 36 points is a product over all tiles of the batch, and G is applied once, at the end, in
// f64. Tiles are taken in chunks: V[36][C/16][chunk][16] and D[36][K/16][chunk][16] are the two transforms,
// U[36][K/32][C/16][16][32] the sums. An element of U is added up by one thread in the order of the tiles:
// same bits for any thread count. simd/filter_gradient.inl makes the products: a chunk is a row of pixels to
// it.
#include "kernels/cpu/conv2d_backward_filter.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

namespace {

constexpr int64_t kPoints = 36;
/// A block's V and D (24 KB) stay in L1 while they are multiplied, and reading and writing U (8 bytes for
/// every `chunk` products) takes 2 bytes per cycle.
constexpr int64_t kChunk = 128;
/// Tiles below which U's way through memory costs more than the multiplications that it saves: measured on
/// Emerald Rapids with 512 channels (38 MB of U).
constexpr int64_t kMinTiles = 48;
constexpr int64_t kMinChannels = 32;
constexpr int64_t kTransformTiles = 8;  // of one item
// Slices at a distance of a power of two would share a few cache sets.
constexpr int64_t kSlicePadding = 16;

struct Plan {
  int64_t tiles_h;
  int64_t tiles_w;
  int64_t tiles;
  int64_t chunks;
  int64_t chunk;    ///< tiles of the largest chunk: distance of V's and D's blocks
  int64_t v_slice;  ///< floats
  int64_t d_slice;
  int64_t u_slice;
  float* v;
  float* d;
  float* u;
};

Plan make_plan(const FilterGradientProblem& problem) {
  Plan plan{};
  plan.tiles_h = ceil_div(problem.p, 4);
  plan.tiles_w = ceil_div(problem.q, 4);
  plan.tiles = problem.n * plan.tiles_h * plan.tiles_w;
  plan.chunks = ceil_div(plan.tiles, kChunk);
  plan.chunk = ceil_div(plan.tiles, plan.chunks);
  plan.v_slice = problem.c_blocks() * plan.chunk * kChannelBlock + kSlicePadding;
  plan.d_slice = problem.k_blocks16() * plan.chunk * kChannelBlock + kSlicePadding;
  plan.u_slice = problem.k_blocks32() * problem.c_blocks() * kChannelBlock * kFilterBlock + kSlicePadding;
  return plan;
}

/// V and D of the chunk's tiles [begin, begin + count).
void transform(const FilterGradientProblem& problem, const Plan& plan, Range chunk, Range tiles) {
  const int64_t offset = (tiles.begin - chunk.begin) * kChannelBlock;
  WinogradInputArgs args{.x = problem.x,
                         .blocks = problem.c_blocks(),
                         .h = problem.h,
                         .w = problem.w,
                         .pad_h = problem.args.geometry.pad_h,
                         .pad_w = problem.args.geometry.pad_w,
                         .tiles_h = plan.tiles_h,
                         .tiles_w = plan.tiles_w,
                         .first = tiles.begin,
                         .count = tiles.size(),
                         .v = plan.v + offset,
                         .v_stride = plan.v_slice,
                         .v_block_stride = plan.chunk * kChannelBlock};
  problem.device.micro().winograd_input(args);
  args.x = problem.dL_dy;
  args.blocks = problem.k_blocks16();
  args.h = problem.p;
  args.w = problem.q;
  args.pad_h = 0;
  args.pad_w = 0;
  args.v = plan.d + offset;
  args.v_stride = plan.d_slice;
  problem.device.micro().winograd_output_gradient(args);
}

/// U (+)= V^T D of one point and filter block.
void multiply(const FilterGradientProblem& problem, const Plan& plan, int64_t count, int64_t point,
              int64_t kb, bool add) {
  const int64_t block = plan.chunk * kChannelBlock;
  const float* d = plan.d + point * plan.d_slice + 2 * kb * block;
  const bool both = 2 * kb + 1 < problem.k_blocks16();
  for (int64_t cb = 0; cb < problem.c_blocks(); ++cb) {
    problem.device.micro().filter_gradient(
        {.x = plan.v + point * plan.v_slice + cb * block,
         .dL_dy0 = d,
         .dL_dy1 = both ? d + block : d,
         .h = 1,
         .w = count,
         .p = 1,
         .q = count,
         .r = 1,
         .s = 1,
         .stride_h = 1,
         .stride_w = 1,
         .pad_h = 0,
         .pad_w = 0,
         .channels = kChannelBlock,
         .g = plan.u + point * plan.u_slice + (kb * problem.c_blocks() + cb) * kChannelBlock * kFilterBlock,
         .add = add});
  }
}

/// Blocks kb and cb of the gradient.
void finish(const FilterGradientProblem& problem, const Plan& plan, int64_t kb, int64_t cb) {
  const auto g_transform = winograd_filter_transform();
  const float* u = plan.u + (kb * problem.c_blocks() + cb) * kChannelBlock * kFilterBlock;
  float tile[9 * kChannelBlock * kFilterBlock];
  for (int64_t c = 0; c < kChannelBlock; ++c) {
    problem.device.micro().winograd_filter_gradient(u + c * kFilterBlock, plan.u_slice, g_transform[0].data(),
                                                    tile + c * kFilterBlock, kChannelBlock * kFilterBlock);
  }
  scatter_tile(problem, tile, kb, cb, problem.args.dL_dfilter);
}

/// Output rows (or columns) that the three taps reach inside the input, together.
int64_t reached(int64_t outputs, int64_t pad, int64_t extent) {
  int64_t sum = 0;
  for (int64_t tap = 0; tap < 3; ++tap)
    sum += std::max<int64_t>(0, std::min(outputs, extent + pad - tap) - std::max<int64_t>(0, pad - tap));
  return sum;
}

}  // namespace

bool filter_gradient_takes_winograd(const FilterGradientProblem& problem) {
  const Conv2dBackwardFilterArgs& args = problem.args;
  const Conv2dGeometry& g = args.geometry;
  if (args.squares.wanted() || args.dots.present() || problem.r != 3 || problem.s != 3 || g.stride_h != 1 ||
      g.stride_w != 1 || problem.c < kMinChannels || problem.k < kMinChannels)
    return false;
  const int64_t tiles = problem.n * ceil_div(problem.p, 4) * ceil_div(problem.q, 4);
  const int64_t direct =
      problem.n * reached(problem.p, g.pad_h, problem.h) * reached(problem.q, g.pad_w, problem.w);
  // Transforms and U cost about as much again as the products.
  return tiles >= kMinTiles && 2 * kPoints * tiles <= direct;
}

void filter_gradient_winograd(const FilterGradientProblem& problem) {
  Plan plan = make_plan(problem);
  const Scratch scratch =
      problem.device.scratch().take_array<float>(kPoints * (plan.v_slice + plan.d_slice + plan.u_slice));
  plan.v = scratch.data<float>();
  plan.d = plan.v + kPoints * plan.v_slice;
  plan.u = plan.d + kPoints * plan.d_slice;
  ThreadPool& threads = problem.device.threads();
  const int64_t k_blocks = problem.k_blocks32();
  for (int64_t index = 0; index < plan.chunks; ++index) {
    const Range chunk = part_of(plan.tiles, plan.chunks, index);
    const int64_t parts = ceil_div(chunk.size(), kTransformTiles);
    threads.parallel_for(parts, [&](int64_t part, int) {
      const Range tiles = part_of(chunk.size(), parts, part);
      transform(problem, plan, chunk, {chunk.begin + tiles.begin, chunk.begin + tiles.end});
    });
    threads.parallel_for(kPoints * k_blocks, [&](int64_t item, int) {
      multiply(problem, plan, chunk.size(), item / k_blocks, item % k_blocks, index > 0);
    });
  }
  threads.parallel_for(k_blocks * problem.c_blocks(), [&](int64_t item, int) {
    finish(problem, plan, item / problem.c_blocks(), item % problem.c_blocks());
  });
}

}  // namespace panda::kernels::cpu
