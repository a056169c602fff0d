// Direct convolution: every output pixel is one sum over channel blocks and taps, in registers
// (simd/tile_product.inl).
//
// An item is a panel of output pixels times a range of filter blocks. Its input is one of
//   - pointwise: x itself (1x1, stride 1, no padding, blocked): pixels of an image are contiguous, a panel
//   crosses rows;
//   - gathered:  a copy of the input rows it needs, [C/16][row][column phase][column][16], zeros where the
//   image ends. Columns are split by
//     phase (column mod stride), so that neighbouring outputs read neighbouring pixels whatever the stride,
//     and the inner loop knows neither padding nor stride. The copy costs one read of x per panel, which
//     brings it into L2 anyway;
//   - narrow:    (C < 16, S*C <= 24) for each output pixel of each input row the S*C values under the filter
//   row.
// Panels are sized so that the input (kPanelBytes) and one filter block (at most 512 * 9 * 128 bytes = 590 KB
// in the ResNets) sit in L2 together (1 MB on Zen 4 and 5, where these figures were chosen).
#include <array>
#include <cstring>
#include <vector>

#include "kernels/cpu/conv2d.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

namespace {

constexpr int64_t kPanelBytes = 256 << 10;

/// Where the panel's input lies and how the taps find their way in it; all strides in floats.
struct Panel {
  const float* x;
  int64_t rows;
  int64_t pixels;
  int64_t x_row_stride;
  int64_t x_block_stride;
  int64_t y_row_stride;
  int64_t y_offset;  ///< of the first pixel, within a channel block of y
};

/// The shape of a gathered patch; see the head of the file.
struct PatchShape {
  int64_t row_step;  ///< patch rows from one output row to the next
  int64_t phases;
  int64_t columns;  ///< per phase
  int64_t row_floats;

  [[nodiscard]] int64_t rows(int64_t output_rows, int64_t r) const {
    return (output_rows - 1) * row_step + r;
  }
};

PatchShape patch_shape(const ConvProblem& problem) {
  const Conv2dFilter& f = problem.filter;
  const Conv2dGeometry& g = f.geometry;
  PatchShape shape{};
  shape.row_step = std::min(f.r, g.stride_h);
  if (static_cast<ConvAlgorithm>(f.algorithm) == ConvAlgorithm::kNarrow) {
    shape.phases = 1;
    shape.columns = problem.q;
    shape.row_floats = problem.q * kNarrowPixel;
  } else {
    shape.phases = std::min(f.s, g.stride_w);
    shape.columns = problem.q + (f.s - 1) / g.stride_w;
    shape.row_floats = shape.phases * shape.columns * kChannelBlock;
  }
  return shape;
}

/// Input row of patch row `row`, for a panel that begins at output row p. Rows that no tap reads (R < stride)
/// are left out of the patch.
int64_t input_row(const ConvProblem& problem, int64_t p, int64_t row) {
  const Conv2dFilter& f = problem.filter;
  const Conv2dGeometry& g = f.geometry;
  const int64_t down = f.r >= g.stride_h ? row : row / f.r * g.stride_h + row % f.r;
  return p * g.stride_h - g.pad_h + down;
}

/// Columns j of [0, count) for which j * stride + first lies in [0, extent).
Range columns_inside(int64_t count, int64_t stride, int64_t first, int64_t extent) {
  const int64_t begin = first >= 0 ? 0 : ceil_div(-first, stride);
  const int64_t end = first >= extent ? 0 : ceil_div(extent - first, stride);
  return {std::min(begin, count), std::clamp(end, std::min(begin, count), count)};
}

void zero_pixels(float* pixels, int64_t count) {
  if (count > 0) std::memset(pixels, 0, static_cast<size_t>(count * kChannelBlock) * sizeof(float));
}

/// One row, one phase, one channel block: columns j read input column j * stride + first.
void gather_row(const ConvProblem& problem, const float* image, int64_t c_block, int64_t h, int64_t first,
                int64_t count, float* to) {
  const int64_t stride = problem.filter.geometry.stride_w;
  const Range inside = columns_inside(count, stride, first, problem.w);
  zero_pixels(to, inside.begin);
  zero_pixels(to + inside.end * kChannelBlock, count - inside.end);
  if (problem.x_layout == Layout::kChannelBlocked16) {
    const float* row = image + ((c_block * problem.h + h) * problem.w + first) * kChannelBlock;
    if (stride == 1) {
      std::memcpy(to + inside.begin * kChannelBlock, row + inside.begin * kChannelBlock,
                  static_cast<size_t>(inside.size() * kChannelBlock) * sizeof(float));
      return;
    }
    for (int64_t j = inside.begin; j < inside.end; ++j) {
      std::memcpy(to + j * kChannelBlock, row + j * stride * kChannelBlock, kChannelBlock * sizeof(float));
    }
    return;
  }
  for (int64_t i = 0; i < kChannelBlock; ++i) {
    const int64_t c = c_block * kChannelBlock + i;
    const float* row = image + (c * problem.h + h) * problem.w + first;
    for (int64_t j = inside.begin; j < inside.end; ++j) {
      to[j * kChannelBlock + i] = c < problem.filter.c ? row[j * stride] : 0.0f;
    }
  }
}

int64_t image_floats(const ConvProblem& problem) {
  return stored_numel(Shape{1, problem.filter.c, problem.h, problem.w}, problem.x_layout);
}

void gather_patch(const ConvProblem& problem, const PatchShape& shape, int64_t n, Range p, float* patch) {
  const float* image = problem.x + n * image_floats(problem);
  const int64_t rows = shape.rows(p.size(), problem.filter.r);
  for (int64_t c_block = 0; c_block < problem.c_blocks(); ++c_block) {
    for (int64_t row = 0; row < rows; ++row, patch += shape.row_floats) {
      const int64_t h = input_row(problem, p.begin, row);
      if (h < 0 || h >= problem.h) {
        std::memset(patch, 0, static_cast<size_t>(shape.row_floats) * sizeof(float));
        continue;
      }
      for (int64_t phase = 0; phase < shape.phases; ++phase) {
        gather_row(problem, image, c_block, h, phase - problem.filter.geometry.pad_w, shape.columns,
                   patch + phase * shape.columns * kChannelBlock);
      }
    }
  }
}

/// Narrow: input row h as [column][C] with its padding into `line`, then the S*C values of each output pixel
/// into `to`.
void gather_narrow_row(const ConvProblem& problem, const float* image, int64_t h, float* line, float* to) {
  const Conv2dFilter& f = problem.filter;
  const int64_t width = problem.w + 2 * f.geometry.pad_w;
  std::memset(line, 0, static_cast<size_t>(width * f.c + kNarrowPixel) * sizeof(float));
  if (h >= 0 && h < problem.h) {
    const bool dense = problem.x_layout == Layout::kDense;
    const int64_t step = dense ? 1 : kChannelBlock;
    for (int64_t c = 0; c < f.c; ++c) {
      const float* from =
          dense ? image + (c * problem.h + h) * problem.w : image + h * problem.w * kChannelBlock + c;
      float* column = line + f.geometry.pad_w * f.c + c;
      for (int64_t w = 0; w < problem.w; ++w) column[w * f.c] = from[w * step];
    }
  }
  for (int64_t q = 0; q < problem.q; ++q) {
    std::memcpy(to + q * kNarrowPixel, line + q * f.geometry.stride_w * f.c, kNarrowPixel * sizeof(float));
  }
}

/// What all items of one call share.
struct Plan {
  bool pointwise;
  bool narrow;
  PatchShape patch;
  std::vector<int64_t> taps;
  int64_t blocks;  ///< reduction blocks
  int64_t panels;  ///< per image
  int64_t units;   ///< what panels divide: pixels (pointwise) or output rows
  int64_t k_parts;
  int64_t panel_floats;  ///< of gathered input
  int64_t line_floats;   ///< narrow's row buffer
};

std::vector<int64_t> tap_offsets(const ConvProblem& problem, const Plan& plan) {
  const Conv2dFilter& f = problem.filter;
  std::vector<int64_t> taps;
  for (int64_t r = 0; r < f.r; ++r) {
    if (plan.narrow) {
      taps.push_back(r * plan.patch.row_floats);
      continue;
    }
    for (int64_t s = 0; s < f.s; ++s) {
      const int64_t phase = s % f.geometry.stride_w;
      const int64_t shift = s / f.geometry.stride_w;
      taps.push_back(r * plan.patch.row_floats + (phase * plan.patch.columns + shift) * kChannelBlock);
    }
  }
  return taps;
}

Plan make_plan(const ConvProblem& problem) {
  const Conv2dFilter& f = problem.filter;
  const Conv2dGeometry& g = f.geometry;
  Plan plan{};
  plan.narrow = static_cast<ConvAlgorithm>(f.algorithm) == ConvAlgorithm::kNarrow;
  plan.pointwise = !plan.narrow && f.r == 1 && f.s == 1 && g.stride_h == 1 && g.stride_w == 1 &&
                   g.pad_h == 0 && g.pad_w == 0 && problem.p == problem.h && problem.q == problem.w &&
                   problem.x_layout == Layout::kChannelBlocked16;
  plan.patch = patch_shape(problem);
  plan.blocks = plan.narrow ? 1 : problem.c_blocks();
  const int64_t max_tile = problem.device.micro().max_tile;
  const int64_t unit_floats = plan.pointwise ? plan.blocks * kChannelBlock
                                             : plan.blocks * plan.patch.row_step * plan.patch.row_floats;
  int64_t per_panel = std::max<int64_t>(1, kPanelBytes / (unit_floats * static_cast<int64_t>(sizeof(float))));
  if (plan.pointwise) per_panel = round_up(per_panel, max_tile);
  plan.units = plan.pointwise ? problem.p * problem.q : problem.p;
  plan.panels = ceil_div(plan.units, per_panel);
  plan.k_parts =
      parts_for(problem.n * plan.panels, problem.k_blocks32(), problem.device.threads().thread_count());
  if (!plan.pointwise) {
    plan.taps = tap_offsets(problem, plan);
    plan.panel_floats =
        plan.blocks * plan.patch.rows(ceil_div(plan.units, plan.panels), f.r) * plan.patch.row_floats;
    if (plan.narrow) plan.line_floats = (problem.w + 2 * g.pad_w) * f.c + kNarrowPixel;
  } else {
    plan.taps = {0};
  }
  return plan;
}

Panel pointwise_panel(const ConvProblem& problem, const Plan& plan, int64_t n, int64_t index) {
  // Whole register tiles: 196 pixels in 4 panels are 56 + 56 + 42 + 42.
  const int64_t tile = problem.device.micro().max_tile;
  const Range tiles = part_of(ceil_div(plan.units, tile), plan.panels, index);
  const int64_t begin = tiles.begin * tile;
  const int64_t end = std::min(tiles.end * tile, plan.units);
  return {.x = problem.x + (n * plan.blocks * plan.units + begin) * kChannelBlock,
          .rows = 1,
          .pixels = end - begin,
          .x_row_stride = 0,
          .x_block_stride = plan.units * kChannelBlock,
          .y_row_stride = 0,
          .y_offset = begin * kChannelBlock};
}

Panel gathered_panel(const ConvProblem& problem, const Plan& plan, int64_t n, int64_t index, float* buffer) {
  const Range p = part_of(plan.units, plan.panels, index);
  const int64_t patch_rows = plan.patch.rows(p.size(), problem.filter.r);
  if (plan.narrow) {
    const float* image = problem.x + n * image_floats(problem);
    float* line = buffer + plan.panel_floats;
    for (int64_t row = 0; row < patch_rows; ++row) {
      gather_narrow_row(problem, image, input_row(problem, p.begin, row), line,
                        buffer + row * plan.patch.row_floats);
    }
  } else {
    gather_patch(problem, plan.patch, n, p, buffer);
  }
  // A 1x1 filter needs no rows: they are neighbours in the patch.
  const bool flat = !plan.narrow && problem.filter.r == 1 && problem.filter.s == 1;
  return {.x = buffer,
          .rows = flat ? 1 : p.size(),
          .pixels = flat ? p.size() * problem.q : problem.q,
          .x_row_stride = plan.patch.row_step * plan.patch.row_floats,
          .x_block_stride = patch_rows * plan.patch.row_floats,
          .y_row_stride = problem.q * kChannelBlock,
          .y_offset = p.begin * problem.q * kChannelBlock};
}

void multiply_panel(const ConvProblem& problem, const Plan& plan, const Panel& panel, int64_t n, int64_t kb) {
  const Conv2dFilter& f = problem.filter;
  const int64_t length = plan.narrow ? f.s * f.c : kChannelBlock;
  const int64_t tap_count = static_cast<int64_t>(plan.taps.size());
  const int64_t half_stride = problem.p * problem.q * kChannelBlock;
  const int64_t y_start = (n * problem.k_blocks16() + 2 * kb) * half_stride + panel.y_offset;
  const int64_t w_floats = plan.blocks * tap_count * length * kFilterBlock;
  const float* w = f.packed.data<float>() + kb * w_floats;
  const TileProductArgs args{
      .x = panel.x,
      .rows = panel.rows,
      .pixels = panel.pixels,
      .x_row_stride = panel.x_row_stride,
      .x_block_stride = panel.x_block_stride,
      .blocks = plan.blocks,
      .taps = plan.taps.data(),
      .tap_count = tap_count,
      .length = length,
      .w = w,
      .w_row_stride = 0,
      .w_next = kb + 1 < problem.k_blocks32() ? w + w_floats : nullptr,
      .w_next_floats = w_floats,
      .epilogue = {.y = problem.y + y_start,
                   .residual = problem.residual != nullptr ? problem.residual + y_start : nullptr,
                   .bias = problem.bias != nullptr ? problem.bias + kb * kFilterBlock : nullptr,
                   .row_stride = panel.y_row_stride,
                   .pixel_stride = kChannelBlock,
                   .half_stride = half_stride,
                   .halves = problem.halves(kb),
                   .relu = problem.relu},
  };
  const MicroKernels& micro = problem.device.micro();
  (plan.narrow ? micro.tile_product_narrow : micro.tile_product)(args);
}

}  // namespace

void conv2d_direct(const ConvProblem& problem) {
  const Plan plan = make_plan(problem);
  ThreadPool& threads = problem.device.threads();
  const int64_t buffer_floats = round_up(plan.panel_floats + plan.line_floats, kChannelBlock);
  const Scratch scratch = problem.device.scratch().take_array<float>(buffer_floats * threads.thread_count());
  // Which panel each thread's buffer holds: consecutive items are filter ranges of one panel, gathered once.
  std::vector<int64_t> gathered(static_cast<size_t>(threads.thread_count()), -1);
  std::vector<Panel> panels(static_cast<size_t>(threads.thread_count()));
  threads.parallel_for(problem.n * plan.panels * plan.k_parts, [&](int64_t item, int thread) {
    const int64_t panel_index = item / plan.k_parts;
    const int64_t n = panel_index / plan.panels;
    Panel& panel = panels[static_cast<size_t>(thread)];
    if (gathered[static_cast<size_t>(thread)] != panel_index) {
      float* buffer = scratch.data<float>() + thread * buffer_floats;
      panel = plan.pointwise ? pointwise_panel(problem, plan, n, panel_index % plan.panels)
                             : gathered_panel(problem, plan, n, panel_index % plan.panels, buffer);
      gathered[static_cast<size_t>(thread)] = panel_index;
    }
    const Range kbs = part_of(problem.k_blocks32(), plan.k_parts, item % plan.k_parts);
    for (int64_t kb = kbs.begin; kb < kbs.end; ++kb) multiply_panel(problem, plan, panel, n, kb);
  });
}

void pack_direct(CpuDevice& device, const FilterSource& source, Conv2dFilter& f, float* packed) {
  const int64_t c_blocks = ceil_div(f.c, kChannelBlock);
  const int64_t tile = f.r * f.s * kChannelBlock * kFilterBlock;
  device.threads().parallel_for(ceil_div(f.k, kFilterBlock) * c_blocks, [&](int64_t item, int) {
    gather_filter_block(device.micro(), source,
                        {.k_begin = item / c_blocks * kFilterBlock,
                         .k_end = f.k,
                         .c_begin = item % c_blocks * kChannelBlock,
                         .c_end = f.c,
                         .c_stride = kFilterBlock,
                         .tap_stride = kChannelBlock * kFilterBlock},
                        packed + item * tile);
  });
}

void pack_narrow(const FilterSource& source, Conv2dFilter& f, float* packed) {
  for (int64_t kb = 0; kb < ceil_div(f.k, kFilterBlock); ++kb) {
    for (int64_t tap = 0; tap < f.r * f.s; ++tap) {
      for (int64_t c = 0; c < f.c; ++c) {
        const float* from = source.data + c * source.c_stride + source.taps[static_cast<size_t>(tap)];
        for (int64_t k = kb * kFilterBlock; k < (kb + 1) * kFilterBlock; ++k)
          *packed++ = k < f.k ? from[k * source.k_stride] : 0.0f;
      }
    }
  }
}

}  // namespace panda::kernels::cpu
