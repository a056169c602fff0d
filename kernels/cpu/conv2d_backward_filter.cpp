// The gradients of a convolution's filter and bias on the cpu device.
//
// An item is a few blocks of 32 output channels times a few blocks of 16 input channels; it passes over the
// images in order, makes each image's gradient in a tile (simd/filter_gradient.inl) and adds it, its square
// and its product with the filter to the item's own sums. Threads never split images: the order of a sum is
// that of the batch, whatever the cut. Two-level sums (pixels of an image, then images) also keep the
// rounding error near sqrt(pixels) + sqrt(images) instead of sqrt(pixels * images); where nothing per image
// is wanted, small images share a tile.
#include "kernels/cpu/conv2d_backward_filter.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

namespace {

/// A block pair's tile is R*S*16*32 floats (18 KB for 3x3). An item's sums stay in L2 beside its images.
constexpr int64_t kItemFloats = 48 << 10;
/// With 4 x 8 blocks each value that comes from L3 meets 128 others.
constexpr int64_t kItemFilterBlocks = 4;
constexpr int64_t kItemChannelBlocks = 8;
/// Images with fewer pixels share a tile: loading, storing and adding it takes as long as 6 pixels.
constexpr int64_t kTilePixels = 128;

/// Gradients with at most so many taps are turned a block at a time.
constexpr int64_t kLineTaps = 9;

/// How the work is cut.
struct Cut {
  int64_t k_group;  ///< filter blocks of an item
  int64_t c_group;  ///< channel blocks
  int64_t images;   ///< that share a tile
  int64_t k_groups;
  int64_t c_groups;
};

Cut make_cut(const FilterGradientProblem& problem) {
  const Conv2dBackwardFilterArgs& args = problem.args;
  const int64_t blocks = std::max<int64_t>(kItemFloats / problem.tile(), 1);
  Cut cut{};
  if (args.dots.present()) {
    // The parts of a dot are its groups: they must not depend on the number of threads.
    cut.k_group = 1;
    cut.c_group = std::min(blocks, problem.c_blocks());
  } else {
    const int64_t wanted = kItemsPerThread * problem.device.threads().thread_count();
    cut.k_group = std::min({kItemFilterBlocks, blocks, problem.k_blocks32()});
    cut.c_group =
        std::min({kItemChannelBlocks, std::max<int64_t>(blocks / cut.k_group, 1), problem.c_blocks()});
    const auto items = [&] {
      return ceil_div(problem.k_blocks32(), cut.k_group) * ceil_div(problem.c_blocks(), cut.c_group);
    };
    while (problem.device.threads().thread_count() > 1 && items() < wanted && cut.k_group * cut.c_group > 1) {
      int64_t& larger = cut.c_group > cut.k_group ? cut.c_group : cut.k_group;
      larger = ceil_div(larger, 2);
    }
  }
  cut.k_groups = ceil_div(problem.k_blocks32(), cut.k_group);
  cut.c_groups = ceil_div(problem.c_blocks(), cut.c_group);
  const bool per_image = args.dots.present() || args.squares.wanted();
  cut.images = per_image ? 1 : std::clamp<int64_t>(kTilePixels / (problem.p * problem.q), 1, problem.n);
  return cut;
}

/// What one item works in, per thread: a tile, and per pair of blocks sum, squares and coefficients.
struct ItemMemory {
  float* g;
  float* sums;
  float* squares;
  float* coefficients;
};

void image_gradient(const FilterGradientProblem& problem, int64_t n, int64_t kb, int64_t cb, bool add,
                    float* g) {
  const Conv2dGeometry& geometry = problem.args.geometry;
  const int64_t y_plane = problem.p * problem.q * kChannelBlock;
  const float* dL_dy = problem.dL_dy + (n * problem.k_blocks16() + 2 * kb) * y_plane;
  const bool both = 2 * kb + 1 < problem.k_blocks16();
  problem.device.micro().filter_gradient(
      {.x = problem.x + (n * problem.c_blocks() + cb) * problem.h * problem.w * kChannelBlock,
       .dL_dy0 = dL_dy,
       .dL_dy1 = both ? dL_dy + y_plane : dL_dy,
       .h = problem.h,
       .w = problem.w,
       .p = problem.p,
       .q = problem.q,
       .r = problem.r,
       .s = problem.s,
       .stride_h = geometry.stride_h,
       .stride_w = geometry.stride_w,
       .pad_h = geometry.pad_h,
       .pad_w = geometry.pad_w,
       .channels = std::min(kChannelBlock, problem.c - cb * kChannelBlock),
       .g = g,
       .add = add});
}

/// Blocks kbs x cbs of images [begin, end). `dots` holds 32 partial products per filter block, or is null.
void add_images(const FilterGradientProblem& problem, Range images, Range kbs, Range cbs,
                const ItemMemory& memory, float* dots) {
  const Conv2dBackwardFilterArgs& args = problem.args;
  const int64_t tile = problem.tile();
  for (int64_t cb = cbs.begin; cb < cbs.end; ++cb) {
    for (int64_t kb = kbs.begin; kb < kbs.end; ++kb) {
      const int64_t offset = ((kb - kbs.begin) * cbs.size() + cb - cbs.begin) * tile;
      for (int64_t n = images.begin; n < images.end; ++n)
        image_gradient(problem, n, kb, cb, n > images.begin, memory.g);
      problem.device.micro().combine_filter_gradient(
          {.g = memory.g,
           .filter = memory.coefficients + offset,
           .sum = args.dL_dfilter.wanted() ? memory.sums + offset : nullptr,
           .squares = args.squares.wanted() ? memory.squares + offset : nullptr,
           .dots = dots,
           .rows = tile / kFilterBlock});
    }
  }
}

/// The item's coefficients, for the dots.
void gather_coefficients(const FilterGradientProblem& problem, Range kbs, Range cbs, float* to) {
  const FilterSource source =
      dense_source(problem.args.filter.data<float>(), problem.c, problem.r * problem.s);
  for (int64_t kb = kbs.begin; kb < kbs.end; ++kb) {
    for (int64_t cb = cbs.begin; cb < cbs.end; ++cb, to += problem.tile()) {
      gather_filter_block(problem.device.micro(), source,
                          {.k_begin = kb * kFilterBlock,
                           .k_end = problem.k,
                           .c_begin = cb * kChannelBlock,
                           .c_end = problem.c,
                           .c_stride = kFilterBlock,
                           .tap_stride = kChannelBlock * kFilterBlock},
                          to);
    }
  }
}

/// `dots` holds 32 partial products per channel group and image: [group][n][k].
void run_item(const FilterGradientProblem& problem, const Cut& cut, int64_t item, const ItemMemory& memory,
              float* dots) {
  const Conv2dBackwardFilterArgs& args = problem.args;
  const Range kbs = part_of(problem.k_blocks32(), cut.k_groups, item / cut.c_groups);
  const int64_t c_index = item % cut.c_groups;
  const Range cbs = part_of(problem.c_blocks(), cut.c_groups, c_index);
  const int64_t tile = problem.tile();
  const auto bytes = static_cast<size_t>(kbs.size() * cbs.size() * tile) * sizeof(float);
  std::memset(memory.g, 0, static_cast<size_t>(tile) * sizeof(float));
  std::memset(memory.sums, 0, bytes);
  if (args.squares.wanted()) std::memset(memory.squares, 0, bytes);
  if (dots != nullptr) gather_coefficients(problem, kbs, cbs, memory.coefficients);
  for (int64_t n = 0; n < problem.n; n += cut.images) {
    float* image_dots = nullptr;
    if (dots != nullptr) {
      image_dots =
          dots + (c_index * problem.n + n) * round_up(problem.k, kFilterBlock) + kbs.begin * kFilterBlock;
      std::memset(image_dots, 0, kFilterBlock * sizeof(float));
    }
    add_images(problem, {n, std::min(n + cut.images, problem.n)}, kbs, cbs, memory, image_dots);
  }
  for (int64_t kb = kbs.begin; kb < kbs.end; ++kb) {
    for (int64_t cb = cbs.begin; cb < cbs.end; ++cb) {
      const int64_t offset = ((kb - kbs.begin) * cbs.size() + cb - cbs.begin) * tile;
      scatter_tile(problem, memory.sums + offset, kb, cb, args.dL_dfilter);
      scatter_tile(problem, memory.squares + offset, kb, cb, args.squares);
    }
  }
}

/// dots[n][k] = the groups' parts in rising order.
void reduce_dots(const FilterGradientProblem& problem, const Cut& cut, const float* parts) {
  const int64_t k_stored = round_up(problem.k, kFilterBlock);
  for (int64_t n = 0; n < problem.n; ++n) {
    for (int64_t k = 0; k < problem.k; ++k) {
      double sum = 0;
      for (int64_t group = 0; group < cut.c_groups; ++group)
        sum += parts[(group * problem.n + n) * k_stored + k];
      problem.args.dots.data<float>()[n * problem.k + k] = static_cast<float>(sum);
    }
  }
}

void filter_gradient_direct(const FilterGradientProblem& problem) {
  const Cut cut = make_cut(problem);
  const bool dots = problem.args.dots.present();
  CpuDevice& device = problem.device;
  const int64_t item_floats = cut.k_group * cut.c_group * problem.tile();
  const int64_t thread_floats = problem.tile() + 3 * item_floats;
  const Scratch memory = device.scratch().take_array<float>(thread_floats * device.threads().thread_count());
  std::optional<Scratch> parts;
  if (dots) {
    parts.emplace(
        device.scratch().take_array<float>(cut.c_groups * problem.n * round_up(problem.k, kFilterBlock)));
  }
  device.threads().parallel_for(cut.k_groups * cut.c_groups, [&](int64_t item, int thread) {
    float* start = memory.data<float>() + thread * thread_floats;
    const ItemMemory own{start, start + problem.tile(), start + problem.tile() + item_floats,
                         start + problem.tile() + 2 * item_floats};
    run_item(problem, cut, item, own, dots ? parts->data<float>() : nullptr);
  });
  if (dots) reduce_dots(problem, cut, parts->data<float>());
}

}  // namespace

void scatter_tile(const FilterGradientProblem& problem, const float* tile, int64_t kb, int64_t cb,
                  const Gradient& to) {
  if (!to.wanted()) return;
  const int64_t taps = problem.r * problem.s;
  const Range ks{kb * kFilterBlock, std::min(problem.k, (kb + 1) * kFilterBlock)};
  const Range cs{cb * kChannelBlock, std::min(problem.c, (cb + 1) * kChannelBlock)};
  float* filter = to.view.data<float>() + (ks.begin * problem.c + cs.begin) * taps;
  const int64_t row = problem.c * taps;
  if (!to.accumulates() && taps <= kLineTaps) {
    float lines[kChannelBlock * kLineTaps * kFilterBlock];  // [c][tap][32 k]
    const int64_t rows = cs.size() * taps;
    for (int64_t i = 0; taps > 1 && i < rows; ++i)
      std::memcpy(lines + i * kFilterBlock, tile + (i % taps * kChannelBlock + i / taps) * kFilterBlock,
                  kFilterBlock * sizeof(float));
    return problem.device.micro().transpose(taps > 1 ? lines : tile, kFilterBlock, rows, ks.size(), filter,
                                            row);
  }
  for (int64_t k = 0; k < ks.size(); ++k) {
    for (int64_t c = 0; c < cs.size(); ++c) {
      float* out = filter + k * row + c * taps;
      const float* from = tile + c * kFilterBlock + k;
      for (int64_t tap = 0; tap < taps; ++tap) {
        const float value = from[tap * kChannelBlock * kFilterBlock];
        out[tap] = to.accumulates() ? out[tap] + value : value;
      }
    }
  }
}

void conv2d_backward_filter(Device& base, const Conv2dBackwardFilterArgs& args) {
  CpuDevice& device = cpu_device(base);
  std::optional<Scratch> x_copy;
  std::optional<Scratch> dL_dy_copy;
  const Shape& xs = args.x.shape();
  const Shape& ys = args.dL_dy.shape();
  const Shape& filter = args.dL_dfilter.wanted() ? args.dL_dfilter.view.shape()
                        : args.squares.wanted()  ? args.squares.view.shape()
                                                 : args.filter.shape();
  const FilterGradientProblem problem{.device = device,
                                      .args = args,
                                      .x = blocked(device, args.x, x_copy),
                                      .dL_dy = blocked(device, args.dL_dy, dL_dy_copy),
                                      .n = xs[0],
                                      .c = xs[1],
                                      .h = xs[2],
                                      .w = xs[3],
                                      .k = ys[1],
                                      .p = ys[2],
                                      .q = ys[3],
                                      .r = filter[2],
                                      .s = filter[3]};
  if (filter_gradient_takes_winograd(problem)) {
    filter_gradient_winograd(problem);
  } else {
    filter_gradient_direct(problem);
  }
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
