// The certified search of kernels/cuda/knn_filter.cu beyond the conformance cases: data made to break it,
// what it keeps, and that its bound is needed.
#include "kernels/cuda/knn_filter.cuh"
#include "kernels/reference/reference_device.h"
#include "tests/support/knn_data.h"
#include "tests/unit/simt/support.h"

namespace panda::kernels::simt {
namespace {

using test::kAllKnnData;
using test::knn_answer;
using test::KnnAnswer;
using test::KnnData;
using test::make_knn_data;

struct Found {
  KnnAnswer answer;
  KnnStatistics statistics;
};

struct Options {
  int64_t k = 1;
  KnnMetric metric = KnnMetric::kL2;
  double bound_factor = 1;
  int64_t workspace_bytes = KnnOptions{}.workspace_bytes;
  KnnTiles tiles = KnnTiles::kPortable;
  SimtOptions simt = {};
};

/// The first nq rows of `all` against the others.
Found filtered(const Tensor& all, int64_t nq, const Options& options) {
  SimtDevice device(options.simt);
  const int64_t nb = all.shape()[0] - nq;
  const Tensor queries = clone_to(all.view().rows(0, nq), device);
  const Tensor rows = clone_to(all.view().rows(nq, nq + nb), device);
  const Tensor distances(device, DType::kF64, {nq, options.k}, "d");
  const Tensor indices(device, DType::kI64, {nq, options.k}, "i");
  const GpuKnnIndex index(device, {rows, options.metric, KnnFilter::kF16, nullptr});
  Found found;
  found.statistics = knn_filtered_search(device, index,
                                         {"test", queries, rows, options.metric, index.norms(), options.k,
                                          distances, indices, options.workspace_bytes},
                                         options.tiles, options.bound_factor);
  found.answer = knn_answer(clone_to(distances, host()), clone_to(indices, host()));
  return found;
}

KnnAnswer expected(const Tensor& all, int64_t nq, const Options& options) {
  static reference::ReferenceDevice device;
  const KnnGallery gallery(device, clone_to(all.view().rows(nq, all.shape()[0]), host()), options.metric);
  const Tensor distances(host(), DType::kF64, {nq, options.k}, "d");
  const Tensor indices(host(), DType::kI64, {nq, options.k}, "i");
  knn_gallery_search(device, {.queries = all.view().rows(0, nq),
                              .gallery = &gallery,
                              .k = options.k,
                              .distances = distances,
                              .indices = indices});
  return knn_answer(distances, indices);
}

constexpr KnnTiles kAllTiles[] = {KnnTiles::kPortable, KnnTiles::kWarpgroup};

TEST(GpuKnnFilter, IsExactOnDataMadeToBreakIt) {
  for (const KnnData data : kAllKnnData) {
    for (const KnnMetric metric : {KnnMetric::kL2, KnnMetric::kCosine, KnnMetric::kInnerProduct}) {
      for (const int64_t d : {2, 19}) {
        const Tensor all = make_knn_data(data, 20 + 400, d, static_cast<uint64_t>(d));
        const Options options{.k = d == 2 ? 1 : 7, .metric = metric};
        const KnnAnswer right = expected(all, 20, options);
        for (const KnnTiles tiles : kAllTiles) {
          if (tiles == KnnTiles::kWarpgroup && metric == KnnMetric::kCosine) continue;  // to save time
          Options with = options;
          with.tiles = tiles;
          EXPECT_TRUE(filtered(all, 20, with).answer == right)
              << "data " << static_cast<int>(data) << " d=" << d << " " << knn_metric_name(metric)
              << " tiles " << static_cast<int>(tiles);
        }
      }
    }
  }
}

TEST(GpuKnnFilter, MeasuresLittleMoreThanTheAnswer) {
  const Tensor all = make_knn_data(KnnData::kNormal, 150 + 6000, 24, 5);
  for (const int64_t k : {1, 10}) {
    const Options options{.k = k};
    const Found found = filtered(all, 150, options);
    EXPECT_TRUE(found.answer == expected(all, 150, options));
    EXPECT_EQ(found.statistics.filter, KnnFilter::kF16);
    EXPECT_EQ(found.statistics.rescanned_rows, 0);
    EXPECT_GE(found.statistics.survivors, 150 * k);
    EXPECT_LE(found.statistics.survivors, 150 * k * 11 / 10);
    // The last sample is at least a sixteenth of the gallery.
    EXPECT_LE(found.statistics.kept_pairs, 150 * k * 32);
  }
}

// The nearest of few rows, as K-means asks for: a list of all rows would be 256 a query.
TEST(GpuKnnFilter, KeepsLittleOfASmallGallery) {
  const Tensor all = make_knn_data(KnnData::kNormal, 300 + 256, 24, 12);
  for (const KnnTiles tiles : kAllTiles) {
    const Found found = filtered(all, 300, {.k = 1, .tiles = tiles});
    EXPECT_TRUE(found.answer == expected(all, 300, {.k = 1}));
    EXPECT_EQ(found.statistics.rescanned_rows, 0);
    EXPECT_LE(found.statistics.kept_pairs, 300 * 11 / 10);
  }
}

TEST(GpuKnnFilter, GivesUpWhatManyRowsAreNearestTo) {
  const Tensor all = make_knn_data(KnnData::kNormal, 30 + 200, 8, 14);
  for (int64_t i = 30 + 20; i < all.numel() / 8; ++i) std::fill_n(all.data<float>() + i * 8, 8, 0.25F);
  std::fill_n(all.data<float>(), 8, 0.25F);
  for (const KnnTiles tiles : kAllTiles) {
    const Found found = filtered(all, 30, {.k = 1, .tiles = tiles});
    EXPECT_TRUE(found.answer == expected(all, 30, {.k = 1}));
    EXPECT_GE(found.statistics.rescanned_rows, 1);
    EXPECT_LT(found.statistics.rescanned_rows, 30);
  }
}

TEST(GpuKnnFilter, MeasuresOfBytesOnlyTheAnswerAndWhatIsAsFar) {
  Tensor all(host(), DType::kU8, {40 + 3000, 30}, "bytes");
  Random random(9);
  for (int64_t i = 0; i < all.numel(); ++i)
    all.data<uint8_t>()[i] = static_cast<uint8_t>(random.next_below(256));
  const Options options{.k = 5};
  const Found found = filtered(all, 40, options);
  EXPECT_TRUE(found.answer == expected(all, 40, options));
  // Their codes and products are exact: what is kept beside the answer has the distance of its last one.
  EXPECT_LE(found.statistics.survivors, 40 * 5 + 4);
}

TEST(GpuKnnFilter, GivesUpQueriesThatEveryRowIsNearTo) {
  Tensor all = make_knn_data(KnnData::kNormal, 70 + 3000, 8, 6);
  // Rows 70.. are one point; queries 0..9 are that point, the others lie elsewhere, and all rows are as far.
  for (int64_t i = 70; i < 3070; ++i) std::copy_n(all.data<float>(), 8, all.data<float>() + i * 8);
  const Options options{.k = 3};
  const Found found = filtered(all, 70, options);
  EXPECT_TRUE(found.answer == expected(all, 70, options));
  EXPECT_EQ(found.statistics.rescanned_rows, 70);
}

TEST(GpuKnnFilter, GivesUpOnlyTheQueriesConcerned) {
  Tensor all = make_knn_data(KnnData::kNormal, 40 + 3000, 8, 7);
  // A heap of 1,500 rows at one point, beside which queries 3 and 17 lie.
  const auto put = [&](int64_t row, float at) {
    for (int64_t j = 0; j < 8; ++j) all.data<float>()[row * 8 + j] = at;
  };
  for (int64_t i = 0; i < 1500; ++i) put(40 + 2 * i, 5);
  put(3, 5);
  put(17, 5.5F);
  const Options options{.k = 4};
  const Found found = filtered(all, 40, options);
  EXPECT_TRUE(found.answer == expected(all, 40, options));
  EXPECT_EQ(found.statistics.rescanned_rows, 2);
}

TEST(GpuKnnFilter, GivesTheSameBitsInASmallWorkspace) {
  const Tensor all = make_knn_data(KnnData::kClustered, 200 + 1000, 12, 8);
  const Options whole{.k = 2};
  const Found once = filtered(all, 200, whole);
  const Found in_parts = filtered(all, 200, {.k = 2, .workspace_bytes = 400 << 10});
  EXPECT_EQ(in_parts.statistics.filter, KnnFilter::kF16);
  EXPECT_TRUE(in_parts.answer == once.answer);
  EXPECT_EQ(in_parts.statistics.survivors, once.statistics.survivors);
  const Found without = filtered(all, 200, {.k = 2, .workspace_bytes = 50 << 10});
  EXPECT_EQ(without.statistics.filter, KnnFilter::kNone);
  EXPECT_TRUE(without.answer == once.answer);
}

/// Shapes at which warpgroups take other ways: queries that stay in shared memory or come with each block,
/// more tiles than stages, a second tile of queries that is empty, a last step in the middle of a block.
TEST(GpuKnnFilter, WarpgroupsKeepWhatTheOtherTilesKeep) {
  struct Shape {
    int64_t nq, nb, d;
  };
  for (const Shape& shape :
       {Shape{300, 700, 40}, Shape{20, 1500, 130}, Shape{5, 520, 300}, Shape{130, 300, 600}}) {
    const Tensor all = make_knn_data(KnnData::kNormal, shape.nq + shape.nb, shape.d, 11);
    const Found portable = filtered(all, shape.nq, {.k = 3});
    for (const SimtOptions& order : every_order()) {
      const Found warpgroup = filtered(all, shape.nq, {.k = 3, .tiles = KnnTiles::kWarpgroup, .simt = order});
      EXPECT_TRUE(portable.answer == warpgroup.answer) << "d=" << shape.d;
      EXPECT_EQ(warpgroup.statistics.rescanned_rows, 0);
      EXPECT_EQ(warpgroup.statistics.survivors, portable.statistics.survivors) << "d=" << shape.d;
    }
    EXPECT_TRUE(portable.answer == expected(all, shape.nq, {.k = 3})) << "d=" << shape.d;
  }
}

/// Wrong rows of searches whose error bound is multiplied by `factor`. Few dimensions: there the errors of a
/// product line up, and the bound is nearly reached.
int64_t wrong_rows(KnnMetric metric, int64_t k, double factor) {
  int64_t wrong = 0;
  for (const uint64_t seed : {0, 1}) {
    for (const int64_t d : {1, 2}) {
      const Tensor all =
          make_knn_data(seed % 2 == 0 ? KnnData::kNormal : KnnData::kClustered, 100 + 2000, d, 100 + seed);
      const KnnAnswer right = expected(all, 100, {.k = k, .metric = metric});
      const KnnAnswer answer = filtered(all, 100, {.k = k, .metric = metric, .bound_factor = factor}).answer;
      for (size_t i = 0; i < right.indices.size(); ++i)
        wrong += answer.indices[i] != right.indices[i] ? 1 : 0;
    }
  }
  return wrong;
}

// One neighbour has its threshold from a score, two from a list.
TEST(GpuKnnFilter, ASmallerErrorBoundWouldBeWrong) {
  for (const int64_t k : {1, 2}) {
    for (const KnnMetric metric : {KnnMetric::kL2, KnnMetric::kInnerProduct}) {
      EXPECT_EQ(wrong_rows(metric, k, 1), 0) << knn_metric_name(metric) << " k=" << k;
      EXPECT_GT(wrong_rows(metric, k, 0.2), 0) << knn_metric_name(metric) << " k=" << k;
    }
  }
}

}  // namespace
}  // namespace panda::kernels::simt
