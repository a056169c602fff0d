// Resampling of images on the cpu device: two passes over bytes, rows shared among the threads. A thread
// makes whole rows; a sum of a row is taken for a run of samples at a time, so that the compiler's vectors
// hold neighbouring samples.
#include "kernels/resize.h"

#include <algorithm>

#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

namespace {

constexpr int32_t kHalf = 1 << (kResampleFractionBits - 1);
/// Samples summed at a time: 256 bytes of sums stay in registers and L1.
constexpr int64_t kRun = 64;

uint8_t rounded(int32_t sum) {
  return static_cast<uint8_t>(std::min(sum >> kResampleFractionBits, 255));
}

/// y[i] = the weighted sum of x[t * step + i] over t, for 0 <= i < size.
void blend(const uint8_t* x, int64_t step, const int32_t* weights, int64_t count, uint8_t* y, int64_t size) {
  int32_t sums[kRun];
  for (int64_t begin = 0; begin < size; begin += kRun) {
    const int64_t run = std::min(kRun, size - begin);
    std::fill_n(sums, run, kHalf);
    for (int64_t t = 0; t < count; ++t) {
      const uint8_t* from = x + t * step + begin;
      for (int64_t i = 0; i < run; ++i) sums[i] += from[i] * weights[t];
    }
    for (int64_t i = 0; i < run; ++i) y[begin + i] = rounded(sums[i]);
  }
}

/// One row resampled along the width; x begins at the axis's position `origin`.
template <int kChannels>
void resample_row(const uint8_t* x, int64_t origin, const ResampleAxis& axis, uint8_t* y) {
  for (int64_t q = 0; q < axis.size; ++q) {
    const uint8_t* from = x + (axis.first[q] - origin) * kChannels;
    const int32_t* weights = axis.weights + q * axis.stride;
    int32_t sums[kChannels];
    std::fill_n(sums, kChannels, kHalf);
    for (int64_t t = 0; t < axis.count[q]; ++t, from += kChannels) {
      for (int c = 0; c < kChannels; ++c) sums[c] += from[c] * weights[t];
    }
    for (int c = 0; c < kChannels; ++c) y[q * kChannels + c] = rounded(sums[c]);
  }
}

using RowFunction = void (*)(const uint8_t* x, int64_t origin, const ResampleAxis& axis, uint8_t* y);
RowFunction row_function(int64_t channels) {
  constexpr RowFunction kFunctions[] = {resample_row<1>, resample_row<2>, resample_row<3>, resample_row<4>};
  return kFunctions[channels - 1];
}

/// The rows of y are shared among the threads: body(row).
template <typename Body>
void each_row(CpuDevice& device, int64_t rows, const Body& body) {
  const int64_t parts = parts_for(1, rows, device.threads().thread_count());
  device.threads().parallel_for(parts, [&](int64_t part, int) {
    const Range range = part_of(rows, parts, part);
    for (int64_t row = range.begin; row < range.end; ++row) body(row);
  });
}

/// The finished row p of 8-bit samples, as floats.
void write_row(const ResizeForwardArgs& args, int64_t p, const uint8_t* row) {
  const Shape& shape = args.y.shape();
  const Layout layout = args.y.layout();
  const int64_t channels = args.image.shape()[2];
  const auto* levels = args.levels.data<float>();
  auto* y = args.y.data<float>();
  for (int64_t k = 0; k < stored_channels(shape, layout); ++k) {
    const int64_t step = layout == Layout::kChannelBlocked16 ? kChannelBlock
                         : layout == Layout::kChannelsLast   ? shape[1]
                                                             : 1;
    float* to = y + image_offset(shape, layout, 0, k, p, 0);
    const uint8_t* from = row + (channels == 1 ? 0 : k);
    for (int64_t q = 0; q < shape[3]; ++q)
      to[q * step] = k < shape[1] ? levels[k * 256 + from[q * channels]] : 0.0F;
  }
}

}  // namespace

void resize_forward(Device& base, const ResizeForwardArgs& args) {
  CpuDevice& device = cpu_device(base);
  const Shape& shape = args.image.shape();
  const int64_t channels = shape[2];
  const auto* image = args.image.data<uint8_t>();
  const int64_t image_row = shape[1] * channels;
  const ResampleAxis& height = args.along_height;
  const ResampleAxis& width = args.along_width;
  const ResampleSource rows = resample_source(height);
  const ResampleSource columns = resample_source(width);
  const RowFunction resample = row_function(channels);
  const auto blend_rows = [&](const uint8_t* x, int64_t row_bytes, int64_t origin, int64_t p, uint8_t* y,
                              int64_t bytes) {
    blend(x + (height.first[p] - origin) * row_bytes, row_bytes, height.weights + p * height.stride,
          height.count[p], y, bytes);
  };
  const int64_t y_row = width.size * channels;
  if (args.height_first) {
    const int64_t middle_row = columns.size * channels;
    const Scratch scratch = device.scratch().take(height.size * (middle_row + y_row));
    auto* const middle = scratch.data<uint8_t>();
    each_row(device, height.size, [&](int64_t p) {
      uint8_t* blended = middle + p * (middle_row + y_row);
      blend_rows(image + columns.begin * channels, image_row, 0, p, blended, middle_row);
      resample(blended, columns.begin, width, blended + middle_row);
      write_row(args, p, blended + middle_row);
    });
    return;
  }
  const Scratch scratch = device.scratch().take((rows.size + height.size) * y_row);
  auto* const middle = scratch.data<uint8_t>();
  uint8_t* const result = middle + rows.size * y_row;
  each_row(device, rows.size,
           [&](int64_t r) { resample(image + (rows.begin + r) * image_row, 0, width, middle + r * y_row); });
  each_row(device, height.size, [&](int64_t p) {
    blend_rows(middle, y_row, rows.begin, p, result + p * y_row, y_row);
    write_row(args, p, result + p * y_row);
  });
}

}  // namespace panda::kernels::cpu
