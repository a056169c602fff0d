#include "kernels/simt/launch.h"

#include <mutex>
#include <numeric>

#include "kernels/simt/race.h"
#include "kernels/simt/runtime.h"
#include "kernels/simt/simt_device.h"
#include "kernels/tensor/error.h"

namespace panda::kernels::simt {

namespace emulator {

namespace {

std::string extents(dim3 d) {
  return text(d.x, "x", d.y, "x", d.z);
}

/// The limits of every GPU from sm_75 on.
void check_launch(const char* kernel, dim3 grid, dim3 block, size_t shared_bytes,
                  const GpuProperties& properties) {
  const auto refuse = [&](const std::string& why) {
    throw DeviceError(text("simt: launch of ", kernel, ", grid ", extents(grid), ", block ", extents(block),
                           ", shared memory ", shared_bytes, " bytes: ", why));
  };
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) refuse("the grid is empty");
  if (block.x == 0 || block.y == 0 || block.z == 0) refuse("the block is empty");
  if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
    refuse("a grid has 2147483647 x 65535 x 65535 blocks at most");
  if (block.x > 1024 || block.y > 1024 || block.z > 64 ||
      uint64_t{block.x} * block.y * block.z > uint64_t{kMaxThreads})
    refuse("a block has 1024 threads at most, 64 of them in z");
  if (shared_bytes > static_cast<size_t>(properties.shared_bytes_per_block))
    refuse(text("the device has ", properties.shared_bytes_per_block, " bytes per block"));
}

/// The order of a grid's blocks, as a permutation i -> (first + i * step) mod count.
struct BlockOrder {
  uint64_t count;
  uint64_t first;
  uint64_t step;

  BlockOrder(uint64_t blocks, Order order, uint64_t seed) : count(blocks), first(0), step(1) {
    if (order == Order::kReverse) {
      first = blocks - 1;
      step = blocks - 1;  // = -1
    }
    if (order == Order::kRandom) {
      // Splitmix64's finalizer; a step that shares no factor with the count visits every block once.
      uint64_t mixed = (seed ^ (seed >> 30)) * 0xbf58476d1ce4e5b9u;
      mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
      mixed ^= mixed >> 31;
      first = mixed % blocks;
      step = (mixed >> 32) % blocks;
      while (std::gcd(step, blocks) != 1) step = (step + 1) % blocks;
    }
  }
  // Both factors are below 2^31 * 65535^2 only in grids that would never end; below 2^32 the product fits.
  [[nodiscard]] uint64_t block(uint64_t i) const { return (first + i % count * step) % count; }
};

/// Fresh state for a launch, and nothing of it left after, however it ends.
class Launch {
 public:
  Launch(const char* kernel, dim3 grid, dim3 block, size_t shared_bytes, SimtDevice& device) {
    const SimtOptions& options = device.options();
    runtime.kernel = kernel;
    runtime.compute_capability = options.properties.compute_capability;
    runtime.order = options.order;
    runtime.seed = options.seed;
    runtime.poison = device.poison_byte();
    runtime.ready.start(options.order, device.next_seed());
    race::launch_started();
    if (shared_bytes > 0) runtime.dynamic = std::make_unique<GuardedBlock>(shared_bytes);
    gridDim = grid;
    blockDim = block;
  }
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;
  ~Launch() {
    runtime.shared.clear();
    runtime.dynamic.reset();
    runtime.current = nullptr;
    race::launch_ended();
  }
};

}  // namespace

bool take_down(GpuDevice& gpu, const std::function<void()>& launch) {
  return static_cast<SimtDevice&>(gpu).take_down(launch);
}

void run_grid(const char* kernel, dim3 grid, dim3 block, size_t shared_bytes, GpuDevice& gpu,
              void (*body)(void*), void* context) {
  auto& device = static_cast<SimtDevice&>(gpu);
  check_launch(kernel, grid, block, shared_bytes, device.properties());
  static std::mutex one_launch_at_a_time;
  const std::lock_guard lock(one_launch_at_a_time);
  const Launch launch(kernel, grid, block, shared_bytes, device);
  runtime.body = body;
  runtime.context = context;
  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  if (blocks > UINT32_MAX)
    throw DeviceError(
        text("simt: launch of ", kernel, ", grid ", extents(grid), ": too many blocks to emulate"));
  const BlockOrder order(blocks, device.options().order, device.options().seed);
  for (uint64_t i = 0; i < blocks; ++i) {
    const uint64_t number = order.block(i);
    blockIdx = {static_cast<unsigned>(number % grid.x), static_cast<unsigned>(number / grid.x % grid.y),
                static_cast<unsigned>(number / grid.x / grid.y)};
    runtime.run_block(block);
  }
}

}  // namespace emulator
}  // namespace panda::kernels::simt
