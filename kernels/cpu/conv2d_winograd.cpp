// Winograd F(4x4,3x3) for 3x3 filters with stride 1 and any padding: 36 products per 16 outputs instead of
// 144.
//
//   y = A^T [ (G g G^T) . (B^T d B) ] A      for each 4x4 tile of outputs, its 6x6 patch d of the input, and
//   the 3x3 filter g
//
// An item is a group of tiles times a range of filter blocks:
//   V[36][C/16][tiles][16] = transformed patches, once per group;  for each filter block of 32 channels:
//   M[36][tiles][32] = 36 matrix products with U[kb][36][C][32] (simd/tile_product.inl);  y = A^T M A, bias,
//   residual, relu.
// Tiles are counted through the whole batch, so small images fill the register tiles too. A tile's result
// does not depend on its group.
//
// Group size: U is read once per group and filter block, V once per filter block; with G tiles they come at
// 128 / G and 4 bytes per cycle. Large groups keep V in L3, small ones in L2: kGroupBytes, measured on Zen 5
// (1 MB L2, 32 MB L3), lets V take what L2 leaves.
#include <array>
#include <vector>

#include "kernels/cpu/conv2d.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

namespace {

constexpr int64_t kPoints = 36;
constexpr int64_t kGroupBytes = 1 << 20;
constexpr int64_t kMinGroup = 28;  // two register tiles of 14
constexpr int64_t kMaxGroup = 56;  // M of 56 tiles is 258 KB
// 36 slices of V at a distance of a power of two would share a few cache sets.
constexpr int64_t kSlicePadding = 16;

struct Plan {
  int64_t tiles_h;
  int64_t tiles_w;
  int64_t tiles;
  int64_t groups;
  int64_t k_parts;
  int64_t c;              ///< rounded up to whole blocks
  int64_t slice_floats;   ///< of V
  int64_t buffer_floats;  ///< V and M of one thread
};

Plan make_plan(const ConvProblem& problem) {
  const int64_t threads = problem.device.threads().thread_count();
  Plan plan{};
  plan.tiles_h = ceil_div(problem.p, 4);
  plan.tiles_w = ceil_div(problem.q, 4);
  plan.tiles = problem.n * plan.tiles_h * plan.tiles_w;
  plan.c = problem.c_blocks() * kChannelBlock;
  const int64_t fitting = kGroupBytes / (kPoints * plan.c * static_cast<int64_t>(sizeof(float)));
  const int64_t largest = std::clamp(fitting, kMinGroup, kMaxGroup);
  const int64_t wanted = std::clamp(ceil_div(plan.tiles, 2 * threads), kMinGroup, largest);
  // Whole groups of kMinGroup where they can be had: 32 tiles are one group, not two of 16.
  plan.groups = std::clamp<int64_t>(plan.tiles / kMinGroup, 1, ceil_div(plan.tiles, wanted));
  plan.k_parts = parts_for(plan.groups, problem.k_blocks32(), static_cast<int>(threads));
  const int64_t group = ceil_div(plan.tiles, plan.groups);
  plan.slice_floats = plan.c * group + kSlicePadding;
  plan.buffer_floats = kPoints * (plan.slice_floats + group * kFilterBlock);
  return plan;
}

void transform_input(const ConvProblem& problem, const Plan& plan, Range tiles, float* v) {
  problem.device.micro().winograd_input({
      .x = problem.x,
      .blocks = problem.c_blocks(),
      .h = problem.h,
      .w = problem.w,
      .pad_h = problem.filter.geometry.pad_h,
      .pad_w = problem.filter.geometry.pad_w,
      .tiles_h = plan.tiles_h,
      .tiles_w = plan.tiles_w,
      .first = tiles.begin,
      .count = tiles.size(),
      .v = v,
      .v_stride = plan.slice_floats,
      .v_block_stride = tiles.size() * kChannelBlock,
  });
}

void multiply(const ConvProblem& problem, const Plan& plan, Range tiles, int64_t kb, const float* v,
              float* m) {
  static constexpr int64_t kNoOffset[] = {0};
  problem.device.micro().tile_product({
      .x = v,
      .rows = kPoints,
      .pixels = tiles.size(),
      .x_row_stride = plan.slice_floats,
      .x_block_stride = tiles.size() * kChannelBlock,
      .blocks = problem.c_blocks(),
      .taps = kNoOffset,
      .tap_count = 1,
      .length = kChannelBlock,
      .w = problem.filter.packed.data<float>() + kb * kPoints * plan.c * kFilterBlock,
      .w_row_stride = plan.c * kFilterBlock,
      .w_next = nullptr,
      .w_next_floats = 0,
      .epilogue = {.y = m,
                   .residual = nullptr,
                   .bias = nullptr,
                   .row_stride = tiles.size() * kFilterBlock,
                   .pixel_stride = kFilterBlock,
                   .half_stride = kChannelBlock,
                   .halves = problem.halves(kb),
                   .relu = false},
  });
}

void transform_output(const ConvProblem& problem, const Plan& plan, Range tiles, int64_t kb, const float* m) {
  problem.device.micro().winograd_output({
      .m = m,
      .k_blocks = problem.k_blocks16(),
      .k_block = 2 * kb,
      .halves = problem.halves(kb),
      .p = problem.p,
      .q = problem.q,
      .tiles_h = plan.tiles_h,
      .tiles_w = plan.tiles_w,
      .first = tiles.begin,
      .count = tiles.size(),
      .y = problem.y,
      .residual = problem.residual,
      .bias = problem.bias != nullptr ? problem.bias + kb * kFilterBlock : nullptr,
      .relu = problem.relu,
  });
}

}  // namespace

std::array<std::array<double, 3>, 6> winograd_filter_transform() {
  const double a = 0.70710678118654752440;
  const double b = 1.41421356237309504880;
  const double na = -1.5;  // 2 a^2 (a^2 - b^2)
  const double nb = 6.0;   // 2 b^2 (b^2 - a^2)
  return {{{1, 0, 0},
           {1 / na, a / na, a * a / na},
           {1 / na, -a / na, a * a / na},
           {1 / nb, b / nb, b * b / nb},
           {1 / nb, -b / nb, b * b / nb},
           {0, 0, 1}}};
}

void conv2d_winograd(const ConvProblem& problem) {
  const Plan plan = make_plan(problem);
  ThreadPool& threads = problem.device.threads();
  const Scratch scratch =
      problem.device.scratch().take_array<float>(plan.buffer_floats * threads.thread_count());
  // Which group each thread's V holds: consecutive items are filter ranges of one group, transformed once.
  std::vector<int64_t> transformed(static_cast<size_t>(threads.thread_count()), -1);
  threads.parallel_for(plan.groups * plan.k_parts, [&](int64_t item, int thread) {
    const int64_t group = item / plan.k_parts;
    const Range tiles = part_of(plan.tiles, plan.groups, group);
    float* v = scratch.data<float>() + thread * plan.buffer_floats;
    float* m = v + kPoints * plan.slice_floats;
    if (transformed[static_cast<size_t>(thread)] != group) {
      transform_input(problem, plan, tiles, v);
      transformed[static_cast<size_t>(thread)] = group;
    }
    const Range kbs = part_of(problem.k_blocks32(), plan.k_parts, item % plan.k_parts);
    for (int64_t kb = kbs.begin; kb < kbs.end; ++kb) {
      multiply(problem, plan, tiles, kb, v, m);
      transform_output(problem, plan, tiles, kb, m);
    }
  });
}

void pack_winograd(CpuDevice& device, const FilterSource& source, Conv2dFilter& f, float* packed) {
  constexpr int64_t kTaps = 9;
  const int64_t c_stored = round_up(f.c, kChannelBlock);
  const auto transform = winograd_filter_transform();
  const int64_t c_blocks = c_stored / kChannelBlock;
  device.threads().parallel_for(ceil_div(f.k, kFilterBlock) * c_blocks, [&](int64_t item, int) {
    const int64_t kb = item / c_blocks;
    const int64_t c_begin = item % c_blocks * kChannelBlock;
    float taps[kChannelBlock * kTaps * kFilterBlock];
    gather_filter_block(device.micro(), source,
                        {.k_begin = kb * kFilterBlock,
                         .k_end = f.k,
                         .c_begin = c_begin,
                         .c_end = f.c,
                         .c_stride = kTaps * kFilterBlock,
                         .tap_stride = kFilterBlock},
                        taps);
    float* block = packed + (kb * kPoints * c_stored + c_begin) * kFilterBlock;
    for (int64_t c = 0; c < kChannelBlock; ++c) {
      device.micro().winograd_filter(taps + c * kTaps * kFilterBlock, transform[0].data(),
                                     block + c * kFilterBlock, c_stored * kFilterBlock);
    }
  });
}

}  // namespace panda::kernels::cpu
