#include "kernels/cuda/arena.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "kernels/tensor/random.h"

namespace panda::kernels::cuda {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

/// Addresses without memory: the arena never touches it.
class CountedChunks final : public ChunkSource {
 public:
  void* allocate_chunk(int64_t bytes) override {
    if (bytes > limit - held) return nullptr;
    held += bytes;
    // Chunks that touch: merging across their border must be refused by the arena itself.
    char* chunk = next;
    next += bytes;
    sizes[chunk] = bytes;
    return chunk;
  }
  void free_chunk(void* chunk) noexcept override {
    held -= sizes.at(static_cast<char*>(chunk));
    sizes.erase(static_cast<char*>(chunk));
  }

  int64_t limit = INT64_MAX;
  int64_t held = 0;
  std::map<char*, int64_t> sizes;
  char* next = reinterpret_cast<char*>(uintptr_t{1} << 40);
};

TEST(Arena, GivesAFreedBlockAgain) {
  CountedChunks chunks;
  Arena arena(chunks);
  void* first = arena.allocate(3 * kMiB);
  arena.free(first);
  EXPECT_EQ(arena.allocate(3 * kMiB), first);
  EXPECT_EQ(arena.chunks_taken(), 1);
  EXPECT_EQ(arena.reserved_bytes(), Arena::kLargeChunkBytes);
  EXPECT_EQ(arena.bytes_in_use(), 3 * kMiB);
}

TEST(Arena, TakesTheSmallestRangeThatHolds) {
  CountedChunks chunks;
  Arena arena(chunks);
  void* large = arena.allocate(20 * kMiB);
  void* wall = arena.allocate(2 * kMiB);
  void* small = arena.allocate(4 * kMiB);
  void* end = arena.allocate(38 * kMiB);  // fills the chunk
  arena.free(large);
  arena.free(small);
  EXPECT_EQ(arena.allocate(3 * kMiB), small);
  EXPECT_EQ(arena.allocate(20 * kMiB), large);
  arena.free(wall);
  arena.free(end);
  EXPECT_EQ(arena.chunks_taken(), 1);
}

TEST(Arena, MergesFreedNeighboursInAnyOrder) {
  for (const std::vector<int>& order :
       std::vector<std::vector<int>>{{0, 1, 2}, {2, 1, 0}, {0, 2, 1}, {1, 0, 2}}) {
    CountedChunks chunks;
    Arena arena(chunks);
    void* const blocks[] = {arena.allocate(16 * kMiB), arena.allocate(16 * kMiB), arena.allocate(32 * kMiB)};
    for (const int i : order) arena.free(blocks[i]);
    EXPECT_EQ(arena.allocate(64 * kMiB), blocks[0]);
    EXPECT_EQ(arena.chunks_taken(), 1);
  }
}

TEST(Arena, KeepsChunksApartThatTouch) {
  CountedChunks chunks;
  Arena arena(chunks);
  void* first = arena.allocate(64 * kMiB);
  void* second = arena.allocate(64 * kMiB);
  EXPECT_EQ(static_cast<char*>(second) - static_cast<char*>(first), 64 * kMiB);
  arena.free(first);
  arena.free(second);
  (void)arena.allocate(100 * kMiB);
  EXPECT_EQ(arena.chunks_taken(), 3);  // the two together would have held it
}

TEST(Arena, SmallBlocksDoNotSplitLargeRanges) {
  CountedChunks chunks;
  Arena arena(chunks);
  void* large = arena.allocate(64 * kMiB);
  arena.free(large);
  (void)arena.allocate(1);
  EXPECT_EQ(arena.allocate(64 * kMiB), large);
  EXPECT_EQ(arena.reserved_bytes(), Arena::kLargeChunkBytes + Arena::kSmallChunkBytes);
}

TEST(Arena, AsksForNothingInTheSecondRoundOfTheSameSteps) {
  CountedChunks chunks;
  Arena arena(chunks);
  const auto round = [&](uint64_t seed) {
    Random random(seed);
    std::vector<void*> live;
    for (int i = 0; i < 200; ++i) {
      if (live.size() < 12 || random.next_below(2) == 0) {
        live.push_back(arena.allocate(1 + random.next_below(random.next_below(2) == 0 ? 4096 : 40 * kMiB)));
      } else {
        const auto victim = static_cast<size_t>(random.next_below(static_cast<int64_t>(live.size())));
        arena.free(live[victim]);
        live[victim] = live.back();
        live.pop_back();
      }
    }
    for (void* block : live) arena.free(block);
  };
  round(5);
  EXPECT_EQ(arena.bytes_in_use(), 0);
  const int64_t reserved = arena.reserved_bytes();
  const int64_t taken = arena.chunks_taken();
  for (int i = 0; i < 5; ++i) round(5);
  EXPECT_EQ(arena.reserved_bytes(), reserved);
  EXPECT_EQ(arena.chunks_taken(), taken);
}

TEST(Arena, LiveBlocksNeverOverlapAndAreAligned) {
  CountedChunks chunks;
  Arena arena(chunks);
  Random random(11);
  std::map<char*, int64_t> live;
  for (int i = 0; i < 5000; ++i) {
    if (random.next_below(5) < 3) {
      const int64_t bytes = 1 + random.next_below(random.next_below(4) == 0 ? 30 * kMiB : 300000);
      auto* block = static_cast<char*>(arena.allocate(bytes));
      ASSERT_EQ(reinterpret_cast<uintptr_t>(block) % Arena::kAlignment, 0u);
      const auto after = live.lower_bound(block);
      if (after != live.end()) {
        ASSERT_LE(block + bytes, after->first);
      }
      if (after != live.begin()) {
        ASSERT_LE(std::prev(after)->first + std::prev(after)->second, block);
      }
      live[block] = bytes;
    } else if (!live.empty()) {
      auto victim = live.lower_bound(chunks.sizes.begin()->first + random.next_below(100 * kMiB));
      if (victim == live.end()) victim = live.begin();
      arena.free(victim->first);
      live.erase(victim);
    }
  }
  for (const auto& [block, bytes] : live) arena.free(block);
  EXPECT_EQ(arena.bytes_in_use(), 0);
  const int64_t reserved = arena.reserved_bytes();
  EXPECT_EQ(chunks.held, reserved);
  EXPECT_EQ(arena.trim(), reserved);  // all of it merged into whole chunks
  EXPECT_EQ(chunks.held, 0);
}

TEST(Arena, GivesWholeChunksBackOnlyWhenItMust) {
  CountedChunks chunks;
  chunks.limit = 100 * kMiB;
  Arena arena(chunks);
  void* block = arena.allocate(64 * kMiB);
  EXPECT_EQ(arena.allocate(60 * kMiB), nullptr);  // 36 MiB are left, and the chunk is in use
  arena.free(block);
  EXPECT_EQ(chunks.held, 64 * kMiB);
  EXPECT_NE(arena.allocate(80 * kMiB), nullptr);  // the free chunk went back for it
  EXPECT_EQ(chunks.held, 80 * kMiB);
  EXPECT_EQ(arena.peak_reserved_bytes(), 80 * kMiB);
}

TEST(Arena, TakesAChunkOfTheVerySizeWhereTheUsualOneIsRefused) {
  CountedChunks chunks;
  chunks.limit = 10 * kMiB;
  Arena arena(chunks);
  EXPECT_NE(arena.allocate(9 * kMiB), nullptr);
  EXPECT_EQ(chunks.held, 9 * kMiB);
  EXPECT_EQ(arena.allocate(INT64_MAX), nullptr);
}

TEST(Arena, GivesEverythingBackAtItsEnd) {
  CountedChunks chunks;
  {
    Arena arena(chunks);
    (void)arena.allocate(1);
    arena.free(arena.allocate(5 * kMiB));
    EXPECT_GT(chunks.held, 0);
  }
  EXPECT_EQ(chunks.held, 0);
}

}  // namespace
}  // namespace panda::kernels::cuda
