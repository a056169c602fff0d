// The race checker: races that it must see, and kernels that it must leave alone. Built with PANDA_RACE_CHECK
// only; this file is compiled as kernels are.
#include <memory>

#include "tests/unit/simt/support.h"

namespace panda::kernels::simt {
namespace {

/// Device memory of one launch's test.
class Ints {
 public:
  Ints(SimtDevice& device, int64_t count)
      : device_(device), bytes_(count * 4), data_(static_cast<int*>(device.allocate(bytes_, "ints"))) {}
  Ints(const Ints&) = delete;
  Ints& operator=(const Ints&) = delete;
  ~Ints() { device_.free(data_, bytes_, "ints"); }
  [[nodiscard]] int* data() const { return data_; }

 private:
  SimtDevice& device_;
  int64_t bytes_;
  int* data_;
};

/// The race that is reported for body(global) in every order; "" for none.
template <typename Body>
std::string race_of(dim3 grid, dim3 block, Body body) {
  std::string first;
  bool is_first = true;
  for (const SimtOptions& options : every_order()) {
    SimtDevice device(options);
    const Ints global(device, 4096);
    std::string message;
    try {
      run_kernel(grid, block, 1024, device, [&] { body(global.data()); });
    } catch (const InternalError& error) {
      message = error.what();
    }
    if (is_first) first = message;
    EXPECT_EQ(first.empty(), message.empty()) << device.description() << ": " << message << first;
    is_first = false;
  }
  return first;
}

unsigned i() {
  return threadIdx.x;
}

TEST(Race, AMissingBarrierAfterTheFill) {
  const std::string race = race_of(1, 64, [](int*) {
    PANDA_DYNAMIC_SHARED(volatile int, box);
    box[i()] = 1;
    (void)box[63 - i()];
  });
  expect_contains(race, "race: block (0,0,0), thread (", "dynamic shared memory, byte ", "race_test.cpp:");
}

TEST(Race, AMissingBarrierBeforeTheNextFill) {
  const std::string race = race_of(1, 64, [](int*) {
    PANDA_SHARED(volatile int, box, [64]);
    for (int round = 0; round < 2; ++round) {
      box[i()] = round;
      __syncthreads();
      (void)box[63 - i()];
    }
  });
  expect_contains(race, "shared variable box, byte ", "no barrier lies between");
}

TEST(Race, BarriersInBothPlacesAreEnough) {
  EXPECT_EQ(race_of(2, 64,
                    [](int* global) {
                      PANDA_SHARED(int, box, [64]);
                      for (int round = 0; round < 3; ++round) {
                        box[i()] = round;
                        __syncthreads();
                        global[64 * blockIdx.x + i()] = box[63 - i()] + box[(i() + 1) % 64];
                        __syncthreads();
                      }
                    }),
            "");
}

TEST(Race, EveryReaderCountsNotOnlyTheLast) {
  // Threads 0..62 read what thread 63, the last reader in some order, then writes.
  const std::string race = race_of(1, 64, [](int*) {
    PANDA_SHARED(volatile int, box, [1]);
    if (i() == 0) box[0] = 1;
    __syncthreads();
    (void)box[0];
    if (i() == 63) box[0] = 2;
  });
  expect_contains(race, "shared variable box, byte 0");
}

TEST(Race, SyncwarpOrdersTheLanesOfItsMaskOnly) {
  EXPECT_EQ(race_of(1, 64,
                    [](int*) {
                      PANDA_SHARED(volatile int, box, [64]);
                      box[i()] = 1;
                      __syncwarp();
                      (void)box[i() ^ 31];
                      __syncwarp();
                      box[i() ^ 31] = 2;
                    }),
            "");
  expect_contains(race_of(1, 64,
                          [](int*) {
                            PANDA_SHARED(volatile int, box, [64]);
                            box[i()] = 1;
                            __syncwarp();
                            (void)box[63 - i()];  // the other warp's
                          }),
                  "shared variable box");
  EXPECT_EQ(race_of(1, 32,
                    [](int*) {
                      PANDA_SHARED(volatile int, box, [32]);
                      box[i()] = 1;
                      __syncwarp(i() < 16 ? 0xffffu : 0xffff0000u);
                      (void)box[i() ^ 15];
                    }),
            "");
  expect_contains(race_of(1, 32,
                          [](int*) {
                            PANDA_SHARED(volatile int, box, [32]);
                            box[i()] = 1;
                            __syncwarp(i() < 16 ? 0xffffu : 0xffff0000u);
                            (void)box[i() ^ 31];
                          }),
                  "shared variable box");
}

TEST(Race, ShufflesOrderNothing) {
  expect_contains(race_of(1, 32,
                          [](int*) {
                            PANDA_SHARED(volatile int, box, [32]);
                            box[i()] = 1;
                            (void)__shfl_xor_sync(0xffffffffu, 1, 1);
                            (void)box[i() ^ 1];
                          }),
                  "shared variable box");
}

TEST(Race, SharedMemoryReadBeforeItIsWritten) {
  expect_contains(race_of(1, 32,
                          [](int* global) {
                            PANDA_SHARED(int, box, [33]);
                            box[i()] = 1;
                            __syncthreads();
                            global[i()] = box[i() + 1];
                          }),
                  "shared variable box, byte 128: read before the block wrote it", "thread (31,0,0)");
  // What another block wrote is gone.
  expect_contains(race_of(2, 1,
                          [](int* global) {
                            PANDA_SHARED(int, box, [1]);
                            if (blockIdx.x == 0) box[0] = 1;
                            if (blockIdx.x == 1) global[0] = box[0];
                          }),
                  "read before the block wrote it");
}

TEST(Race, BlocksThatWriteOneAnothersBytes) {
  expect_contains(race_of(2, 32, [](int* global) { global[0] += 1; }), "device memory, byte 0 of 16384");
  expect_contains(race_of(4, 1, [](int* global) { global[blockIdx.x / 2] = 5; }), "block number ");
  expect_contains(race_of(2, 1,
                          [](int* global) {
                            if (blockIdx.x == 0) global[7] = 1;
                            if (blockIdx.x == 1) global[9] = global[7];
                          }),
                  "device memory, byte 28");
  EXPECT_EQ(race_of(4, 32, [](int* global) { global[blockIdx.x * 32 + i()] = 1; }), "");
  expect_contains(race_of(4, 32, [](int* global) { global[blockIdx.x * 32 + i()] = global[5]; }),
                  "device memory, byte 20");
}

TEST(Race, AccessesPastTheEndsOfAnAllocation) {
  expect_contains(
      race_of(1, 32, [](int* global) { global[4065 + i()] = 1; }),
      "thread (31,0,0): device memory, byte 16384 of 16384: an access of 4 bytes past the allocation");
  expect_contains(race_of(1, 1, [](int* global) { global[0] = global[-1]; }),
                  "device memory, byte -4 of 16384");
}

TEST(Race, AccessesThatAreNotAligned) {
  expect_contains(race_of(1, 1,
                          [](int* global) {
                            *reinterpret_cast<float4*>(global + 1) = {1, 2, 3, 4};
                          }),
                  "device memory, byte 4 of 16384: an access that is not aligned to 16 bytes, at ");
}

TEST(Race, NeighbouringBytesAreNotOne) {
  EXPECT_EQ(race_of(4, 32,
                    [](int* global) {
                      reinterpret_cast<unsigned char*>(global)[blockIdx.x * 32 + (i() * 7) % 32] = 1;
                      __syncthreads();
                    }),
            "");
}

TEST(Race, WithinABlockInDeviceMemory) {
  expect_contains(race_of(1, 64,
                          [](int* global) {
                            global[i()] = 1;
                            global[64 + i()] = global[63 - i()];
                          }),
                  "device memory, byte ");
  EXPECT_EQ(race_of(1, 64,
                    [](int* global) {
                      global[i()] = 1;
                      __syncthreads();
                      global[64 + i()] = global[63 - i()];
                    }),
            "");
}

TEST(Race, AtomicsAmongThemselvesAreNone) {
  EXPECT_EQ(race_of(3, 64, [](int* global) { atomicAdd(global, 1); }), "");
  expect_contains(race_of(2, 1,
                          [](int* global) {
                            if (blockIdx.x == 0) atomicAdd(global, 1);
                            if (blockIdx.x == 1) global[0] = 0;
                          }),
                  "device memory, byte 0");
}

TEST(Race, CopiesUnderWay) {
  SimtDevice device;
  const Ints source(device, 256);
  device.fill(source.data(), 1, 1024);
  const auto with = [&](bool wait, bool barrier) {
    const int* const from = source.data();
    return race_of(1, 32, [=](int* global) {
      PANDA_SHARED(int, tile, [128]);
      cp_async16(tile + 4 * i(), from + 4 * i(), 16);
      cp_async_commit();
      if (wait) cp_async_wait<0>();
      if (barrier) __syncthreads();
      global[i()] = tile[127 - i()];
      if (!wait) cp_async_wait<0>();
    });
  };
  EXPECT_EQ(with(true, true), "");
  expect_contains(with(false, true), "read while a cp_async16 to it is under way");
  EXPECT_NE(with(true, false), "");
}

TEST(Race, LaunchesFollowOneAnother) {
  SimtDevice device;
  const Ints ints(device, 64);
  int* const global = ints.data();
  for (int round = 0; round < 2; ++round) {
    run_kernel(1, 64, 0, device, [=] { global[i()] = static_cast<int>(i()); });
    run_kernel(2, 32, 0, device, [=] { global[63 - blockIdx.x * 32 - i()] += 1; });
  }
}

}  // namespace
}  // namespace panda::kernels::simt
