// What the convolution and matrix product kernels build on (kernels/cuda/tile_*.cuh): division by a constant,
// the order of operands and sums in shared memory, the choice of tile.
#include <set>

#include "kernels/cuda/tile_choice.h"
#include "kernels/cuda/tile_math.cuh"
#include "tests/unit/simt/support.h"

namespace panda::kernels::simt {
namespace {

constexpr int kBankBytes = 4;
constexpr int kBanks = 32;

TEST(FastDivisor, IsExactAroundEveryMultipleAndAtTheEnds) {
  constexpr int64_t kLargest = INT32_MAX;
  for (const int64_t divisor :
       {int64_t{1}, int64_t{2}, int64_t{3}, int64_t{5}, int64_t{7}, int64_t{49}, int64_t{64}, int64_t{127},
        int64_t{3136}, int64_t{12544}, int64_t{65537}, int64_t{46341}, (int64_t{1} << 30) - 1,
        int64_t{1} << 30, (int64_t{1} << 30) + 1, kLargest - 1, kLargest}) {
    const FastDivisor fast(divisor);
    std::set<int64_t> numbers = {0, 1, kLargest - 1, kLargest};
    const int64_t last = kLargest / divisor;
    for (const int64_t multiple : {int64_t{1}, int64_t{2}, last / 3, last / 2, last - 1, last})
      for (int64_t near = -1; near <= 1; ++near) numbers.insert(multiple * divisor + near);
    for (const int64_t n : numbers) {
      if (n < 0 || n > kLargest) continue;
      int rest = static_cast<int>(n);
      EXPECT_EQ(fast.divide(rest), n / divisor) << n << " / " << divisor;
      EXPECT_EQ(rest, n % divisor) << n << " % " << divisor;
    }
  }
}

TEST(StageLayout, EightNeighbouringRowsOfAChunkFallIntoDifferentBanks) {
  for (int first = 0; first < 32; first += 8) {
    for (int chunk = 0; chunk < kChunksPerRow; ++chunk) {
      std::set<int> groups;
      for (int row = first; row < first + 8; ++row)
        groups.insert(chunk_offset(row, chunk) % (kBanks * kBankBytes) / kChunkBytes);
      EXPECT_EQ(groups.size(), 8u) << "rows from " << first << ", chunk " << chunk;
    }
  }
}

TEST(StageLayout, EveryChunkHasItsOwnPlaceInItsRow) {
  std::set<int> places;
  for (int row = 0; row < 128; ++row) {
    for (int chunk = 0; chunk < kChunksPerRow; ++chunk) {
      const int place = chunk_offset(row, chunk);
      EXPECT_EQ(place / kRowBytes, row);
      places.insert(place);
    }
  }
  EXPECT_EQ(places.size(), size_t{128} * kChunksPerRow);
  EXPECT_EQ(*places.rbegin(), 128 * kRowBytes - kChunkBytes);
}

template <int kTileN>
void expect_good_sum_order() {
  std::set<int> places;
  for (int row = 0; row < 64; ++row) {
    for (int column = 0; column < kTileN; ++column) {
      const int place = sum_index<kTileN>(row, column);
      EXPECT_EQ(place / kTileN, row);
      places.insert(place);
      // A vector of 8 columns is read as one piece.
      EXPECT_EQ(place, sum_index<kTileN>(row, column / 8 * 8) + column % 8);
    }
  }
  EXPECT_EQ(places.size(), size_t{64} * kTileN);
  // A half warp stores pairs of columns 2 t of rows g .. g + 3: 16 lanes, 32 words, 32 banks.
  for (int row = 0; row < 64; row += 4) {
    std::set<int> banks;
    for (int lane = 0; lane < 16; ++lane)
      for (int word = 0; word < 2; ++word)
        banks.insert((sum_index<kTileN>(row + lane / 4, lane % 4 * 2) + word) % kBanks);
    EXPECT_EQ(banks.size(), size_t{kBanks}) << "rows from " << row;
  }
}
TEST(StagedSums, ArePlacedOnceEachAndWithoutBankConflicts) {
  expect_good_sum_order<64>();
  expect_good_sum_order<128>();
}

TEST(GemmTile, SuitsTheSizeAndTheNumberOfMultiprocessors) {
  // ResNet-50 on a GPU of 132: batch 1 has too few tiles for any but the smallest; batch 32 and more fill it.
  EXPECT_EQ(choose_gemm_tile(49, 512, 132), GemmTile::k64x64);
  EXPECT_EQ(choose_gemm_tile(3136, 64, 132), GemmTile::k64x64);
  EXPECT_EQ(choose_gemm_tile(32 * 49, 512, 132), GemmTile::k128x64);
  EXPECT_EQ(choose_gemm_tile(256 * 3136, 64, 132), GemmTile::k128x64);
  EXPECT_EQ(choose_gemm_tile(256 * 3136, 256, 132), GemmTile::k128x128);
  EXPECT_EQ(choose_gemm_tile(256 * 196, 1024, 132), GemmTile::k128x128);
}

TEST(GemmTile, IsEachOneForShapesThatTheConformanceSuiteRuns) {
  constexpr int kMultiprocessors = SimtOptions{}.properties.multiprocessors;
  EXPECT_EQ(choose_gemm_tile(49, 512, kMultiprocessors), GemmTile::k64x64);             // n1_c512_h7_w7_k512
  EXPECT_EQ(choose_gemm_tile(2 * 14 * 14, 64, kMultiprocessors), GemmTile::k128x64);    // n2_c64_h14_w14_k64
  EXPECT_EQ(choose_gemm_tile(8 * 14 * 14, 128, kMultiprocessors), GemmTile::k128x128);  // n8_c32_h14_w14_k128
  EXPECT_NE(choose_gemm_tile(14 * 14, 128, kMultiprocessors), GemmTile::k128x128);      // ... one image of it
}

}  // namespace
}  // namespace panda::kernels::simt
