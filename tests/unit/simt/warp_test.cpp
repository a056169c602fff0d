// Shuffles, votes, matches and reductions of a warp, each against its definition in the CUDA C++ guide and
// PTX.
#include <bit>
#include <tuple>

#include "tests/unit/simt/support.h"

namespace panda::kernels::simt {
namespace {

int lane() {
  return static_cast<int>(threadIdx.x % 32);
}

TEST(SimtShuffle, IndexReadsWithinItsSegment) {
  for (const int width : {1, 2, 4, 8, 16, 32}) {
    for (const int source : {0, 1, 5, 17, 31, 35, -1}) {
      expect_per_thread<int>(
          64, [=] { return __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) + 100, source, width); },
          [=](int i) {
            const int first = i % 32 / width * width;
            return i / 32 * 32 + first + ((source % width) + width) % width + 100;
          });
    }
  }
}

TEST(SimtShuffle, UpKeepsTheOwnValueBelowTheSegment) {
  for (const int width : {2, 8, 32}) {
    for (const unsigned delta : {0u, 1u, 3u, 31u}) {
      expect_per_thread<float>(
          32, [=] { return __shfl_up_sync(0xffffffffu, 0.5f * static_cast<float>(lane()), delta, width); },
          [=](int i) {
            const int source = i - static_cast<int>(delta);
            return 0.5f * static_cast<float>(source >= i / width * width ? source : i);
          });
    }
  }
}

TEST(SimtShuffle, DownKeepsTheOwnValuePastTheSegment) {
  for (const int width : {2, 8, 32}) {
    for (const unsigned delta : {0u, 1u, 3u, 31u}) {
      expect_per_thread<double>(
          32, [=] { return __shfl_down_sync(0xffffffffu, 0.1 * lane(), delta, width); },
          [=](int i) {
            const int source = i + static_cast<int>(delta);
            return 0.1 * (source < (i / width + 1) * width ? source : i);
          });
    }
  }
}

TEST(SimtShuffle, XorMayReachLowerSegmentsOnly) {
  for (const int width : {4, 16, 32}) {
    for (const int mask : {0, 1, 7, 16, 31}) {
      expect_per_thread<long long>(
          32, [=] { return __shfl_xor_sync(0xffffffffu, (1ll << 40) + lane(), mask, width); },
          [=](int i) {
            const int source = i ^ mask;
            return (1ll << 40) + (source < (i / width + 1) * width ? source : i);
          });
    }
  }
}

TEST(SimtShuffle, ALaneOutsideTheMaskGivesPoison) {
  for (SimtOptions options : every_order()) {
    for (const Poison poison : {Poison::kNan, Poison::kFinite}) {
      options.poison = poison;
      SimtDevice device(options);
      run_kernel(1, 32, 0, device, [&] {
        if (lane() >= 4) return;
        const unsigned read = __shfl_sync(0xfu, 7u, 9);
        EXPECT_EQ(read, poison == Poison::kNan ? 0xffffffffu : 0x7b7b7b7bu);
      });
    }
  }
}

TEST(SimtShuffle, HalvesOfAWarpMeetSeparately) {
  // Each half loops another number of times: an exchange with the other half would mix rounds up or hang.
  expect_per_thread<int>(
      32,
      [] {
        const bool upper = lane() >= 16;
        const unsigned mask = upper ? 0xffff0000u : 0x0000ffffu;
        int sum = lane();
        for (int round = 0; round < (upper ? 3 : 5); ++round) sum = __shfl_sync(mask, sum + 1, lane() ^ 1);
        return sum;
      },
      [](int i) { return i >= 16 ? (i ^ 1) + 3 : (i ^ 1) + 5; });
}

TEST(SimtShuffle, AWarpReductionGivesEveryLaneTheSum) {
  expect_per_thread<int>(
      96,
      [] {
        int sum = static_cast<int>(threadIdx.x);
        for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
        return sum;
      },
      [](int i) { return 32 * (i / 32 * 32) + 496; });
}

TEST(SimtVote, BallotAnyAll) {
  expect_per_thread<unsigned>(
      64, [] { return __ballot_sync(0xffffffffu, lane() % 3 == 0); }, [](int) { return 0x49249249u; });
  expect_per_thread<unsigned>(
      32,
      [] {
        if (lane() % 2 != 0) return 0u;
        return __ballot_sync(0x55555555u, lane() < 8);
      },
      [](int i) { return i % 2 != 0 ? 0u : 0x55u; });
  expect_per_thread<int>(
      32, [] { return __any_sync(0xffffffffu, lane() == 31) * 2 + __any_sync(0xffffffffu, 0); },
      [](int) { return 2; });
  expect_per_thread<int>(
      32, [] { return __all_sync(0xffffffffu, lane() != 31) * 2 + __all_sync(0xffffffffu, 5); },
      [](int) { return 1; });
}

TEST(SimtVote, MatchAnyAndAll) {
  expect_per_thread<unsigned>(
      32, [] { return __match_any_sync(0xffffffffu, lane() % 4); },
      [](int i) { return 0x11111111u << (i % 4); });
  expect_per_thread<unsigned>(
      32,
      [] {
        int same = -1;
        const unsigned lanes = __match_all_sync(0xffffffffu, 3.5, &same);
        int differ = -1;
        const unsigned none = __match_all_sync(0xffffffffu, lane() == 9 ? 1 : 0, &differ);
        return lanes == 0xffffffffu && same == 1 && none == 0 && differ == 0;
      },
      [](int) { return 1u; });
}

TEST(SimtReduce, IntegerReductionsOverTheMask) {
  const auto value = [](int i) { return (i * 37 + 11) % 32 - 16; };
  expect_per_thread<int>(
      32,
      [&] {
        if (lane() == 0) return 0;
        return __reduce_add_sync(0xfffffffeu, value(lane())) * 10000 +
               __reduce_max_sync(0xfffffffeu, value(lane())) * 100 +
               __reduce_min_sync(0xfffffffeu, value(lane()));
      },
      [&](int i) {
        if (i == 0) return 0;
        int sum = 0;
        int largest = -100;
        int smallest = 100;
        for (int l = 1; l < 32; ++l) {
          sum += value(l);
          largest = std::max(largest, value(l));
          smallest = std::min(smallest, value(l));
        }
        return sum * 10000 + largest * 100 + smallest;
      });
  expect_per_thread<unsigned>(
      32,
      [] {
        const unsigned bit = 1u << lane();
        return __reduce_or_sync(0xffffffffu, bit) == 0xffffffffu &&
               __reduce_and_sync(0xffffffffu, ~bit) == 0 &&
               __reduce_xor_sync(0xffffffffu, bit) == 0xffffffffu &&
               __reduce_add_sync(0xffffffffu, 0x80000001u) == 32u &&
               __reduce_max_sync(0xffffffffu, bit) == 0x80000000u &&
               __reduce_min_sync(0xffffffffu, bit) == 1u;
      },
      [](int) { return 1u; });
}

TEST(SimtWarp, SyncwarpOrdersWritesOfTheLanes) {
  for (const SimtOptions& options : every_order()) {
    SimtDevice device(options);
    run_kernel(1, 64, 0, device, [&] {
      PANDA_SHARED(int, box, [64]);
      const int i = static_cast<int>(threadIdx.x);
      box[i] = i;
      __syncwarp();
      EXPECT_EQ(box[i ^ 31], i ^ 31);
      __syncwarp();
      if (lane() < 8) {
        box[i] = 2 * i;
        __syncwarp(0xffu);
        EXPECT_EQ(box[i ^ 7], 2 * (i ^ 7));
      }
    });
  }
}

}  // namespace
}  // namespace panda::kernels::simt
