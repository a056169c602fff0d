// convert (kernels/elementwise.h): dtypes and layouts.
//
// WHAT    y = x in y's dtype and layout, each element rounded once (nearest, ties to even)
// READS   x once · WRITES y once, padding channels included
// LAUNCH  one layout: one thread a pack (16 B of the wider side), one an element where a side is misaligned
//         dense <-> channels last: 32x32 tiles through shared memory, 256 threads a tile; below kTileFrom
//         channels or pixels, and for channel blocks, one thread an element of y
// LIMITS  a change of layout takes the pairs of equal dtypes and f32 <-> f16, bf16 in one pass; the others go
//         through scratch memory, dtype first
// SOURCE  kernels/elementwise.h
#include <algorithm>
#include <type_traits>

#include "kernels/cuda/gpu_kernels.h"
#include "kernels/cuda/work.cuh"
#include "kernels/elementwise.h"

namespace panda::kernels::PANDA_TARGET {

namespace {

/// Side of a transposed tile: both its rows and its columns are whole 32-byte sectors of 16-bit elements.
constexpr int kTile = 32;
constexpr int kTileThreadRows = kBlockThreads / kTile;
/// Extents below this fill too little of a tile: element by element, neighbouring threads of a warp read
/// fewer than kTileFrom runs of memory.
constexpr int64_t kTileFrom = 8;

/// An f64 as f32 so that rounding the result once more, to 16 bits, equals rounding the f64 directly ("round
/// to odd").
__device__ float round_to_odd(double value) {
  const auto nearest = static_cast<float>(value);
  const double back = nearest;
  if (back == value || value != value || fabsf(nearest) == INFINITY) return nearest;
  unsigned bits = __float_as_uint(nearest);
  if (fabs(back) > fabs(value)) --bits;  // the neighbour towards zero: f32 bits rise with the magnitude
  return __uint_as_float(bits | 1U);
}

template <typename To, typename From>
__device__ To convert_one(From value) {
  constexpr bool kFromHalf = std::is_same_v<From, Float16> || std::is_same_v<From, BFloat16>;
  constexpr bool kToHalf = std::is_same_v<To, Float16> || std::is_same_v<To, BFloat16>;
  if constexpr (std::is_same_v<From, To>) {
    return value;
  } else if constexpr (kFromHalf) {
    return convert_one<To>(as_float(value));
  } else if constexpr (!kToHalf) {
    return static_cast<To>(static_cast<double>(value));
  } else if constexpr (std::is_same_v<From, float> || std::is_same_v<From, uint8_t>) {
    return from_float<To>(static_cast<float>(value));
  } else {
    return from_float<To>(round_to_odd(static_cast<double>(value)));
  }
}

template <typename From, typename To, int kPack>
__global__ void __launch_bounds__(kBlockThreads)
    convert_elements(const From* __restrict__ x, To* __restrict__ y, int64_t count) {
  const int64_t begin = thread_index() * kPack;
  if (kPack > 1 && begin + kPack <= count) {
    const Pack<From, kPack> from = load_pack<kPack>(x + begin);
    Pack<To, kPack> to;
    for (int i = 0; i < kPack; ++i) to.at[i] = convert_one<To>(from.at[i]);
    store_pack(y + begin, to);
  } else {
    for (int64_t i = begin; i < count && i < begin + kPack; ++i) y[i] = convert_one<To>(x[i]);
  }
}

/// x: batch,rows,columns · y: batch,columns,rows.
template <typename From, typename To>
__global__ void __launch_bounds__(kBlockThreads)
    transpose(const From* __restrict__ x, To* __restrict__ y, int64_t rows, int64_t columns) {
  // One more column: a column of the tile then lies in 32 different banks.
  PANDA_SHARED(To, tile, [kTile][kTile + 1]);
  int64_t tile_column;
  int64_t tile_row;
  int64_t rest = divide(blockIdx.x, (columns + kTile - 1) / kTile, tile_column);
  const int64_t batch = divide(rest, (rows + kTile - 1) / kTile, tile_row);
  x += batch * rows * columns;
  y += batch * rows * columns;
  const int lane = static_cast<int>(threadIdx.x) % kTile;
  const int first = static_cast<int>(threadIdx.x) / kTile;
  for (int i = first; i < kTile; i += kTileThreadRows) {
    const int64_t row = tile_row * kTile + i;
    const int64_t column = tile_column * kTile + lane;
    if (row < rows && column < columns) tile[i][lane] = convert_one<To>(x[row * columns + column]);
  }
  __syncthreads();  // the tile is filled before its columns are read
  for (int i = first; i < kTile; i += kTileThreadRows) {
    const int64_t column = tile_column * kTile + i;
    const int64_t row = tile_row * kTile + lane;
    if (row < rows && column < columns) y[column * rows + row] = tile[lane][i];
  }
}

/// The extents of N,C,H,W and how they lie in memory, for any layout.
struct AnyLayout {
  int64_t channels, height, width;
  Layout layout;
};

/// image_offset of kernels/tensor/layout.h, on the device.
__device__ int64_t offset_in(const AnyLayout& in, const ImagePlace& at) {
  const int64_t pixel = at.h * in.width + at.w;
  const int64_t pixels = in.height * in.width;
  if (in.layout == Layout::kChannelsLast) return (at.n * pixels + pixel) * in.channels + at.c;
  if (in.layout == Layout::kDense) return (at.n * in.channels + at.c) * pixels + pixel;
  const int64_t blocks = (in.channels + kChannelBlock - 1) / kChannelBlock;
  return ((at.n * blocks + at.c / kChannelBlock) * pixels + pixel) * kChannelBlock + at.c % kChannelBlock;
}

/// The place of stored element `index`; its channel is past the last in padding.
__device__ ImagePlace place_in(const AnyLayout& in, int64_t index) {
  ImagePlace at;
  if (in.layout == Layout::kChannelsLast) {
    index = divide(index, in.channels, at.c);
    index = divide(index, in.width, at.w);
    at.n = divide(index, in.height, at.h);
  } else if (in.layout == Layout::kDense) {
    index = divide(index, in.width, at.w);
    index = divide(index, in.height, at.h);
    at.n = divide(index, in.channels, at.c);
  } else {
    int64_t block;
    index = divide(index, kChannelBlock, at.c);
    index = divide(index, in.width, at.w);
    index = divide(index, in.height, at.h);
    at.n = divide(index, (in.channels + kChannelBlock - 1) / kChannelBlock, block);
    at.c += block * kChannelBlock;
  }
  return at;
}

template <typename From, typename To>
__global__ void __launch_bounds__(kBlockThreads)
    rearrange(const From* __restrict__ x, AnyLayout from, To* __restrict__ y, AnyLayout to, int64_t count) {
  const int64_t index = thread_index();
  if (index >= count) return;
  const ImagePlace at = place_in(to, index);
  y[index] = at.c < to.channels ? convert_one<To>(x[offset_in(from, at)]) : To{};
}

template <typename From, typename To>
void launch_elements(GpuDevice& device, const void* x, void* y, int64_t count) {
  constexpr int kPack = 16 / static_cast<int>(std::max(sizeof(From), sizeof(To)));
  const auto* from = static_cast<const From*>(x);
  auto* to = static_cast<To*>(y);
  if (packs_fit(x, kPack * sizeof(From)) && packs_fit(y, kPack * sizeof(To))) {
    PANDA_LAUNCH((convert_elements<From, To, kPack>), grid_for(count, kBlockThreads * kPack),
                 dim3(kBlockThreads), 0, device, from, to, count);
  } else {
    PANDA_LAUNCH((convert_elements<From, To, 1>), grid_for(count, kBlockThreads), dim3(kBlockThreads), 0,
                 device, from, to, count);
  }
}

using ElementsFunction = void (*)(GpuDevice&, const void* x, void* y, int64_t count);

template <typename From>
ElementsFunction elements_from(DType to) {
  switch (to) {
    case DType::kF64:
      return launch_elements<From, double>;
    case DType::kF32:
      return launch_elements<From, float>;
    case DType::kF16:
      return launch_elements<From, Float16>;
    case DType::kBF16:
      return launch_elements<From, BFloat16>;
    default:
      throw InternalError("convert: unwritable dtype");
  }
}

/// Calls body(Bits{}) with the unsigned integer of that size: where bits only move, their meaning is nothing.
template <typename Body>
void with_bits(int64_t bytes, Body&& body) {
  switch (bytes) {
    case 1:
      return body(uint8_t{});
    case 2:
      return body(uint16_t{});
    case 4:
      return body(uint32_t{});
    case 8:
      return body(uint64_t{});
    default:
      throw InternalError("convert: element size");
  }
}

void convert_dtype(GpuDevice& device, const void* x, DType from, void* y, DType to, int64_t count) {
  if (from == to) {
    return with_bits(dtype_bytes(from), [&](auto bits) {
      launch_elements<decltype(bits), decltype(bits)>(device, x, y, count);
    });
  }
  switch (from) {
    case DType::kF64:
      return elements_from<double>(to)(device, x, y, count);
    case DType::kF32:
      return elements_from<float>(to)(device, x, y, count);
    case DType::kF16:
      return elements_from<Float16>(to)(device, x, y, count);
    case DType::kBF16:
      return elements_from<BFloat16>(to)(device, x, y, count);
    case DType::kU8:
      return elements_from<uint8_t>(to)(device, x, y, count);
    case DType::kI32:
      return elements_from<int32_t>(to)(device, x, y, count);
    case DType::kI64:
      return elements_from<int64_t>(to)(device, x, y, count);
    default:
      throw InternalError("convert: unreadable dtype");
  }
}

template <typename From, typename To>
void launch_layout(GpuDevice& device, const void* x, Layout from, const TensorView& y) {
  const Shape& shape = y.shape();
  const auto* source = static_cast<const From*>(x);
  auto* destination = static_cast<To*>(y.raw());
  const int64_t pixels = shape[2] * shape[3];
  const bool blocked = from == Layout::kChannelBlocked16 || y.layout() == Layout::kChannelBlocked16;
  if (!blocked && std::min(shape[1], pixels) >= kTileFrom) {
    const bool to_dense = y.layout() == Layout::kDense;
    const int64_t rows = to_dense ? pixels : shape[1];
    const int64_t columns = to_dense ? shape[1] : pixels;
    const int64_t tiles = checked_mul(shape[0], ceil_div(rows, kTile) * ceil_div(columns, kTile));
    PANDA_LAUNCH((transpose<From, To>), grid_for(tiles, 1), dim3(kBlockThreads), 0, device, source,
                 destination, rows, columns);
    return;
  }
  const int64_t count = stored_numel(shape, y.layout());
  PANDA_LAUNCH((rearrange<From, To>), grid_for(count, kBlockThreads), dim3(kBlockThreads), 0, device, source,
               (AnyLayout{shape[1], shape[2], shape[3], from}), destination,
               (AnyLayout{shape[1], shape[2], shape[3], y.layout()}), count);
}

/// A change of layout, and of dtype where that pair has a kernel; false if it has none.
bool convert_layout(GpuDevice& device, const void* x, DType from, Layout layout, const TensorView& y) {
  const DType to = y.dtype();
  if (from == to) {
    with_bits(dtype_bytes(to),
              [&](auto bits) { launch_layout<decltype(bits), decltype(bits)>(device, x, layout, y); });
    return true;
  }
  if (from == DType::kF32 && to == DType::kF16) {
    launch_layout<float, Float16>(device, x, layout, y);
  } else if (from == DType::kF16 && to == DType::kF32) {
    launch_layout<Float16, float>(device, x, layout, y);
  } else if (from == DType::kF32 && to == DType::kBF16) {
    launch_layout<float, BFloat16>(device, x, layout, y);
  } else if (from == DType::kBF16 && to == DType::kF32) {
    launch_layout<BFloat16, float>(device, x, layout, y);
  } else {
    return false;
  }
  return true;
}

}  // namespace

void convert(Device& base, const ConvertArgs& args) {
  GpuDevice& device = gpu_device(base);
  const DType from = args.x.dtype();
  const DType to = args.y.dtype();
  const int64_t count = stored_numel(args.x.shape(), args.x.layout());
  if (args.x.layout() == args.y.layout())
    return convert_dtype(device, args.x.raw(), from, args.y.raw(), to, count);
  if (convert_layout(device, args.x.raw(), from, args.x.layout(), args.y)) return;
  const Storage scratch(device, checked_mul(count, dtype_bytes(to)), "convert");
  convert_dtype(device, args.x.raw(), from, scratch.data(), to, count);
  convert_layout(device, scratch.data(), to, args.x.layout(), args.y);
}

}  // namespace panda::kernels::PANDA_TARGET
