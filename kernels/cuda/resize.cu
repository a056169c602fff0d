// resize_forward (kernels/resize.h): resampling an image along both axes, a table of levels, the network's
// input.
//
// WHAT    image: u8 H,W,C -> y: 1,K,P,Q
// READS   the rows and columns of the image that the positions need: each byte belongs to about two windows,
//         from L1 or L2 but the first time; the image between the passes likewise
// WRITES  the image between the passes (u8), then y
// FLOPS   integer: a multiply-add a sample of a window, in 32 bits
// LAUNCH  two passes, one thread a pixel of the pass's result, in the order of its memory; the second looks
//         the levels up and writes y
// LIMITS  none: scratch memory is the image between the passes and the tables
// SOURCE  kernels/resize.h
#include "kernels/resize.h"

#include <cstring>
#include <vector>

#include "kernels/cuda/gpu_kernels.h"
#include "kernels/cuda/work.cuh"

namespace panda::kernels::PANDA_TARGET {

namespace {

constexpr int kMaxChannels = 4;

/// A pass: `axis` (its tables on the device) moves by `axis_step` bytes a position of the source, the other
/// axis by `other_step`.
struct Pass {
  const uint8_t* source;  ///< of position `origin` of the axis, and the first used of the other
  ResampleAxis axis;
  int64_t origin;
  int64_t axis_step, other_step;
  int64_t rows, columns;  ///< of the result
  int channels;
  bool along_width;
};

/// The samples of one pixel of the result.
__device__ void resample_pixel(const Pass& pass, int64_t row, int64_t column, int (&samples)[kMaxChannels]) {
  const int64_t position = pass.along_width ? column : row;
  const int64_t other = pass.along_width ? row : column;
  const uint8_t* from =
      pass.source + (pass.axis.first[position] - pass.origin) * pass.axis_step + other * pass.other_step;
  const int32_t* weights = pass.axis.weights + position * pass.axis.stride;
  const int64_t count = pass.axis.count[position];
#pragma unroll
  for (int c = 0; c < kMaxChannels; ++c) samples[c] = 1 << (kResampleFractionBits - 1);
  for (int64_t t = 0; t < count; ++t, from += pass.axis_step) {
    const int weight = weights[t];
#pragma unroll
    for (int c = 0; c < kMaxChannels; ++c) {
      if (c < pass.channels) samples[c] += from[c] * weight;
    }
  }
#pragma unroll
  for (int c = 0; c < kMaxChannels; ++c) {
    const int sample = samples[c] >> kResampleFractionBits;
    samples[c] = sample < 255 ? sample : 255;
  }
}

/// y: u8 rows,columns,channels.
__global__ void __launch_bounds__(kBlockThreads) first_pass(Pass pass, uint8_t* __restrict__ y) {
  int64_t column;
  const int64_t row = divide(thread_index(), pass.columns, column);
  if (row >= pass.rows) return;
  int samples[kMaxChannels];
  resample_pixel(pass, row, column, samples);
#pragma unroll
  for (int c = 0; c < kMaxChannels; ++c) {
    if (c < pass.channels)
      y[(row * pass.columns + column) * pass.channels + c] = static_cast<uint8_t>(samples[c]);
  }
}

/// y[k, row, column] = levels[k, sample]; with one channel, every k has its sample.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    second_pass(Pass pass, const float* __restrict__ levels, T* __restrict__ y, ImageLayout layout) {
  int64_t column;
  const int64_t row = divide(thread_index(), pass.columns, column);
  if (row >= pass.rows) return;
  int samples[kMaxChannels];
  resample_pixel(pass, row, column, samples);
  T* to = y + offset_of(layout, {0, 0, row, column});
  if (pass.channels == 1) {
    for (int64_t k = 0; k < layout.extent_c; ++k)
      to[k * layout.stride_c] = from_float<T>(levels[k * 256 + samples[0]]);
    return;
  }
#pragma unroll
  for (int c = 0; c < kMaxChannels; ++c) {
    if (c < pass.channels) to[c * layout.stride_c] = from_float<T>(levels[c * 256 + samples[c]]);
  }
}

/// The tables of both axes on the device, in one copy.
class DeviceTables {
 public:
  DeviceTables(GpuDevice& device, const ResampleAxis& height, const ResampleAxis& width)
      : storage_(device, bytes(height) + bytes(width), "resize_forward") {
    std::vector<uint8_t> host(static_cast<size_t>(storage_.bytes()));
    height_ = place(height, host.data(), 0);
    width_ = place(width, host.data(), bytes(height));
    device.copy_from_host(storage_.data(), host.data(), storage_.bytes());
  }
  [[nodiscard]] const ResampleAxis& height() const { return height_; }
  [[nodiscard]] const ResampleAxis& width() const { return width_; }

 private:
  /// Whole multiples of 8, so that the second axis begins aligned.
  static int64_t bytes(const ResampleAxis& axis) {
    return checked_add(axis.size * 16, round_up(checked_mul(checked_mul(axis.size, axis.stride), 4), 8));
  }
  /// Copies an axis's tables to host + offset; the axis with their places on the device.
  ResampleAxis place(const ResampleAxis& axis, uint8_t* host, int64_t offset) const {
    const int64_t size = axis.size * 8;
    std::memcpy(host + offset, axis.first, static_cast<size_t>(size));
    std::memcpy(host + offset + size, axis.count, static_cast<size_t>(size));
    std::memcpy(host + offset + 2 * size, axis.weights, static_cast<size_t>(axis.size * axis.stride * 4));
    const uint8_t* there = static_cast<const uint8_t*>(storage_.data()) + offset;
    return {reinterpret_cast<const int64_t*>(there), reinterpret_cast<const int64_t*>(there + size),
            reinterpret_cast<const int32_t*>(there + 2 * size), axis.size, axis.stride};
  }

  Storage storage_;
  ResampleAxis height_;
  ResampleAxis width_;
};

}  // namespace

void resize_forward(Device& base, const ResizeForwardArgs& args) {
  GpuDevice& device = gpu_device(base);
  const Shape& shape = args.image.shape();
  const int64_t channels = shape[2];
  const auto* image = args.image.data<uint8_t>();
  const ResampleSource rows = resample_source(args.along_height);
  const ResampleSource columns = resample_source(args.along_width);
  const DeviceTables tables(device, args.along_height, args.along_width);
  const int64_t image_row = shape[1] * channels;
  // The image between the passes: what the second reads.
  const int64_t middle_rows = args.height_first ? tables.height().size : rows.size;
  const int64_t middle_columns = args.height_first ? columns.size : tables.width().size;
  const int64_t middle_row = middle_columns * channels;
  const Storage middle(device, checked_mul(middle_rows, middle_row), "resize_forward");
  auto* const between = static_cast<uint8_t*>(middle.data());

  const auto pass = [&](bool along_width, const uint8_t* source, int64_t row_bytes, int64_t origin,
                        int64_t result_rows, int64_t result_columns) -> Pass {
    return {source,
            along_width ? tables.width() : tables.height(),
            origin,
            along_width ? channels : row_bytes,
            along_width ? row_bytes : channels,
            result_rows,
            result_columns,
            static_cast<int>(channels),
            along_width};
  };
  const Pass first =
      args.height_first
          ? pass(false, image + columns.begin * channels, image_row, 0, middle_rows, middle_columns)
          : pass(true, image + rows.begin * image_row, image_row, 0, middle_rows, middle_columns);
  const Pass second =
      pass(args.height_first, between, middle_row, args.height_first ? columns.begin : rows.begin,
           tables.height().size, tables.width().size);
  PANDA_LAUNCH(first_pass, grid_for(checked_mul(first.rows, first.columns), kBlockThreads),
               dim3(kBlockThreads), 0, device, first, between);
  with_image_types(DType::kF32, args.y.dtype(), [&](auto, auto element) {
    using T = decltype(element);
    PANDA_LAUNCH((second_pass<T>), grid_for(checked_mul(second.rows, second.columns), kBlockThreads),
                 dim3(kBlockThreads), 0, device, second, args.levels.data<float>(),
                 static_cast<T*>(args.y.raw()), image_layout(args.y));
  });
}

}  // namespace panda::kernels::PANDA_TARGET
