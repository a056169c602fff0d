// Blocks, barriers, orders of threads, shared memory, and what is reported when a kernel breaks the rules.
#include <set>

#include "tests/unit/simt/support.h"

namespace panda::kernels::simt {
namespace {

TEST(SimtBlock, RunsEveryThreadOfEveryBlockOnce) {
  for (const SimtOptions& options : every_order()) {
    SimtDevice device(options);
    const dim3 grid(3, 2, 2);
    const dim3 block(5, 7, 3);
    std::vector<int> runs(12 * 105);
    run_kernel(grid, block, 0, device, [&] {
      EXPECT_EQ(gridDim.x * gridDim.y * gridDim.z, 12u);
      EXPECT_EQ(blockDim.x * blockDim.y * blockDim.z, 105u);
      const unsigned b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
      const unsigned t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
      ++runs[b * 105 + t];
    });
    EXPECT_EQ(runs, std::vector<int>(runs.size(), 1)) << device.description();
  }
}

TEST(SimtBlock, IndicesOfASuspendedThreadAreItsOwnAfterwards) {
  for (const SimtOptions& options : every_order()) {
    SimtDevice device(options);
    run_kernel(4, dim3(8, 4, 2), 0, device, [&] {
      const uint3 before = threadIdx;
      for (int i = 0; i < 3; ++i) __syncthreads();
      EXPECT_EQ(before.x, threadIdx.x);
      EXPECT_EQ(before.y, threadIdx.y);
      EXPECT_EQ(before.z, threadIdx.z);
    });
  }
}

/// Order in which the threads of a block run their first instructions, and their first after a barrier.
std::pair<std::vector<unsigned>, std::vector<unsigned>> running_order(const std::string& name) {
  SimtOptions options;
  set_order(options, name);
  SimtDevice device(options);
  std::vector<unsigned> before;
  std::vector<unsigned> after;
  run_kernel(1, 64, 0, device, [&] {
    before.push_back(threadIdx.x);
    __syncthreads();
    after.push_back(threadIdx.x);
  });
  return {before, after};
}

TEST(SimtBlock, OrdersAreWhatTheirNamesSay) {
  std::vector<unsigned> rising;
  for (unsigned i = 0; i < 64; ++i) rising.push_back(i);
  const std::vector<unsigned> falling(rising.rbegin(), rising.rend());
  EXPECT_EQ(running_order("fifo"), std::pair(rising, rising));
  EXPECT_EQ(running_order("reverse"), std::pair(falling, falling));
  const auto drawn = running_order("random:1");
  EXPECT_NE(drawn.first, rising);
  EXPECT_NE(drawn.first, drawn.second);
  EXPECT_EQ(drawn, running_order("random:1"));
  EXPECT_NE(drawn, running_order("random:2"));
  EXPECT_EQ(std::set<unsigned>(drawn.second.begin(), drawn.second.end()).size(), 64u);
}

TEST(SimtBlock, BlocksToo) {
  const auto blocks = [](const std::string& name) {
    SimtOptions options;
    set_order(options, name);
    SimtDevice device(options);
    std::vector<unsigned> seen;
    run_kernel(100, 1, 0, device, [&] { seen.push_back(blockIdx.x); });
    return seen;
  };
  const std::vector<unsigned> rising = blocks("fifo");
  EXPECT_TRUE(std::is_sorted(rising.begin(), rising.end()));
  EXPECT_EQ(blocks("reverse"), std::vector<unsigned>(rising.rbegin(), rising.rend()));
  const std::vector<unsigned> drawn = blocks("random:3");
  EXPECT_NE(drawn, rising);
  EXPECT_EQ(std::set<unsigned>(drawn.begin(), drawn.end()).size(), 100u);
}

TEST(SimtBarrier, ArrivalsOfAllComeBeforeDeparturesOfAny) {
  for (const SimtOptions& options : every_order()) {
    SimtDevice device(options);
    int arrived = 0;
    run_kernel(1, 1024, 0, device, [&] {
      for (int round = 1; round <= 3; ++round) {
        ++arrived;
        __syncthreads();
        EXPECT_EQ(arrived, 1024 * round);
        __syncthreads();
      }
    });
  }
}

TEST(SimtBarrier, ReducesPredicates) {
  expect_per_thread<int>(
      96, [] { return __syncthreads_count(threadIdx.x % 3 == 0); }, [](int) { return 32; });
  expect_per_thread<int>(
      96, [] { return __syncthreads_or(threadIdx.x == 95) * 10 + __syncthreads_or(0); },
      [](int) { return 10; });
  expect_per_thread<int>(
      96, [] { return __syncthreads_and(threadIdx.x != 95) * 10 + __syncthreads_and(7); },
      [](int) { return 1; });
}

}  // namespace
}  // namespace panda::kernels::simt
