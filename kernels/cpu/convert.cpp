// Conversion of dtypes and layouts on the cpu device.
//
// One dtype at a time, then the layout: f32 <-> f16, bf16 have vector loops; the other pairs go element by
// element through f64, rounded as kernels/elementwise.h says. A layout change of f32 moves 16 channels of a
// strip of pixels at a time, so that both sides stay in L1; other dtypes change layout element by element.
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/work.h"
#include "kernels/elementwise.h"

namespace panda::kernels::cpu {

namespace {

constexpr int64_t kElementsPerItem = 32768;

/// Rounds an f64 to f32 so that rounding the result once more, to 16 bits, equals rounding the f64 directly
/// ("round to odd").
float round_to_odd(double value) {
  const auto nearest = static_cast<float>(value);
  if (static_cast<double>(nearest) == value || std::isnan(value) || std::isinf(nearest)) return nearest;
  const bool above = std::abs(static_cast<double>(nearest)) > std::abs(value);
  const float truncated = above ? std::nextafter(nearest, 0.0f) : nearest;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(truncated) | 1u);
}

template <typename From>
double to_double(From value) {
  if constexpr (std::is_same_v<From, Float16> || std::is_same_v<From, BFloat16>) {
    return to_float(value);
  } else {
    return static_cast<double>(value);
  }
}

template <typename To>
To from_double(double value) {
  if constexpr (std::is_same_v<To, Float16>) {
    return to_float16(round_to_odd(value));
  } else if constexpr (std::is_same_v<To, BFloat16>) {
    return to_bfloat16(round_to_odd(value));
  } else {
    return static_cast<To>(value);
  }
}

using RangeFunction = void (*)(const MicroKernels& micro, const void* x, void* y, int64_t begin,
                               int64_t count);

template <typename From, typename To>
void convert_elements(const MicroKernels&, const void* x, void* y, int64_t begin, int64_t count) {
  const auto* from = static_cast<const From*>(x);
  auto* to = static_cast<To*>(y);
  for (int64_t i = begin; i < begin + count; ++i) to[i] = from_double<To>(to_double(from[i]));
}

template <typename From>
RangeFunction from_dtype(DType to) {
  switch (to) {
    case DType::kF64:
      return convert_elements<From, double>;
    case DType::kF32:
      return convert_elements<From, float>;
    case DType::kF16:
      return convert_elements<From, Float16>;
    case DType::kBF16:
      return convert_elements<From, BFloat16>;
    default:
      throw InternalError("convert: unwritable dtype");
  }
}

RangeFunction vector_function(DType from, DType to) {
  if (from == DType::kF16 && to == DType::kF32) {
    return [](const MicroKernels& micro, const void* x, void* y, int64_t begin, int64_t count) {
      micro.f16_to_f32(static_cast<const uint16_t*>(x) + begin, static_cast<float*>(y) + begin, count);
    };
  }
  if (from == DType::kF32 && to == DType::kF16) {
    return [](const MicroKernels& micro, const void* x, void* y, int64_t begin, int64_t count) {
      micro.f32_to_f16(static_cast<const float*>(x) + begin, static_cast<uint16_t*>(y) + begin, count);
    };
  }
  if (from == DType::kBF16 && to == DType::kF32) {
    return [](const MicroKernels& micro, const void* x, void* y, int64_t begin, int64_t count) {
      micro.bf16_to_f32(static_cast<const uint16_t*>(x) + begin, static_cast<float*>(y) + begin, count);
    };
  }
  if (from == DType::kF32 && to == DType::kBF16) {
    return [](const MicroKernels& micro, const void* x, void* y, int64_t begin, int64_t count) {
      micro.f32_to_bf16(static_cast<const float*>(x) + begin, static_cast<uint16_t*>(y) + begin, count);
    };
  }
  return nullptr;
}

RangeFunction range_function(DType from, DType to) {
  if (RangeFunction function = vector_function(from, to)) return function;
  switch (from) {
    case DType::kF64:
      return from_dtype<double>(to);
    case DType::kF32:
      return from_dtype<float>(to);
    case DType::kF16:
      return from_dtype<Float16>(to);
    case DType::kBF16:
      return from_dtype<BFloat16>(to);
    case DType::kU8:
      return from_dtype<uint8_t>(to);
    case DType::kI32:
      return from_dtype<int32_t>(to);
    case DType::kI64:
      return from_dtype<int64_t>(to);
    default:
      throw InternalError("convert: unreadable dtype");
  }
}

/// y = x in y's dtype, `total` elements in the same order.
void convert_dtype(CpuDevice& device, const void* x, DType from, void* y, DType to, int64_t total) {
  const int64_t parts = ceil_div(total, kElementsPerItem);
  const RangeFunction function = from == to ? nullptr : range_function(from, to);
  const int64_t size = dtype_bytes(from);
  device.threads().parallel_for(parts, [&](int64_t part, int) {
    const Range range = part_of(total, parts, part);
    if (function != nullptr) {
      function(device.micro(), x, y, range.begin, range.size());
    } else {
      std::memcpy(static_cast<char*>(y) + range.begin * size,
                  static_cast<const char*>(x) + range.begin * size, static_cast<size_t>(range.size() * size));
    }
  });
}

/// One block of up to 16 channels of one image; element type by size, since only places change.
template <typename Bits, bool kToBlocked>
void move_block(const Bits* from, Bits* to, int64_t channels, int64_t pixels) {
  constexpr int64_t kStrip = 64;  // pixels: 16 channels x 64 f32 are 4 KB on each side
  for (int64_t begin = 0; begin < pixels; begin += kStrip) {
    const int64_t end = std::min(begin + kStrip, pixels);
    for (int64_t c = 0; c < (kToBlocked ? kChannelBlock : channels); ++c) {
      for (int64_t i = begin; i < end; ++i) {
        if constexpr (kToBlocked) {
          to[i * kChannelBlock + c] = c < channels ? from[c * pixels + i] : Bits{0};
        } else {
          to[c * pixels + i] = from[i * kChannelBlock + c];
        }
      }
    }
  }
}

/// Dense <-> blocked, one block of channels of one image per item.
template <typename Bits>
void move_blocks(CpuDevice& device, const Bits* x, Bits* y, const Shape& shape, bool to_blocked) {
  const int64_t pixels = shape[2] * shape[3];
  const int64_t blocks = ceil_div(shape[1], kChannelBlock);
  device.threads().parallel_for(shape[0] * blocks, [&](int64_t item, int) {
    const int64_t first = item % blocks * kChannelBlock;
    const int64_t channels = std::min(kChannelBlock, shape[1] - first);
    const int64_t dense = (item / blocks * shape[1] + first) * pixels;
    const int64_t blocked = item * pixels * kChannelBlock;
    if (to_blocked) {
      move_block<Bits, true>(x + dense, y + blocked, channels, pixels);
    } else {
      move_block<Bits, false>(x + blocked, y + dense, channels, pixels);
    }
  });
}

/// Any layouts, element by element, one image row per item: channels-last is only met at the edges (images,
/// exchange with others).
template <typename Bits>
void move_elements(CpuDevice& device, const Bits* x, Layout from, Bits* y, Layout to, const Shape& shape) {
  device.threads().parallel_for(shape[0] * shape[2], [&](int64_t item, int) {
    const int64_t n = item / shape[2];
    const int64_t h = item % shape[2];
    for (int64_t w = 0; w < shape[3]; ++w) {
      for (int64_t c = 0; c < stored_channels(shape, to); ++c) {
        y[image_offset(shape, to, n, c, h, w)] =
            c < shape[1] ? x[image_offset(shape, from, n, c, h, w)] : Bits{0};
      }
    }
  });
}

template <typename Bits>
void convert_layout_of(CpuDevice& device, const void* x, Layout from, void* y, Layout to,
                       const Shape& shape) {
  if (from == Layout::kChannelsLast || to == Layout::kChannelsLast) {
    move_elements(device, static_cast<const Bits*>(x), from, static_cast<Bits*>(y), to, shape);
  } else {
    move_blocks(device, static_cast<const Bits*>(x), static_cast<Bits*>(y), shape,
                to == Layout::kChannelBlocked16);
  }
}

void convert_layout(CpuDevice& device, const void* x, Layout from, const TensorView& y) {
  switch (dtype_bytes(y.dtype())) {
    case 1:
      return convert_layout_of<uint8_t>(device, x, from, y.raw(), y.layout(), y.shape());
    case 2:
      return convert_layout_of<uint16_t>(device, x, from, y.raw(), y.layout(), y.shape());
    case 4:
      return convert_layout_of<uint32_t>(device, x, from, y.raw(), y.layout(), y.shape());
    case 8:
      return convert_layout_of<uint64_t>(device, x, from, y.raw(), y.layout(), y.shape());
    default:
      throw InternalError("convert: element size");
  }
}

}  // namespace

void convert(Device& base, const ConvertArgs& args) {
  CpuDevice& device = cpu_device(base);
  const Shape& shape = args.x.shape();
  const DType from = args.x.dtype();
  const DType to = args.y.dtype();
  if (shape.empty()) return;
  const int64_t count = stored_numel(shape, args.x.layout());
  if (args.x.layout() == args.y.layout())
    return convert_dtype(device, args.x.raw(), from, args.y.raw(), to, count);
  if (from == to) return convert_layout(device, args.x.raw(), args.x.layout(), args.y);
  // The dtype first, in x's layout, then the layout.
  const Scratch scratch = device.scratch().take(count * dtype_bytes(to));
  convert_dtype(device, args.x.raw(), from, scratch.data<void>(), to, count);
  convert_layout(device, scratch.data<void>(), args.x.layout(), args.y);
}

}  // namespace panda::kernels::cpu
