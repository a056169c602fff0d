// The kNN filter's products on AMX tiles, alone.
#include "kernels/cpu/simd/knn_kernels.h"
#include "kernels/tensor/checked_math.h"
#include "kernels/tensor/random.h"
#include "tests/unit/cpu/support.h"

namespace panda::kernels::cpu {
namespace {

/// Random codes of a panel and of queries, in both layouts, with their products.
struct CodedBlock {
  CodedBlock(int64_t group_count, int64_t queries, uint64_t seed) : groups(group_count), count(queries) {
    Random random(seed);
    const int64_t beyond = (kKnnTiledStep - 1) * kKnnPanel * 4;  // read, but nothing may depend on it
    for (int64_t i = 0; i < groups * kKnnPanel * 4 + beyond; ++i)
      panel.push_back(static_cast<uint8_t>(random.next_below(256)));
    const int64_t tile = knn_kernels(Isa::kAvx512).max_tile;
    const int64_t steps = ceil_div(groups, kKnnTiledStep);
    words.resize(static_cast<size_t>(count * groups * 4));
    tiled.resize(static_cast<size_t>(round_up(count, kKnnTiledQueries) * steps * 64));
    for (int64_t i = 0; i < count; ++i) {
      int32_t sum = 0;
      std::vector<int32_t> sums(kKnnPanel, 0);
      for (int64_t at = 0; at < groups * 4; ++at) {
        const auto code = static_cast<int8_t>(static_cast<int64_t>(random.next_below(255)) - 127);
        const int64_t in_tile = std::min(tile, count - i / tile * tile);
        words[static_cast<size_t>(i / tile * tile * groups * 4 + (at / 4 * in_tile + i % tile) * 4 +
                                  at % 4)] = code;
        tiled[static_cast<size_t>(i / kKnnTiledQueries * steps * 2 * kKnnTileBytes +
                                  at / 64 * 2 * kKnnTileBytes + i % kKnnTiledQueries * 64 + at % 64)] = code;
        sum += code;
        for (int64_t lane = 0; lane < kKnnPanel; ++lane)
          sums[static_cast<size_t>(lane)] +=
              code * (panel[static_cast<size_t>((at / 4 * kKnnPanel + lane) * 4 + at % 4)] - 128);
      }
      bias.push_back(128 * sum);
      products.insert(products.end(), sums.begin(), sums.end());
    }
  }
  int64_t groups;
  int64_t count;
  std::vector<uint8_t> panel;
  std::vector<int8_t> words;
  std::vector<int8_t> tiled;
  std::vector<int32_t> bias;
  std::vector<int32_t> products;
};

TEST(CpuKnnTiles, ProductsAreThoseOfPlainLoops) {
  const KnnTileKernels* const tiles = knn_tile_kernels(supported_isas().back());
  if (tiles == nullptr) GTEST_SKIP() << "no AMX here";
  for (const int64_t groups : {1, 15, 16, 17, 70}) {
    for (const int64_t count : {1, 12, 16, 17, 32, 33, 100}) {
      const CodedBlock block(groups, count, static_cast<uint64_t>(groups * 1000 + count));
      std::vector<int32_t> words(static_cast<size_t>(count * 40), -1);
      tiles->products({.panel = block.panel.data(),
                       .queries = block.tiled.data(),
                       .groups = groups,
                       .query_count = count,
                       .bias = block.bias.data(),
                       .stride = 40,
                       .words = words.data()});
      for (int64_t i = 0; i < count; ++i) {
        for (int64_t j = 0; j < 40; ++j) {
          EXPECT_EQ(words[static_cast<size_t>(i * 40 + j)],
                    j < kKnnPanel ? block.products[static_cast<size_t>(i * kKnnPanel + j)] : -1)
              << groups << " groups, query " << i << " of " << count << ", lane " << j;
        }
      }
    }
  }
}

/// Hits of a filter, in its order.
std::vector<KnnHit> hits_of(int64_t (*filter)(const KnnFilterArgs&), const CodedBlock& block,
                            const int8_t* queries, double level) {
  Random random(7);
  std::vector<double> c;
  std::vector<double> base;
  std::vector<double> beta;
  std::vector<double> epsilon;
  for (int64_t j = 0; j < kKnnPanel; ++j) c.push_back(j == 13 ? INFINITY : 20 * random.next_uniform());
  for (int64_t i = 0; i < block.count; ++i) {
    base.push_back(i == 5 ? INFINITY : level * (1 + random.next_uniform()));
    beta.push_back(random.next_uniform());
    epsilon.push_back(random.next_uniform());
  }
  std::vector<int32_t> thresholds(static_cast<size_t>(block.count));
  std::vector<KnnHit> hits(static_cast<size_t>(kKnnPanel * block.count));
  const int64_t found = filter({.panel = block.panel.data(),
                                .queries = queries,
                                .groups = block.groups,
                                .query_count = block.count,
                                .c = c.data(),
                                .inverse = 50,
                                .radius = 0.5,
                                .reach = 0.25,
                                .base = base.data(),
                                .beta = beta.data(),
                                .epsilon = epsilon.data(),
                                .bias = block.bias.data(),
                                .thresholds = thresholds.data(),
                                .next_panel = block.panel.data(),
                                .hits = hits.data()});
  hits.resize(static_cast<size_t>(found));
  return hits;
}

TEST(CpuKnnTiles, KeepsWhatVectorsKeep) {
  const KnnTileKernels* const tiles = knn_tile_kernels(supported_isas().back());
  if (tiles == nullptr) GTEST_SKIP() << "no AMX here";
  const auto vectors = knn_kernels(Isa::kAvx512).filter[static_cast<int>(KnnCode::kI8)];
  if (vectors == nullptr) GTEST_SKIP() << "AMX without VNNI";
  for (const int64_t groups : {1, 16, 33}) {
    for (const int64_t count : {12, 16, 17, 32, 40, 100}) {
      const CodedBlock block(groups, count, static_cast<uint64_t>(groups * 1000 + count));
      // From everything to next to nothing: query 5 is kept whole.
      for (const double level : {1e9, 100.0, -1000.0, -1e9}) {
        const std::vector<KnnHit> hits = hits_of(tiles->filter, block, block.tiled.data(), level);
        const std::vector<KnnHit> expected = hits_of(vectors, block, block.words.data(), level);
        ASSERT_EQ(hits.size(), expected.size()) << groups << " groups, " << count << " queries, " << level;
        EXPECT_GE(hits.size(), size_t{31});
        for (size_t i = 0; i < hits.size(); ++i) {
          EXPECT_EQ(hits[i].query, expected[i].query);
          EXPECT_EQ(hits[i].lane, expected[i].lane);
          EXPECT_EQ(hits[i].product, expected[i].product);
          EXPECT_EQ(hits[i].product,
                    block.products[static_cast<size_t>(hits[i].query * kKnnPanel + hits[i].lane)]);
        }
      }
    }
  }
}

}  // namespace
}  // namespace panda::kernels::cpu
