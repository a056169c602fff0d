// How the emulator runs a kernel: the same sources must give the same results however threads take turns.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/cuda/gpu_device.h"

namespace panda::kernels::simt {

/// Who runs when several threads can. kFifo: who could first; blocks in rising order. kReverse: who could
/// last, so that one warp runs far ahead of the others; blocks in falling order. kRandom: drawn, blocks too.
enum class Order : uint8_t { kFifo, kReverse, kRandom };

/// What shared memory holds when a block starts and a buffer when it is allocated. kNan: 0xFF, a NaN in every
/// float. kFinite: 0x7B, large and finite in every float, for what a maximum or a comparison would swallow.
enum class Poison : uint8_t { kNan, kFinite };

struct SimtOptions {
  Order order = Order::kFifo;
  uint64_t seed = 1;  ///< of kRandom
  Poison poison = Poison::kNan;
  Precision precision = Precision::kF32;
  /// Those of an sm_90 with few multiprocessors: grids that depend on their number stay small.
  GpuProperties properties = {.compute_capability = 90,
                              .multiprocessors = 4,
                              .shared_bytes_per_block = 227 * 1024,
                              .shared_bytes_per_multiprocessor = 228 * 1024,
                              .l2_bytes = int64_t{4} << 20,
                              .memory_bytes = int64_t{4} << 30};
};

/// "fifo", "reverse", "random:7".
[[nodiscard]] std::string order_name(Order order, uint64_t seed);
/// Sets order and seed from such a name ("random" alone keeps the seed); throws InvalidArgument.
void set_order(SimtOptions& options, const std::string& name);
/// "nan" or "finite"; throws InvalidArgument.
void set_poison(SimtOptions& options, const std::string& name);

}  // namespace panda::kernels::simt
