// Barriers in memory, bulk copies and warpgroup products of sm_90, and what the emulator says of their
// misuse.
#include <cmath>

#include "kernels/tensor/random.h"
#include "tests/unit/simt/support.h"

namespace panda::kernels::simt {
namespace {

/// Shared memory from the first multiple of 1024 bytes on.
unsigned char* pattern_aligned(unsigned char* shared) {
  return shared + (1024 - reinterpret_cast<uintptr_t>(shared) % 1024) % 1024;
}

TEST(SimtBulkCopy, ArrivesAtItsBarrierPhaseByPhase) {
#if defined(PANDA_RACE_CHECK)
  GTEST_SKIP() << "the race checker does not know what barriers in memory order";
#endif
  // One thread brings six pieces through two places; the others add them up.
  std::vector<int> source(6 * 64);
  for (size_t i = 0; i < source.size(); ++i) source[i] = static_cast<int>(i * i % 1000);
  for (const SimtOptions& options : every_order()) {
    SimtDevice device(options);
    std::vector<int> sums(96);
    run_kernel(1, 96, 0, device, [&] {
      PANDA_SHARED(int, places, [2][64]);
      PANDA_SHARED(MBarrier, full, [2]);
      PANDA_SHARED(MBarrier, empty, [2]);
      if (threadIdx.x == 0) {
        for (int i = 0; i < 2; ++i) {
          mbarrier_init(&full[i], 1);
          mbarrier_init(&empty[i], 64);
        }
        mbarrier_fence_init();
      }
      __syncthreads();
      if (threadIdx.x == 0) {
        for (int piece = 0; piece < 6; ++piece) {
          mbarrier_wait(&empty[piece % 2], static_cast<unsigned>(piece / 2 % 2 ^ 1));
          mbarrier_arrive_expect(&full[piece % 2], 256);
          // In halves, which may come in either order.
          bulk_copy(places[piece % 2], &source[static_cast<size_t>(piece) * 64], 128, &full[piece % 2]);
          bulk_copy(places[piece % 2] + 32, &source[static_cast<size_t>(piece) * 64 + 32], 128,
                    &full[piece % 2]);
        }
      } else if (threadIdx.x >= 32) {
        int sum = 0;
        for (int piece = 0; piece < 6; ++piece) {
          mbarrier_wait(&full[piece % 2], static_cast<unsigned>(piece / 2 % 2));
          sum = 3 * sum + places[piece % 2][threadIdx.x - 32];
          mbarrier_arrive(&empty[piece % 2]);
        }
        sums[threadIdx.x] = sum;
      }
    });
    for (size_t t = 32; t < 96; ++t) {
      int expected = 0;
      for (size_t piece = 0; piece < 6; ++piece) expected = 3 * expected + source[piece * 64 + t - 32];
      EXPECT_EQ(sums[t], expected) << "thread " << t << ", " << device.description();
    }
  }
}

TEST(SimtBulkCopy, MisuseIsNamed) {
  alignas(16) static const int source[64] = {};
  expect_contains(failure(1, 32, 0,
                          [] {
                            PANDA_SHARED(MBarrier, barrier, [1]);
                            mbarrier_arrive(barrier);
                          }),
                  "mbarrier_arrive", "the barrier was not initialised");
  expect_contains(failure(1, 32, 0,
                          [] {
                            PANDA_SHARED(MBarrier, barrier, [1]);
                            if (threadIdx.x == 0) mbarrier_init(barrier, 2);
                            __syncthreads();
                            if (threadIdx.x == 0) mbarrier_wait(barrier, 0);
                          }),
                  "mbarrier_wait", "nothing happened");
  expect_contains(failure(1, 1, 0,
                          [] {
                            PANDA_SHARED(MBarrier, barrier, [1]);
                            PANDA_SHARED(int, place, [64]);
                            mbarrier_init(barrier, 1);
                            mbarrier_arrive_expect(barrier, 256);
                            bulk_copy(place, source, 256, barrier);
                          }),
                  "bulk_copy", "the block ended before its bytes arrived");
  expect_contains(failure(1, 1, 0,
                          [] {
                            PANDA_SHARED(MBarrier, barrier, [1]);
                            PANDA_SHARED(int, place, [64]);
                            mbarrier_init(barrier, 1);
                            bulk_copy(place + 1, source, 128, barrier);
                          }),
                  "bulk_copy", "must be multiples of 16");
  expect_contains(failure(1, 1, 0,
                          [] {
                            PANDA_SHARED(MBarrier, barrier, [1]);
                            PANDA_SHARED(int, place, [16]);
                            mbarrier_init(barrier, 1);
                            bulk_copy(place, source, 128, barrier);
                          }),
                  "bulk_copy", "are not within one shared variable");
  expect_contains(failure(1, 1, 0,
                          [] {
                            PANDA_SHARED(MBarrier, barrier, [1]);
                            PANDA_SHARED(int, place, [64]);
                            mbarrier_init(barrier, 2);
                            mbarrier_arrive_expect(barrier, 512);
                            mbarrier_arrive(barrier);
                            bulk_copy(place, source, 256, barrier);
                            mbarrier_arrive(barrier);  // the phase still waits for 256 bytes
                          }),
                  "mbarrier_arrive", "more arrivals in a phase than the 2 it was made for");
  SimtOptions old;
  old.properties.compute_capability = 80;
  expect_contains(failure(
                      1, 1, 0,
                      [] {
                        PANDA_SHARED(MBarrier, barrier, [1]);
                        mbarrier_init(barrier, 1);
                      },
                      old),
                  "mbarrier_init", "90");
}

constexpr size_t kOperandBytes = 1024 + 64 * 128 + 128 * 128;

/// Element (row, k) of a swizzled operand, k < 64.
Float16& swizzled(unsigned char* operand, int row, int k) {
  return reinterpret_cast<Float16*>(operand + row * 128 + (k / 8 ^ row % 8) * 16)[k % 8];
}

TEST(SimtWarpgroupProduct, IsTheProductOfItsOperands) {
  Random random(3);
  std::vector<float> a(64 * 64);
  std::vector<float> b(128 * 64);
  for (auto* values : {&a, &b})
    for (float& value : *values) value = to_float(to_float16(static_cast<float>(random.next_normal())));
  for (const SimtOptions& options : every_order()) {
    SimtDevice device(options);
    std::vector<float> y(64 * 128, NAN);
    bool poisoned = true;
    run_kernel(1, 128, kOperandBytes, device, [&] {
      PANDA_DYNAMIC_SHARED(unsigned char, dynamic);
      unsigned char* const shared_a = pattern_aligned(dynamic);
      unsigned char* const shared_b = shared_a + 64 * 128;
      const int t = static_cast<int>(threadIdx.x);
      for (int k = 0; k < 64; ++k) {
        if (t < 64) swizzled(shared_a, t, k) = to_float16(a[static_cast<size_t>(t * 64 + k)]);
        swizzled(shared_b, t, k) = to_float16(b[static_cast<size_t>(t * 64 + k)]);
      }
      fence_async_proxy();
      __syncthreads();
      float d[64];
      wgmma_fence();
      for (int step = 0; step < 3; ++step) wgmma_f16(d, shared_a + step * 32, shared_b + step * 32, step > 0);
      wgmma_commit();
      wgmma_f16(d, shared_a + 96, shared_b + 96, true);
      wgmma_commit();
      wgmma_wait<1>();
      if (!std::isnan(d[5])) poisoned = false;
      wgmma_wait<0>();
      for (int i = 0; i < 64; ++i)
        y[static_cast<size_t>((t / 32 * 16 + t % 32 / 4 + 8 * (i / 2 % 2)) * 128 + i / 4 * 8 + t % 4 * 2 +
                              i % 2)] = d[i];
    });
    EXPECT_TRUE(poisoned) << device.description();
    for (int m = 0; m < 64; ++m) {
      for (int n = 0; n < 128; ++n) {
        float sum = 0;
        for (int k = 0; k < 64; ++k)
          sum += a[static_cast<size_t>(m * 64 + k)] * b[static_cast<size_t>(n * 64 + k)];
        ASSERT_EQ(y[static_cast<size_t>(m * 128 + n)], sum) << m << "," << n << " " << device.description();
      }
    }
  }
}

TEST(SimtWarpgroupProduct, MisuseIsNamed) {
  expect_contains(failure(1, 128, kOperandBytes,
                          [] {
                            PANDA_DYNAMIC_SHARED(unsigned char, dynamic);
                            unsigned char* const shared = pattern_aligned(dynamic);
                            float d[64] = {};
                            wgmma_f16(d, shared + 128, shared, false);
                          }),
                  "wgmma_f16", "an operand does not begin in the first row of a 1024-byte pattern");
  expect_contains(failure(1, 128, kOperandBytes,
                          [] {
                            PANDA_DYNAMIC_SHARED(unsigned char, dynamic);
                            unsigned char* const shared = pattern_aligned(dynamic);
                            float d[64] = {};
                            wgmma_f16(d, shared, shared + 1024 * 10, false);
                          }),
                  "wgmma_f16", "are not within one shared variable");
  expect_contains(failure(1, 128, kOperandBytes,
                          [] {
                            PANDA_DYNAMIC_SHARED(unsigned char, dynamic);
                            unsigned char* const shared = pattern_aligned(dynamic);
                            float d[64] = {};
                            wgmma_f16(d, shared, shared, false);
                          }),
                  "wgmma_f16", "the thread ended before wgmma_wait");
}

}  // namespace
}  // namespace panda::kernels::simt
