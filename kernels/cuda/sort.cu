// sort_descending (kernels/sort.h): a radix sort from the lowest byte.
//
// WHAT    values T n, sorted in place, T of 4 or 8 bytes
// READS   the values once to see which bytes differ; for each such byte twice, and 4 B a digit and tile
// WRITES  for each such byte the values once, and 4 B a digit and tile twice
// FLOPS   none
// LAUNCH  a block a tile of 4096 (T of 4 bytes) or 2048 values; a warp a digit where the tiles' counts are
//         added up
// LIMITS  n < 2^31. A pass keeps the order of equal digits, so there is one result for any order of blocks:
//         where a value goes is counted, not raced for (atomics only add to counts that are read later)
// SOURCE  Merrill and Grimshaw, "High performance and scalable radix sorting", 2011; ranks within a warp by
//         matching, and a tile put in order in shared memory before it is written, as described by Adinets
//         and Merrill, "Onesweep", 2022
#include "kernels/sort.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "kernels/cuda/gpu_kernels.h"
#include "kernels/cuda/work.cuh"

namespace panda::kernels::PANDA_TARGET {

namespace {

constexpr int kDigitBits = 8;
constexpr int kDigits = 1 << kDigitBits;
constexpr int kWarps = kBlockThreads / kWarpThreads;
static_assert(kDigits == kBlockThreads, "one thread a digit");

/// Values of a thread: 64 bytes, so that a block's tile takes 16 KiB of shared memory.
template <typename T>
constexpr int kItems = 64 / static_cast<int>(sizeof(T));
template <typename T>
constexpr int kTile = kItems<T>* kBlockThreads;
/// Blocks that look for the bytes that differ: two on each multiprocessor of the largest GPU.
constexpr int64_t kMostLookingBlocks = 288;

/// Digits rise as values fall: all bits but the sign turned over.
template <typename T>
__device__ unsigned digit_of(T value, int shift) {
  using Bits = std::make_unsigned_t<T>;
  constexpr Bits kFlip = static_cast<Bits>(~Bits{0}) >> 1;
  return static_cast<unsigned>((static_cast<Bits>(value) ^ kFlip) >> shift) & (kDigits - 1);
}

/// The sum of `value` over the lanes up to this one.
__device__ unsigned sum_of_lanes(unsigned value) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  for (int step = 1; step < kWarpThreads; step *= 2) {
    const unsigned below = __shfl_up_sync(kWholeWarp, value, step);
    if (lane >= step) value += below;
  }
  return value;
}

/// bits |= those in which some value differs from the first.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    find_varying_bits(const T* __restrict__ values, int64_t n, unsigned long long* __restrict__ bits) {
  using Bits = std::make_unsigned_t<T>;
  const T first = values[0];
  unsigned long long varying = 0;
  for (int64_t i = thread_index(); i < n; i += int64_t{gridDim.x} * blockDim.x)
    varying |= static_cast<Bits>(values[i] ^ first);
  for (int step = kWarpThreads / 2; step >= 1; step /= 2)
    varying |= __shfl_xor_sync(kWholeWarp, varying, step);
  if (threadIdx.x % kWarpThreads == 0 && varying != 0) atomicOr(bits, varying);
}

/// counts: kDigits,tiles.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    count_digits(const T* __restrict__ values, int64_t n, int shift, unsigned* __restrict__ counts) {
  PANDA_SHARED(unsigned, tile_counts, [kDigits]);
  const auto thread = static_cast<int>(threadIdx.x);
  tile_counts[thread] = 0;
  __syncthreads();  // the counts are zero before one is added to
#pragma unroll
  for (int item = 0; item < kItems<T>; ++item) {
    const int64_t i = int64_t{blockIdx.x} * kTile<T> + item * kBlockThreads + thread;
    if (i < n) atomicAdd(&tile_counts[digit_of(values[i], shift)], 1U);
  }
  __syncthreads();  // all have been counted before the counts are written
  counts[int64_t{thread} * gridDim.x + blockIdx.x] = tile_counts[thread];
}

/// Of each digit (a warp): counts of the tiles -> how many there are in the tiles before; totals: of all.
__global__ void __launch_bounds__(kBlockThreads)
    add_up_tiles(unsigned* __restrict__ counts, unsigned* __restrict__ totals, int64_t tiles) {
  const int64_t digit = thread_index() / kWarpThreads;
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  unsigned* const row = counts + digit * tiles;
  unsigned done = 0;
  for (int64_t begin = 0; begin < tiles; begin += kWarpThreads) {
    const int64_t tile = begin + lane;
    const unsigned count = tile < tiles ? row[tile] : 0;
    const unsigned sum = sum_of_lanes(count);
    if (tile < tiles) row[tile] = done + sum - count;
    done += __shfl_sync(kWholeWarp, sum, kWarpThreads - 1);
  }
  if (lane == 0) totals[digit] = done;
}

/// from -> to, by digit; counts as add_up_tiles left them. Two blocks: left alone, nvcc 13 holds i64 on sm_80
/// to 64 registers and spills two.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads, 2)
    scatter_digits(const T* __restrict__ from, T* __restrict__ to, int64_t n, int shift,
                   const unsigned* __restrict__ counts, const unsigned* __restrict__ totals) {
  PANDA_SHARED(T, tile, [kTile<T>]);
  PANDA_SHARED(unsigned, places, [kWarps][kDigits]);  // of a warp's next value with that digit
  PANDA_SHARED(unsigned, offsets, [kDigits]);         // from the tile's order to places in `to`
  PANDA_SHARED(uint2, warp_sums, [kWarps]);
  const auto thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kWarpThreads;
  const int warp = thread / kWarpThreads;
  const int64_t first = int64_t{blockIdx.x} * kTile<T>;
  for (int digit = lane; digit < kDigits; digit += kWarpThreads) places[warp][digit] = 0;
  __syncwarp();  // the warp's counts are zero before one is added to

  // A warp's values are neighbours, 32 at a time. A value's rank: how many of the warp come before it.
  T values[kItems<T>];
  unsigned ranks[kItems<T>];
#pragma unroll
  for (int item = 0; item < kItems<T>; ++item) {
    const int64_t i = first + (warp * kItems<T> + item) * kWarpThreads + lane;
    const bool inside = i < n;
    values[item] = inside ? from[i] : T{};
    const unsigned digit = inside ? digit_of(values[item], shift) : kDigits;
    const unsigned peers = __match_any_sync(kWholeWarp, digit);
    const unsigned before = inside ? places[warp][digit] : 0;
    ranks[item] = before + static_cast<unsigned>(__popc(peers & ((1U << lane) - 1)));
    __syncwarp();  // all have read the counts before one is written
    if (inside && lane == __ffs(static_cast<int>(peers)) - 1)
      places[warp][digit] = before + static_cast<unsigned>(__popc(peers));
    __syncwarp();  // and all are written before the next are read
  }
  __syncthreads();  // every warp's counts are there before they are added up

  unsigned count = 0;  // of the digit that is this thread's number
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    const unsigned of_warp = places[w][thread];
    places[w][thread] = count;
    count += of_warp;
  }
  // Of smaller digits: how many are in the tile, and how many in all.
  const unsigned total = totals[thread];
  const uint2 up_to = {sum_of_lanes(count), sum_of_lanes(total)};
  if (lane == kWarpThreads - 1) warp_sums[warp] = up_to;
  __syncthreads();  // every warp's sums are there
  unsigned in_tile = up_to.x - count;
  unsigned in_all = up_to.y - total;
  for (int w = 0; w < warp; ++w) {
    in_tile += warp_sums[w].x;
    in_all += warp_sums[w].y;
  }
#pragma unroll
  for (int w = 0; w < kWarps; ++w) places[w][thread] += in_tile;
  offsets[thread] = in_all + counts[int64_t{thread} * gridDim.x + blockIdx.x] - in_tile;
  __syncthreads();  // places and offsets are there before values are put by them

#pragma unroll
  for (int item = 0; item < kItems<T>; ++item) {
    const int64_t i = first + (warp * kItems<T> + item) * kWarpThreads + lane;
    if (i < n) tile[places[warp][digit_of(values[item], shift)] + ranks[item]] = values[item];
  }
  __syncthreads();  // the tile is in order before it is written: neighbours of a digit go side by side
#pragma unroll
  for (int item = 0; item < kItems<T>; ++item) {
    const int place = item * kBlockThreads + thread;
    if (first + place < n) {
      const T value = tile[place];
      to[offsets[digit_of(value, shift)] + static_cast<unsigned>(place)] = value;
    }
  }
}

template <typename T>
unsigned long long varying_bits(GpuDevice& device, const T* values, int64_t n) {
  unsigned long long bits = 0;
  const Storage found(device, sizeof(bits), "sort_descending");
  device.fill(found.data(), 0, sizeof(bits));
  const int64_t blocks = std::min(kMostLookingBlocks, ceil_div(n, kTile<T>));
  PANDA_LAUNCH((find_varying_bits<T>), grid_for(blocks, 1), dim3(kBlockThreads), 0, device, values, n,
               static_cast<unsigned long long*>(found.data()));
  device.copy_to_host(&bits, found.data(), sizeof(bits));
  return bits;
}

template <typename T>
void sort_values(GpuDevice& device, T* values, int64_t n) {
  const unsigned long long varying = varying_bits(device, values, n);
  if (varying == 0) return;
  const int64_t tiles = ceil_div(n, kTile<T>);
  const Storage other(device, n * static_cast<int64_t>(sizeof(T)), "sort_descending");
  const Storage counts(device, (tiles + 1) * kDigits * static_cast<int64_t>(sizeof(unsigned)),
                       "sort_descending");
  auto* const of_tiles = static_cast<unsigned*>(counts.data());
  unsigned* const totals = of_tiles + tiles * kDigits;
  const dim3 block(kBlockThreads);
  T* from = values;
  T* to = static_cast<T*>(other.data());
  for (int shift = 0; shift < 8 * static_cast<int>(sizeof(T)); shift += kDigitBits) {
    if ((varying >> shift) % kDigits == 0) continue;  // one digit for all
    PANDA_LAUNCH((count_digits<T>), grid_for(tiles, 1), block, 0, device, from, n, shift, of_tiles);
    PANDA_LAUNCH(add_up_tiles, grid_for(kDigits, kWarps), block, 0, device, of_tiles, totals, tiles);
    PANDA_LAUNCH((scatter_digits<T>), grid_for(tiles, 1), block, 0, device, from, to, n, shift, of_tiles,
                 totals);
    std::swap(from, to);
  }
  if (from != values) device.copy_on_device(values, from, n * static_cast<int64_t>(sizeof(T)));
}

}  // namespace

void sort_descending(Device& base, const SortDescendingArgs& args) {
  GpuDevice& device = gpu_device(base);
  const int64_t n = args.values.numel();
  if (args.values.dtype() == DType::kI32) {
    sort_values(device, args.values.data<int32_t>(), n);
  } else {
    sort_values(device, args.values.data<int64_t>(), n);
  }
}

}  // namespace panda::kernels::PANDA_TARGET
