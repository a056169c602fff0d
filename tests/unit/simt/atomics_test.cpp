// Atomic functions against their definitions: what is stored and what is returned.
#include <algorithm>

#include "tests/unit/simt/support.h"

namespace panda::kernels::simt {
namespace {

/// The old value and what is in memory after one call by one thread.
template <typename T, typename Call>
std::pair<T, T> once(T start, Call call) {
  T cell = start;
  T old = {};
  SimtDevice device;
  run_kernel(1, 1, 0, device, [&] { old = call(&cell); });
  return {old, cell};
}

TEST(SimtAtomic, StoreTheResultAndReturnTheOldValue) {
  EXPECT_EQ(once<int>(5, [](int* x) { return atomicAdd(x, -7); }), std::pair(5, -2));
  EXPECT_EQ(once<unsigned>(0xffffffffu, [](unsigned* x) { return atomicAdd(x, 2u); }),
            std::pair(0xffffffffu, 1u));
  EXPECT_EQ(once<int>(0x7fffffff, [](int* x) { return atomicAdd(x, 1); }),
            std::pair(0x7fffffff, static_cast<int>(0x80000000u)));
  EXPECT_EQ(once<float>(0.5f, [](float* x) { return atomicAdd(x, 0.25f); }), std::pair(0.5f, 0.75f));
  EXPECT_EQ(once<double>(0.5, [](double* x) { return atomicAdd(x, 0.25); }), std::pair(0.5, 0.75));
  EXPECT_EQ(once<int>(5, [](int* x) { return atomicSub(x, 7); }), std::pair(5, -2));
  EXPECT_EQ(once<int>(-5, [](int* x) { return atomicMin(x, -7); }), std::pair(-5, -7));
  EXPECT_EQ(once<unsigned>(5, [](unsigned* x) { return atomicMax(x, 7u); }), std::pair(5u, 7u));
  EXPECT_EQ(once<float>(1.0f, [](float* x) { return atomicExch(x, 2.0f); }), std::pair(1.0f, 2.0f));
  EXPECT_EQ(once<int>(3, [](int* x) { return atomicCAS(x, 3, 9); }), std::pair(3, 9));
  EXPECT_EQ(once<int>(4, [](int* x) { return atomicCAS(x, 3, 9); }), std::pair(4, 4));
  EXPECT_EQ(once<unsigned>(6, [](unsigned* x) { return atomicAnd(x, 3u); }), std::pair(6u, 2u));
  EXPECT_EQ(once<unsigned>(6, [](unsigned* x) { return atomicOr(x, 3u); }), std::pair(6u, 7u));
  EXPECT_EQ(once<unsigned>(6, [](unsigned* x) { return atomicXor(x, 3u); }), std::pair(6u, 5u));
  EXPECT_EQ(once<unsigned>(6, [](unsigned* x) { return atomicInc(x, 7u); }), std::pair(6u, 7u));
  EXPECT_EQ(once<unsigned>(7, [](unsigned* x) { return atomicInc(x, 7u); }), std::pair(7u, 0u));
  EXPECT_EQ(once<unsigned>(0, [](unsigned* x) { return atomicDec(x, 7u); }), std::pair(0u, 7u));
  EXPECT_EQ(once<unsigned>(9, [](unsigned* x) { return atomicDec(x, 7u); }), std::pair(9u, 7u));
  EXPECT_EQ(once<unsigned>(3, [](unsigned* x) { return atomicDec(x, 7u); }), std::pair(3u, 2u));
  using Wide = unsigned long long;
  EXPECT_EQ(once<Wide>(1ull << 40, [](Wide* x) { return atomicMax(x, 1ull << 41); }),
            std::pair(1ull << 40, 1ull << 41));
}

TEST(SimtAtomic, EveryThreadOfAGridIsCounted) {
  for (const SimtOptions& options : every_order()) {
    SimtDevice device(options);
    unsigned count = 0;
    std::vector<unsigned> tickets;
    run_kernel(7, 96, 0, device, [&] {
      PANDA_SHARED(unsigned, in_block, [1]);
      if (threadIdx.x == 0) in_block[0] = 0;
      __syncthreads();
      atomicAdd(&in_block[0], 1u);
      __syncthreads();
      EXPECT_EQ(in_block[0], 96u);
      tickets.push_back(atomicAdd(&count, 1u));
    });
    EXPECT_EQ(count, 7u * 96);
    std::sort(tickets.begin(), tickets.end());
    for (unsigned i = 0; i < tickets.size(); ++i) EXPECT_EQ(tickets[i], i);
  }
}

}  // namespace
}  // namespace panda::kernels::simt
