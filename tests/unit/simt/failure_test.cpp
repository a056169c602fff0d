// What CUDA leaves undefined is reported: by kernel, block, thread, operation and line of the source.
#include <stdexcept>

#include "tests/unit/simt/support.h"

namespace panda::kernels::simt {
namespace {

constexpr unsigned kAll = 0xffffffffu;

/// "simt/failure_test.cpp:LINE".
std::string at(int line) {
  return text("simt/failure_test.cpp:", line);
}

TEST(SimtFailure, NamesKernelOrderBlockThreadOperationAndLine) {
  SimtOptions options;
  set_order(options, "random:5");
  const int line = __LINE__ + 4;
  const std::string message = failure(
      dim3(1, 2), dim3(2, 32), 0,
      [] {
        if (blockIdx.y == 1 && threadIdx.y == 3) __trap();
      },
      options);
  expect_contains(message, "simt: run_body, order random:5: block (0,1,0), thread (");
  expect_contains(message, ",3,0): __trap at ", at(line), ": the kernel gave up");
}

TEST(SimtFailure, BarriersInBothBranches) {
  const int line = __LINE__;
  const std::string message = failure(1, 64, 0, [] {
    if (threadIdx.x < 40) {
      __syncthreads();
    } else {
      __syncthreads();
    }
  });
  expect_contains(message, "thread (40,0,0): __syncthreads at ", at(line + 5),
                  "other threads of the block wait at __syncthreads at ", at(line + 3));
}

TEST(SimtFailure, ABarrierThatSomeThreadsSkip) {
  // The others are there when the first thread ends, or come after it, as the order wants.
  for (const SimtOptions& options : every_order()) {
    const std::string message = failure(
        1, 64, 0,
        [] {
          if (threadIdx.x % 2 == 0) __syncthreads();
        },
        options);
    EXPECT_TRUE(message.ends_with("the thread ended while others wait for it") ||
                message.find("threads of the block have ended before it") != message.npos)
        << message;
  }
}

TEST(SimtFailure, AShuffleThatSomeLanesSkip) {
  for (const SimtOptions& options : every_order()) {
    const std::string message = failure(
        1, 32, 0,
        [] {
          if (threadIdx.x != 7) (void)__shfl_xor_sync(kAll, 1, 1);
        },
        options);
    EXPECT_TRUE(message.find("the thread ended while other lanes of mask 0xffffffff wait for it") !=
                    message.npos ||
                message.find("mask 0xffffffff names lane 7, which has ended") != message.npos)
        << message;
  }
}

TEST(SimtFailure, OneOperationInTwoBranches) {
  const int line = __LINE__;
  const std::string message = failure(1, 32, 0, [] {
    if (threadIdx.x == 0) {
      (void)__ballot_sync(kAll, 1);
    } else {
      (void)__ballot_sync(kAll, 0);
    }
  });
  expect_contains(message, "other lanes of mask 0xffffffff wait at __ballot_sync at ", at(line + 3),
                  at(line + 5));
}

TEST(SimtFailure, ALaneOutsideItsMask) {
  expect_contains(failure(1, 32, 0, [] { (void)__any_sync(0xffff, 1); }),
                  "lane 16 is not in its own mask 0x0000ffff");
}

TEST(SimtFailure, AMaskOfLanesThatTheBlockLacks) {
  expect_contains(failure(1, 40, 0, [] { __syncwarp(); }), "thread (32,0,0): __syncwarp",
                  "mask 0xffffffff names lanes that the warp does not have: it has 8");
}

TEST(SimtFailure, WidthsThatAreNoPowerOfTwo) {
  expect_contains(failure(1, 32, 0, [] { (void)__shfl_sync(kAll, 1, 0, 12); }),
                  "width 12, expected a power of two up to 32");
}

TEST(SimtFailure, DeadlocksListWhoWaitsWhere) {
  // One warp waits for its lanes, the other for the block: neither will come.
  const int line = __LINE__;
  const std::string message = failure(1, 64, 0, [] {
    if (threadIdx.x < 31) {
      __syncwarp();
    } else {
      __syncthreads();
    }
  });
  expect_contains(message, "block (0,0,0): deadlock, 64 threads wait; thread (0,0,0) at __syncwarp at ",
                  at(line + 3), "mask 0xffffffff", "; and 60 more");
}

TEST(SimtFailure, WaitsThatNothingEnds) {
  expect_contains(failure(1, 32, 0,
                          [] {
                            PANDA_SHARED(int, flag, [1]);
                            while (flag[0] != 5) __nanosleep(100);
                          }),
                  "waited 100000 times and nothing happened");
}

TEST(SimtYield, AWaitForAnotherThreadEndsInEveryOrder) {
  for (const SimtOptions& options : every_order()) {
    SimtDevice device(options);
    int seen = 0;
    run_kernel(1, 64, 0, device, [&] {
      PANDA_SHARED(int, flag, [1]);
      if (threadIdx.x == 0) flag[0] = 0;
      __syncthreads();
      if (threadIdx.x == 40) atomicExch(&flag[0], 1);
      while (atomicAdd(&flag[0], 0) == 0) __nanosleep(20);
      ++seen;
    });
    EXPECT_EQ(seen, 64);
  }
}

TEST(SimtFailure, ExceptionsReachTheLauncher) {
  EXPECT_EQ(failure<std::out_of_range>(2, 64, 0,
                                       [] {
                                         __syncthreads();
                                         if (threadIdx.x == 9) throw std::out_of_range("nine");
                                         __syncthreads();
                                       }),
            "nine");
}

TEST(SimtFailure, TheDeviceIsUsableAfterwards) {
  SimtDevice device;
  for (int round = 0; round < 3; ++round) {
    EXPECT_THROW(run_kernel(1, 128, 64, device,
                            [] {
                              if (threadIdx.x == 100) __trap();
                              __syncthreads();
                            }),
                 InternalError);
    int runs = 0;
    run_kernel(2, 128, 0, device, [&] {
      __syncthreads();
      ++runs;
    });
    EXPECT_EQ(runs, 256);
  }
}

TEST(SimtLaunch, LimitsOfGridBlockAndSharedMemory) {
  const auto refused = [](dim3 grid, dim3 block, size_t shared_bytes) {
    return failure<DeviceError>(grid, block, shared_bytes, [] { ADD_FAILURE() << "it ran"; });
  };
  EXPECT_EQ(refused(0, 32, 0),
            "simt: launch of run_body, grid 0x1x1, block 32x1x1, shared memory 0 bytes: the grid is empty");
  expect_contains(refused(1, 0, 0), "the block is empty");
  expect_contains(refused(1, 1025, 0), "block 1025x1x1, shared memory 0 bytes: a block has 1024 threads");
  expect_contains(refused(1, dim3(1, 1, 65), 0), "64 of them in z");
  expect_contains(refused(1, dim3(32, 33), 0), "a block has 1024 threads");
  expect_contains(refused(dim3(1, 65536), 1, 0), "2147483647 x 65535 x 65535");
  expect_contains(refused(1, 1, 227 * 1024 + 1), "the device has 232448 bytes per block");
  EXPECT_EQ(failure<DeviceError>(1, 1024, 227 * 1024, [] {}), "");
}

TEST(SimtShared, EveryBlockStartsWithPoison) {
  for (SimtOptions options : every_order()) {
    for (const Poison poison : {Poison::kNan, Poison::kFinite}) {
      options.poison = poison;
      SimtDevice device(options);
      run_kernel(3, 33, 20, device, [&] {
        PANDA_SHARED(unsigned, fixed, [2][3]);
        PANDA_DYNAMIC_SHARED(unsigned, dynamic);
        const unsigned expected = poison == Poison::kNan ? 0xffffffffu : 0x7b7b7b7bu;
        if (threadIdx.x < 6) {
          EXPECT_EQ(peek(fixed[threadIdx.x / 3][threadIdx.x % 3]), expected);
        }
        if (threadIdx.x < 5) {
          EXPECT_EQ(peek(dynamic[threadIdx.x]), expected);
        }
        EXPECT_EQ(reinterpret_cast<uintptr_t>(dynamic) % 16, 0u);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(&fixed[0][0]) % 16, 0u);
        __syncthreads();
        if (threadIdx.x < 3) dynamic[threadIdx.x] = fixed[0][threadIdx.x] = 7;
      });
    }
  }
}

template <typename T>
void* address_of_own_variable() {
  PANDA_SHARED(T, own, [4]);
  return &own[0];
}

TEST(SimtShared, InstantiationsHaveVariablesOfTheirOwn) {
  SimtDevice device;
  run_kernel(1, 2, 0, device, [] {
    EXPECT_NE(address_of_own_variable<int>(), address_of_own_variable<float>());
    EXPECT_EQ(address_of_own_variable<int>(), address_of_own_variable<int>());
  });
}

TEST(SimtShared, MoreThanAGpuHas) {
  expect_contains(failure(1, 1, 0,
                          [] {
                            PANDA_SHARED(float, first, [8192]);
                            first[0] = 0;
                            PANDA_SHARED(float, second, [8192]);
                            second[0] = 0;
                          }),
                  "static shared memory is 65536 bytes with second, a GPU has 49152");
  expect_contains(failure(1, 1, 0,
                          [] {
                            PANDA_DYNAMIC_SHARED(float, none);
                            none[0] = 0;
                          }),
                  "PANDA_DYNAMIC_SHARED in a launch with 0 bytes of it");
}

#if !defined(__SANITIZE_ADDRESS__)
// AddressSanitizer ends the program at the write itself.
TEST(SimtShared, WritesPastAVariableAreReported) {
  expect_contains(failure(1, 8, 0,
                          [] {
                            PANDA_SHARED(int, box, [8]);
                            volatile unsigned i = threadIdx.x + 1;
                            box[i] = 1;
                          }),
                  "block (0,0,0): shared variable box at ", "written past its last byte");
  expect_contains(failure(1, 8, 32,
                          [] {
                            PANDA_DYNAMIC_SHARED(int, box);
                            volatile int i = static_cast<int>(threadIdx.x) - 1;
                            box[i] = 1;
                          }),
                  "dynamic shared memory of 32 bytes: written before its first byte");
}
#endif

TEST(SimtOptions, NamesOfOrdersAndPoisons) {
  SimtOptions options;
  set_order(options, "random:42");
  EXPECT_EQ(order_name(options.order, options.seed), "random:42");
  for (const char* wrong : {"", "lifo", "random:", "random:x", "random:-1", "random:1234567890123456789"})
    EXPECT_THROW(set_order(options, wrong), InvalidArgument) << wrong;
  EXPECT_THROW(set_poison(options, "zero"), InvalidArgument);
}

}  // namespace
}  // namespace panda::kernels::simt
