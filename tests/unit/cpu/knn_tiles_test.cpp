// The kNN filter's products on AMX tiles, alone, beside plain loops and the vector kernels.
#include "kernels/cpu/simd/knn_kernels.h"
#include "kernels/tensor/checked_math.h"
#include "kernels/tensor/random.h"
#include "tests/unit/cpu/support.h"

namespace panda::kernels::cpu {
namespace {

/// Random codes of a panel and of queries, packed for the tiles, and for the vector kernel that takes the
/// same codes: 8-bit ones, or of pairs 16-bit ones.
class CodedBlock {
 public:
  CodedBlock(KnnCode code, int64_t dimensions, int64_t queries, uint64_t seed)
      : code_(code), d_(dimensions), count_(queries) {
    Random random(seed);
    const int64_t limit = code == KnnCode::kI8 ? 127 : 3000;
    for (std::vector<int32_t>* codes : {&rows_, &queries_}) {
      const int64_t vectors = codes == &rows_ ? kKnnPanel : count_;
      for (int64_t i = 0; i < vectors * d_; ++i)
        codes->push_back(static_cast<int32_t>(random.next_below(2 * limit + 1) - limit));
    }
    sums_ = Tensor(host(), DType::kI32, {round_up(count_, kKnnTiledQueries), kKnnPanel}, "sums");
    pack_for_tiles(random);
    pack_for_vectors();
  }

  [[nodiscard]] int64_t product(int64_t query, int64_t lane) const {
    int64_t sum = 0;
    for (int64_t i = 0; i < d_; ++i) sum += int64_t{of_query(query, i)} * of_row(lane, i);
    return sum;
  }
  [[nodiscard]] int64_t count() const { return count_; }
  /// What all arguments have in common.
  template <typename Args>
  [[nodiscard]] Args args(bool tiles) {
    Args args = {};
    args.panel = tiles ? tiled_panel_.data() : panel_.data();
    args.queries = tiles ? tiled_queries_.data() : vector_queries_.data();
    args.groups = tiles ? tiled_groups() : vector_groups();
    args.query_count = count_;
    args.sums = sums_.data<int32_t>();
    args.bias = tiles || code_ == KnnCode::kI8 ? bias_.data() : no_bias_.data();
    return args;
  }

 private:
  [[nodiscard]] int32_t of_row(int64_t lane, int64_t i) const { return i < d_ ? rows_[index(lane, i)] : 0; }
  [[nodiscard]] int32_t of_query(int64_t query, int64_t i) const {
    return i < d_ ? queries_[index(query, i)] : 0;
  }
  [[nodiscard]] size_t index(int64_t row, int64_t i) const { return static_cast<size_t>(row * d_ + i); }
  [[nodiscard]] bool pairs() const { return code_ == KnnCode::kI8Pair; }
  [[nodiscard]] int64_t tiled_groups() const { return ceil_div(d_, 4) * (pairs() ? 2 : 1); }
  [[nodiscard]] int64_t vector_groups() const { return ceil_div(d_, pairs() ? 2 : 4); }
  /// Byte `byte` of group `group` of a code's bytes: of pairs high and low groups alternate.
  template <typename Codes>
  [[nodiscard]] int32_t tiled_byte(const Codes& codes, int64_t group, int64_t byte) const {
    if (!pairs()) return codes(group * 4 + byte);
    const int32_t whole = codes(group / 2 * 4 + byte);
    const auto low = static_cast<int8_t>(whole);
    return group % 2 == 0 ? (whole - low) / 256 : low;
  }
  void pack_for_tiles(Random& random) {
    const int64_t groups = tiled_groups();
    const int64_t planes = pairs() ? 2 : 1;
    const int64_t step = knn_tiled_step(code_);
    for (int64_t g = 0; g < groups; ++g) {
      for (int64_t lane = 0; lane < kKnnPanel; ++lane) {
        for (int64_t byte = 0; byte < 4; ++byte)
          tiled_panel_.push_back(
              static_cast<uint8_t>(128 + tiled_byte([&](int64_t i) { return of_row(lane, i); }, g, byte)));
      }
    }
    for (int64_t i = 0; i < (step - 1) * kKnnPanel * 4; ++i)  // read, but nothing may depend on it
      tiled_panel_.push_back(static_cast<uint8_t>(random.next_below(256)));
    const int64_t steps = ceil_div(groups, step);
    tiled_queries_.resize(static_cast<size_t>(round_up(count_, kKnnTiledQueries) * steps * step * 4));
    for (int64_t query = 0; query < count_; ++query) {
      int32_t sum = 0;
      for (int64_t i = 0; i < d_; ++i) sum += of_query(query, i);
      bias_.push_back(static_cast<int32_t>((pairs() ? 256 * 128 + 128 : 128) * static_cast<uint32_t>(sum)));
      for (int64_t g = 0; g < groups; ++g) {
        for (int64_t byte = 0; byte < 4; ++byte) {
          const int64_t block = query / kKnnTiledQueries * steps * step * 4 * kKnnTiledQueries;
          const int64_t tile = (g / step * planes + g % planes) * 2 * kKnnTileBytes;
          const int64_t at = query % kKnnTiledQueries * kKnnTileRowBytes + g % step / planes * 4 + byte;
          tiled_queries_[static_cast<size_t>(block + tile + at)] =
              static_cast<uint8_t>(tiled_byte([&](int64_t i) { return of_query(query, i); }, g, byte));
        }
      }
    }
  }
  void pack_for_vectors() {
    const int64_t groups = vector_groups();
    const int64_t tile = knn_kernels(supported_isas().back()).max_tile;
    const int64_t per_group = pairs() ? 2 : 4;
    panel_.resize(static_cast<size_t>(groups * kKnnPanel * 4));
    vector_queries_.resize(static_cast<size_t>(groups * count_ * 4));
    no_bias_.assign(static_cast<size_t>(count_), 0);
    const auto put = [&](std::vector<uint8_t>& to, int64_t word, int64_t j, int32_t value) {
      const auto whole = static_cast<uint16_t>(value);
      std::memcpy(to.data() + word * 4 + j * (4 / per_group), &whole, static_cast<size_t>(4 / per_group));
    };
    for (int64_t g = 0; g < groups; ++g) {
      for (int64_t j = 0; j < per_group; ++j) {
        const int64_t i = g * per_group + j;
        for (int64_t lane = 0; lane < kKnnPanel; ++lane)
          put(panel_, g * kKnnPanel + lane, j, of_row(lane, i) + (pairs() ? 0 : 128));
        for (int64_t query = 0; query < count_; ++query) {
          const int64_t first = query / tile * tile;
          put(vector_queries_, first * groups + g * std::min(tile, count_ - first) + query - first, j,
              of_query(query, i));
        }
      }
    }
  }

  KnnCode code_;
  int64_t d_;
  int64_t count_;
  std::vector<int32_t> rows_;
  std::vector<int32_t> queries_;
  std::vector<uint8_t> tiled_panel_;
  std::vector<uint8_t> tiled_queries_;
  std::vector<uint8_t> panel_;
  std::vector<uint8_t> vector_queries_;
  std::vector<int32_t> bias_;
  Tensor sums_;  ///< aligned
  std::vector<int32_t> no_bias_;
};

class CpuKnnTiles : public testing::TestWithParam<KnnCode> {
 protected:
  void SetUp() override {
    if (tiles_ == nullptr) GTEST_SKIP() << "no AMX here";
  }
  [[nodiscard]] static int code() { return static_cast<int>(GetParam()); }
  const KnnTileKernels* tiles_ = knn_tile_kernels(supported_isas().back());
};

TEST_P(CpuKnnTiles, ProductsAreThoseOfPlainLoops) {
  for (const int64_t d : {1, 4, 63, 64, 65, 280, 512, 1100}) {
    for (const int64_t count : {1, 5, 15, 16, 17, 32, 33, 100}) {
      CodedBlock block(GetParam(), d, count, static_cast<uint64_t>(d * 1000 + count));
      constexpr int64_t kStride = 40;
      std::vector<int32_t> words(static_cast<size_t>(count * kStride), -1);
      auto args = block.args<KnnProductsArgs>(true);
      args.stride = kStride;
      args.words = words.data();
      tiles_->begin(count);
      tiles_->products[code()](args);
      tiles_->end();
      for (int64_t i = 0; i < count; ++i) {
        for (int64_t j = 0; j < kStride; ++j) {
          EXPECT_EQ(words[static_cast<size_t>(i * kStride + j)], j < kKnnPanel ? block.product(i, j) : -1)
              << "d=" << d << ", query " << i << " of " << count << ", lane " << j;
        }
      }
    }
  }
}

/// Hits of a filter, in its order: every pair of query 5, of the others those within `level`.
std::vector<KnnHit> hits_of(int64_t (*filter)(const KnnFilterArgs&), CodedBlock& block, bool tiles,
                            double level) {
  Random random(7);
  std::vector<double> c;
  std::vector<double> base;
  std::vector<double> beta;
  std::vector<double> epsilon;
  for (int64_t j = 0; j < kKnnPanel; ++j) c.push_back(j == 13 ? INFINITY : 20 * random.next_uniform());
  for (int64_t i = 0; i < block.count(); ++i) {
    base.push_back(i == 5 ? INFINITY : level * (1 + random.next_uniform()));
    beta.push_back(random.next_uniform());
    epsilon.push_back(random.next_uniform());
  }
  std::vector<int32_t> thresholds(static_cast<size_t>(block.count()));
  std::vector<KnnHit> hits(static_cast<size_t>(kKnnPanel * block.count()));
  auto args = block.args<KnnFilterArgs>(tiles);
  args.c = c.data();
  args.inverse = 50;
  args.radius = 0.5;
  args.reach = 0.25;
  args.base = base.data();
  args.beta = beta.data();
  args.epsilon = epsilon.data();
  args.thresholds = thresholds.data();
  args.next_panel = args.panel;
  args.hits = hits.data();
  hits.resize(static_cast<size_t>(filter(args)));
  return hits;
}

TEST_P(CpuKnnTiles, KeepWhatVectorsKeep) {
  const KnnCode same = GetParam() == KnnCode::kI8Pair ? KnnCode::kI16 : KnnCode::kI8;
  const auto vectors = knn_kernels(supported_isas().back()).filter[static_cast<int>(same)];
  if (vectors == nullptr) GTEST_SKIP() << "AMX without VNNI";
  for (const int64_t d : {3, 64, 600}) {
    for (const int64_t count : {6, 12, 16, 17, 32, 40, 100}) {
      CodedBlock block(GetParam(), d, count, static_cast<uint64_t>(d * 1000 + count));
      // From everything to query 5 alone.
      for (const double level : {1e9, 100.0, -1000.0, -1e9}) {
        tiles_->begin(count);
        const std::vector<KnnHit> hits = hits_of(tiles_->filter[code()], block, true, level);
        tiles_->end();
        const std::vector<KnnHit> expected = hits_of(vectors, block, false, level);
        ASSERT_EQ(hits.size(), expected.size()) << "d=" << d << ", " << count << " queries, " << level;
        if (level == 1e9) {
          EXPECT_EQ(hits.size(), static_cast<size_t>(kKnnPanel * count));
        }
        if (level == -1e9) {
          EXPECT_EQ(hits.size(), size_t{kKnnPanel});
        }
        for (size_t i = 0; i < hits.size(); ++i) {
          EXPECT_EQ(hits[i].query, expected[i].query);
          EXPECT_EQ(hits[i].lane, expected[i].lane);
          EXPECT_EQ(hits[i].product, static_cast<double>(block.product(hits[i].query, hits[i].lane)));
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Codes, CpuKnnTiles, testing::Values(KnnCode::kI8, KnnCode::kI8Pair),
                         [](const auto& one) { return one.param == KnnCode::kI8 ? "I8" : "I8Pair"; });

}  // namespace
}  // namespace panda::kernels::cpu
