// The gradients of a convolution's filter and bias on the cpu device.
//
// An item is 32 output channels times a few blocks of 16 input channels; it passes over the images in order,
// makes each image's gradient in a tile (simd/filter_gradient.inl) and adds it, its square and its product
// with the filter to the item's own sums. Threads never split images: the order of a sum is that of the
// batch, whatever the cut. Two-level sums (pixels of an image, then images) also keep the rounding error near
// sqrt(pixels) + sqrt(images) instead of sqrt(pixels * images).
#include <algorithm>
#include <cstring>

#include "kernels/conv2d_backward.h"
#include "kernels/cpu/conv2d.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

namespace {

/// A channel block's tile is R*S*16*32 floats (18 KB for 3x3). Blocks of one item share the reading of dL_dy;
/// so many that their sums stay in L2 beside it.
constexpr int64_t kItemFloats = 48 << 10;

struct Problem {
  CpuDevice& device;
  const Conv2dBackwardFilterArgs& args;
  Shape filter;
  const float* x;
  const float* dL_dy;
  int64_t tile;        ///< floats of one channel block's tile
  int64_t c_blocks;    ///< of x
  int64_t k_blocks16;  ///< of dL_dy
  int64_t group;       ///< channel blocks of an item

  [[nodiscard]] int64_t n() const { return args.x.shape()[0]; }
  [[nodiscard]] int64_t k_blocks32() const { return ceil_div(filter[0], kFilterBlock); }
  [[nodiscard]] int64_t groups() const { return ceil_div(c_blocks, group); }
};

/// The coefficients [tap][16 c][32 k] that an item multiplies with its gradients; zeros where there are none.
void gather_tile(const Problem& problem, const float* filter, int64_t kb, int64_t cb, float* tile) {
  const int64_t taps = problem.filter[2] * problem.filter[3];
  std::memset(tile, 0, static_cast<size_t>(problem.tile) * sizeof(float));
  const int64_t k_end = std::min(problem.filter[0], (kb + 1) * kFilterBlock);
  const int64_t c_end = std::min(problem.filter[1], (cb + 1) * kChannelBlock);
  for (int64_t k = kb * kFilterBlock; k < k_end; ++k) {
    for (int64_t c = cb * kChannelBlock; c < c_end; ++c) {
      const float* from = filter + (k * problem.filter[1] + c) * taps;
      for (int64_t tap = 0; tap < taps; ++tap)
        tile[(tap * kChannelBlock + c % kChannelBlock) * kFilterBlock + k % kFilterBlock] = from[tap];
    }
  }
}

void scatter_tile(const Problem& problem, const float* tile, int64_t kb, int64_t cb, const Gradient& to) {
  if (!to.wanted()) return;
  const int64_t taps = problem.filter[2] * problem.filter[3];
  const int64_t k_end = std::min(problem.filter[0], (kb + 1) * kFilterBlock);
  const int64_t c_end = std::min(problem.filter[1], (cb + 1) * kChannelBlock);
  for (int64_t k = kb * kFilterBlock; k < k_end; ++k) {
    for (int64_t c = cb * kChannelBlock; c < c_end; ++c) {
      float* out = to.view.data<float>() + (k * problem.filter[1] + c) * taps;
      const float* from = tile + c % kChannelBlock * kFilterBlock + k % kFilterBlock;
      for (int64_t tap = 0; tap < taps; ++tap) {
        const float value = from[tap * kChannelBlock * kFilterBlock];
        out[tap] = to.accumulates() ? out[tap] + value : value;
      }
    }
  }
}

/// What one item works in, per thread: a tile, and per channel block sum, squares and coefficients.
struct ItemMemory {
  float* g;
  float* sums;
  float* squares;
  float* coefficients;
};

void image_gradient(const Problem& problem, int64_t n, int64_t kb, int64_t cb, float* g) {
  const Shape& xs = problem.args.x.shape();
  const Shape& ys = problem.args.dL_dy.shape();
  const Conv2dGeometry& geometry = problem.args.geometry;
  const int64_t y_plane = ys[2] * ys[3] * kChannelBlock;
  const float* dL_dy = problem.dL_dy + (n * problem.k_blocks16 + 2 * kb) * y_plane;
  const bool both = 2 * kb + 1 < problem.k_blocks16;
  problem.device.micro().filter_gradient(
      {.x = problem.x + (n * problem.c_blocks + cb) * xs[2] * xs[3] * kChannelBlock,
       .dL_dy0 = dL_dy,
       .dL_dy1 = both ? dL_dy + y_plane : dL_dy,
       .h = xs[2],
       .w = xs[3],
       .p = ys[2],
       .q = ys[3],
       .r = problem.filter[2],
       .s = problem.filter[3],
       .stride_h = geometry.stride_h,
       .stride_w = geometry.stride_w,
       .pad_h = geometry.pad_h,
       .pad_w = geometry.pad_w,
       .channels = std::min(kChannelBlock, xs[1] - cb * kChannelBlock),
       .g = g});
}

/// `dots` holds 32 partial products per group and image: [group][n][k].
void run_item(const Problem& problem, int64_t kb, int64_t group_index, const ItemMemory& memory,
              float* dots) {
  const Range cbs{group_index * problem.group, std::min((group_index + 1) * problem.group, problem.c_blocks)};
  const Conv2dBackwardFilterArgs& args = problem.args;
  const auto bytes = static_cast<size_t>(cbs.size() * problem.tile) * sizeof(float);
  std::memset(memory.g, 0, static_cast<size_t>(problem.tile) * sizeof(float));
  std::memset(memory.sums, 0, bytes);
  if (args.squares.wanted()) std::memset(memory.squares, 0, bytes);
  if (dots != nullptr) {
    for (int64_t cb = cbs.begin; cb < cbs.end; ++cb)
      gather_tile(problem, args.filter.data<float>(), kb, cb,
                  memory.coefficients + (cb - cbs.begin) * problem.tile);
  }
  for (int64_t n = 0; n < problem.n(); ++n) {
    float* image_dots =
        dots != nullptr ? dots + (group_index * problem.n() + n) * round_up(problem.filter[0], kFilterBlock) +
                              kb * kFilterBlock
                        : nullptr;
    if (dots != nullptr) std::memset(image_dots, 0, kFilterBlock * sizeof(float));
    for (int64_t cb = cbs.begin; cb < cbs.end; ++cb) {
      const int64_t offset = (cb - cbs.begin) * problem.tile;
      image_gradient(problem, n, kb, cb, memory.g);
      problem.device.micro().combine_filter_gradient(
          {.g = memory.g,
           .filter = memory.coefficients + offset,
           .sum = args.dL_dfilter.wanted() ? memory.sums + offset : nullptr,
           .squares = args.squares.wanted() ? memory.squares + offset : nullptr,
           .dots = image_dots,
           .rows = problem.tile / kFilterBlock});
    }
  }
  for (int64_t cb = cbs.begin; cb < cbs.end; ++cb) {
    const int64_t offset = (cb - cbs.begin) * problem.tile;
    scatter_tile(problem, memory.sums + offset, kb, cb, args.dL_dfilter);
    scatter_tile(problem, memory.squares + offset, kb, cb, args.squares);
  }
}

/// dots[n][k] = the groups' parts in rising order.
void reduce_dots(const Problem& problem, const float* parts) {
  const int64_t k_stored = round_up(problem.filter[0], kFilterBlock);
  for (int64_t n = 0; n < problem.n(); ++n) {
    for (int64_t k = 0; k < problem.filter[0]; ++k) {
      double sum = 0;
      for (int64_t group = 0; group < problem.groups(); ++group)
        sum += parts[(group * problem.n() + n) * k_stored + k];
      problem.args.dots.data<float>()[n * problem.filter[0] + k] = static_cast<float>(sum);
    }
  }
}

}  // namespace

void conv2d_backward_filter(Device& base, const Conv2dBackwardFilterArgs& args) {
  CpuDevice& device = cpu_device(base);
  std::optional<Scratch> x_copy;
  std::optional<Scratch> dL_dy_copy;
  Problem problem{.device = device,
                  .args = args,
                  .filter = args.dL_dfilter.wanted() ? args.dL_dfilter.view.shape()
                            : args.squares.wanted()  ? args.squares.view.shape()
                                                     : args.filter.shape(),
                  .x = blocked(device, args.x, x_copy),
                  .dL_dy = blocked(device, args.dL_dy, dL_dy_copy),
                  .tile = 0,
                  .c_blocks = ceil_div(args.x.shape()[1], kChannelBlock),
                  .k_blocks16 = ceil_div(args.dL_dy.shape()[1], kChannelBlock),
                  .group = 1};
  problem.tile = problem.filter[2] * problem.filter[3] * kChannelBlock * kFilterBlock;
  // The group must not depend on the number of threads: the parts of a dot are its groups.
  problem.group = std::clamp<int64_t>(kItemFloats / problem.tile, 1, problem.c_blocks);
  const bool dots = args.dots.present();
  ThreadPool& threads = device.threads();
  const int64_t group_floats = problem.group * problem.tile;
  const int64_t thread_floats = problem.tile + 3 * group_floats;
  const Scratch memory = device.scratch().take_array<float>(thread_floats * threads.thread_count());
  std::optional<Scratch> parts;
  if (dots) {
    parts.emplace(device.scratch().take_array<float>(problem.groups() * problem.n() *
                                                     round_up(problem.filter[0], kFilterBlock)));
  }
  threads.parallel_for(problem.k_blocks32() * problem.groups(), [&](int64_t item, int thread) {
    float* start = memory.data<float>() + thread * thread_floats;
    const ItemMemory own{start, start + problem.tile, start + problem.tile + group_floats,
                         start + problem.tile + 2 * group_floats};
    run_item(problem, item / problem.groups(), item % problem.groups(), own,
             dots ? parts->data<float>() : nullptr);
  });
  if (dots) reduce_dots(problem, parts->data<float>());
}

namespace {

/// One block of up to 16 channels: `sums_of` gives an image's sums.
template <typename SumsOf>
void reduce_channels(const BiasBackwardArgs& args, Range channels, SumsOf sums_of) {
  double totals[kChannelBlock] = {};
  double squares[kChannelBlock] = {};
  const int64_t k_count = args.dL_dy.shape()[1];
  for (int64_t n = 0; n < args.dL_dy.shape()[0]; ++n) {
    double sums[kChannelBlock] = {};
    sums_of(n, sums);
    for (int64_t i = 0; i < channels.size(); ++i) {
      totals[i] += sums[i];
      squares[i] += sums[i] * sums[i];
      if (args.per_sample.present())
        args.per_sample.data<float>()[n * k_count + channels.begin + i] = static_cast<float>(sums[i]);
    }
  }
  const auto write = [&](const Gradient& gradient, const double* values) {
    if (!gradient.wanted()) return;
    float* out = gradient.view.data<float>() + channels.begin;
    for (int64_t i = 0; i < channels.size(); ++i)
      out[i] = static_cast<float>(gradient.accumulates() ? out[i] + values[i] : values[i]);
  };
  write(args.dL_dbias, totals);
  write(args.squares, squares);
}

}  // namespace

void bias_backward(Device& base, const BiasBackwardArgs& args) {
  CpuDevice& device = cpu_device(base);
  const Shape& shape = args.dL_dy.shape();
  const auto* dL_dy = args.dL_dy.data<float>();
  const int64_t pixels = shape.rank() == 4 ? shape[2] * shape[3] : 1;
  const int64_t blocks = ceil_div(shape[1], kChannelBlock);
  const bool is_blocked = args.dL_dy.layout() == Layout::kChannelBlocked16;
  device.threads().parallel_for(blocks, [&](int64_t block, int) {
    const Range channels{block * kChannelBlock, std::min((block + 1) * kChannelBlock, shape[1])};
    reduce_channels(args, channels, [&](int64_t n, double* sums) {
      if (is_blocked) {
        device.micro().reduce_columns(SimdReduce::kSum, dL_dy + (n * blocks + block) * pixels * kChannelBlock,
                                      pixels, kChannelBlock, kChannelBlock, sums);
        return;
      }
      for (int64_t i = 0; i < channels.size(); ++i) {
        sums[i] = device.micro().reduce_line(SimdReduce::kSum,
                                             dL_dy + (n * shape[1] + channels.begin + i) * pixels, pixels);
      }
    });
  });
}

}  // namespace panda::kernels::cpu
