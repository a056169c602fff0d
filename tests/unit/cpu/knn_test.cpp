// The certified search against the defined distance on data made to break it.
//
// PANDA_KNN_LONG=1 adds the long run: 10^7 certified query rows, indices and distances compared with the
// search without a filter.
#include <cstdlib>

#include "kernels/cpu/knn_search.h"
#include "kernels/cpu/simd/amx_kernels.h"
#include "kernels/knn.h"
#include "tests/support/knn_data.h"
#include "tests/unit/cpu/knn_support.h"

namespace panda::kernels::cpu {
namespace {

std::string name_of(Data data, int64_t d, int64_t k, KnnFilter filter) {
  return text("data ", static_cast<int>(data), " d=", d, " k=", k, " filter ", knn_filter_name(filter));
}

constexpr KnnFilter kFilters[] = {KnnFilter::kNone, KnnFilter::kInt8, KnnFilter::kInt16, KnnFilter::kF32,
                                  KnnFilter::kBF16};

void expect_exact(Data data, int64_t nq, int64_t nb, int64_t d, int64_t k,
                  KnnMetric metric = KnnMetric::kL2) {
  const Tensor all =
      make_knn_data(data, nq + nb, d, static_cast<uint64_t>(1000 * static_cast<int>(data) + d));
  const ConstTensorView queries = all.view().rows(0, nq);
  const Tensor rows = clone_to(all.view().rows(nq, nq + nb), host());
  const Answer expected = reference_answer(queries, rows, k, metric);
  for (const auto& device : best_devices()) {
    for (const KnnFilter filter : kFilters) {
      EXPECT_TRUE(search(*device, queries, KnnGallery(*device, rows, metric, filter), k) == expected)
          << device->description() << " " << name_of(data, d, k, filter) << " metric "
          << knn_metric_name(metric);
    }
  }
}

TEST(CpuKnnCertificate, IsExactInEveryDimension) {
  for (const Data data : kAllKnnData) {
    for (const int64_t d : {1, 2, 3, 15, 16, 17, 31, 32, 33, 127, 128, 129, 255, 256, 257, 768, 2048, 4099})
      expect_exact(data, d > 1000 ? 5 : 17, d > 1000 ? 150 : 400, d, 10);
  }
}

TEST(CpuKnnCertificate, IsExactForEveryK) {
  for (const Data data : kAllKnnData) {
    for (const int64_t k : {1, 2, 10, 50, 64, 65, 1000, 1300}) expect_exact(data, 9, 1300, 17, k);
    expect_exact(data, 40, 1300, 17, 10);
  }
}

TEST(CpuKnnCertificate, IsExactForATableOfASmallGallery) {
  // Much of a small gallery is wanted: all products are tabled. Whole panels and not; fewer rows in a part
  // than are wanted; several blocks of queries.
  for (const Data data : kAllKnnData) {
    for (const int64_t nb : {95, 480}) expect_exact(data, 40, nb, 20, 30);
  }
  const Tensor all = make_knn_data(Data::kDuplicates, 1300, 132, 12);
  const ConstTensorView queries = all.view().rows(0, 300);
  const Tensor rows = clone_to(all.view().rows(300, 1300), host());
  for (const int64_t k : {10, 70}) {
    const Answer expected = reference_answer(queries, rows, k, KnnMetric::kL2);
    for (const Instructions& instructions : all_instructions()) {
      for (const int threads : {1, 3, 8}) {
        CpuDevice device(threads, instructions.isa, instructions.tiles);
        for (const KnnFilter filter : {KnnFilter::kAuto, KnnFilter::kInt16, KnnFilter::kF32}) {
          const KnnGallery gallery(device, rows, KnnMetric::kL2, filter);
          KnnStatistics statistics;
          EXPECT_TRUE(search(device, queries, gallery, k, &statistics) == expected)
              << instructions.name() << " threads " << threads << " k=" << k << " "
              << knn_filter_name(filter);
          if (gallery.index()->filter() == KnnFilter::kInt8) {
            // Where much is wanted, the 16-bit codes beside the 8-bit ones serve.
            EXPECT_EQ(statistics.filter, k == 70 ? KnnFilter::kInt16 : KnnFilter::kInt8);
          }
        }
      }
    }
  }
}

TEST(CpuKnnCertificate, IsExactForOtherMetrics) {
  for (const Data data : kAllKnnData) {
    for (const KnnMetric metric : {KnnMetric::kCosine, KnnMetric::kInnerProduct}) {
      for (const int64_t d : {1, 3, 33, 260}) expect_exact(data, 13, 500, d, 7, metric);
    }
  }
}

TEST(CpuKnnCertificate, ManyVectorsMakeTheFilterWork) {
  // Enough rows that most are discarded unseen, and that candidates are pruned and measured on the way.
  for (const Data data : {Data::kNormal, Data::kDuplicates, Data::kIntegers, Data::kOneSided}) {
    const Tensor all = make_knn_data(data, 30040, 24, 77);
    const ConstTensorView queries = all.view().rows(0, 40);
    const Tensor rows = clone_to(all.view().rows(40, 30040), host());
    for (const int64_t k : {1, 10, 100}) {
      const Answer expected = search(best_device(), queries,
                                     KnnGallery(best_device(), rows, KnnMetric::kL2, KnnFilter::kNone), k);
      for (const KnnFilter filter : {KnnFilter::kInt8, KnnFilter::kInt16, KnnFilter::kF32}) {
        KnnStatistics statistics;
        const KnnGallery gallery(best_device(), rows, KnnMetric::kL2, filter);
        EXPECT_TRUE(search(best_device(), queries, gallery, k, &statistics) == expected)
            << name_of(data, 24, k, filter);
        EXPECT_NE(statistics.filter, KnnFilter::kNone);
        if (data == Data::kNormal) {
          EXPECT_LT(statistics.survivors, 40 * (30 * k + 300)) << name_of(data, 24, k, filter);
        }
      }
    }
  }
}

TEST(CpuKnnCertificate, TakesSixteenBitsWhereEightCannotTellVectorsApart) {
  for (const Instructions& instructions : all_instructions()) {
    CpuDevice device(1, instructions.isa, instructions.tiles);
    const Tensor spread = make_knn_data(Data::kNormal, 6000, 24, 5);
    const Tensor clusters = make_knn_data(Data::kClustered, 6000, 24, 5);
    const KnnFilter first = KnnGallery(device, spread).index()->filter();
    EXPECT_EQ(KnnGallery(device, clusters).index()->filter(), KnnFilter::kInt16) << instructions.name();
    // Without 8-bit products there is nothing to choose.
    if (device.knn().filter[static_cast<int>(KnnCode::kI8)] != nullptr) {
      EXPECT_EQ(first, KnnFilter::kInt8) << instructions.name();
    }
  }
}

TEST(CpuKnnCertificate, GivesUpAFilterThatKeepsEverything) {
  // All rows are equal: nothing can be discarded, the first k indices win.
  const Tensor rows = make_knn_data(Data::kConstant, 9000, 20, 1);
  KnnStatistics statistics;
  const Answer answer =
      search(best_device(), rows.view().rows(0, 30), KnnGallery(best_device(), rows), 5, &statistics);
  EXPECT_EQ(statistics.rescanned_rows, 30);
  for (int64_t i = 0; i < 30; ++i) {
    for (int64_t j = 0; j < 5; ++j) EXPECT_EQ(answer.indices[static_cast<size_t>(i * 5 + j)], j);
  }
}

TEST(CpuKnnCertificate, IntegerVectorsNeedNoMeasurementBeyondTies) {
  Random random(3);
  Tensor rows(host(), DType::kU8, {5000, 40}, "rows");
  for (int64_t i = 0; i < rows.numel(); ++i)
    rows.data<uint8_t>()[i] = static_cast<uint8_t>(random.next_below(256));
  KnnStatistics statistics;
  const Answer answer =
      search(best_device(), rows.view().rows(100, 150), KnnGallery(best_device(), rows), 3, &statistics);
  if (statistics.filter == KnnFilter::kInt8) {
    // k of each of the two parts that two threads cut the gallery into, and a tie.
    EXPECT_LE(statistics.survivors, 50 * (2 * 3 + 1));
  }
  for (int64_t i = 0; i < 50; ++i) {
    EXPECT_EQ(answer.indices[static_cast<size_t>(i * 3)], 100 + i);
    EXPECT_EQ(answer.distances[static_cast<size_t>(i * 3)], 0);
  }
}

TEST(CpuKnnCertificate, HasTheSameBitsForAnyThreadsBatchTileWorkspaceAndInstructionSet) {
  const int64_t nq = 150;
  const int64_t nb = 6000;
  const Tensor all = make_knn_data(Data::kDuplicates, nq + nb, 36, 5);
  const ConstTensorView queries = all.view().rows(0, nq);
  const Tensor rows = clone_to(all.view().rows(nq, nq + nb), host());
  const int64_t k = 6;
  const Answer expected = reference_answer(queries, rows, k, KnnMetric::kL2);
  for (const Instructions& instructions : all_instructions()) {
    for (int threads = 1; threads <= 8; ++threads) {
      CpuDevice device(threads, instructions.isa, instructions.tiles);
      const KnnGallery gallery(device, rows);
      for (const int64_t batch : {int64_t{1}, int64_t{7}, int64_t{64}, nq}) {
        if (batch == 1 && threads > 2) continue;
        Answer answer;
        for (int64_t begin = 0; begin < nq; begin += batch) {
          const Answer part = search(device, queries.rows(begin, std::min(nq, begin + batch)), gallery, k);
          answer.indices.insert(answer.indices.end(), part.indices.begin(), part.indices.end());
          answer.distances.insert(answer.distances.end(), part.distances.begin(), part.distances.end());
        }
        EXPECT_TRUE(answer == expected)
            << instructions.name() << " threads " << threads << " batch " << batch;
      }
    }
    CpuDevice device(2, instructions.isa, instructions.tiles);
    for (const int64_t workspace : {int64_t{200000}, int64_t{600000}, int64_t{1} << 30}) {
      EXPECT_TRUE(search(device, queries, KnnGallery(device, rows), k, nullptr, workspace) == expected)
          << instructions.name() << " workspace " << workspace;
    }
  }
}

TEST(CpuKnnCertificate, PartsOfAGalleryMergeToTheWhole) {
  const Tensor all = make_knn_data(Data::kDuplicates, 1040, 12, 8);
  const ConstTensorView queries = all.view().rows(0, 40);
  const Tensor rows = clone_to(all.view().rows(40, 1040), host());
  const Answer expected = reference_answer(queries, rows, 20, KnnMetric::kL2);
  const Tensor distances(host(), DType::kF64, {40, 20}, "d");
  const Tensor indices(host(), DType::kI64, {40, 20}, "i");
  std::fill_n(indices.data<int64_t>(), indices.numel(), int64_t{-1});
  for (const auto& [begin, end] : {std::pair(int64_t{0}, int64_t{8}), std::pair(int64_t{8}, int64_t{700}),
                                   std::pair(int64_t{700}, int64_t{1000})}) {
    const int64_t k = std::min<int64_t>(20, end - begin);
    const Tensor d(host(), DType::kF64, {40, k}, "d");
    const Tensor i(host(), DType::kI64, {40, k}, "i");
    const KnnGallery gallery(best_device(), clone_to(rows.view().rows(begin, end), host()));
    knn_gallery_search(best_device(),
                       {.queries = queries, .gallery = &gallery, .k = k, .distances = d, .indices = i});
    knn_merge(distances, indices, d, i, begin);
  }
  EXPECT_TRUE(knn_answer(distances, indices) == expected);
}

TEST(CpuKnnCertificate, KeepsItsWorkspaceBound) {
  const Tensor rows = make_knn_data(Data::kNormal, 20000, 64, 9);
  for (const int64_t workspace : {int64_t{1} << 20, int64_t{8} << 20}) {
    CpuDevice device(2, supported_isas().back());
    const KnnGallery gallery(device, rows);
    const int64_t before = device.memory_report().bytes_by_label["scratch"];
    static_cast<void>(search(device, rows.view().rows(0, 1500), gallery, 50, nullptr, workspace));
    EXPECT_LE(device.memory_report().bytes_by_label["scratch"] - before, workspace + 4096);
  }
  CpuDevice device(2, supported_isas().back());
  const KnnGallery gallery(device, rows);
  try {
    static_cast<void>(search(device, rows.view().rows(0, 3), gallery, 20000, nullptr, 100000));
    ADD_FAILURE() << "no error";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what())
                  .find("knn_gallery_search: a workspace of 100000 bytes for 2 threads, expected at least "),
              std::string::npos)
        << error.what();
  }
}

/// Wrong query rows of a search whose error bound is multiplied by `factor`. Few dimensions: there the errors
/// of a product line up, and the bound is nearly reached.
int64_t wrong_rows(KnnFilter filter, KnnMetric metric, double factor) {
  CpuDevice device(1, supported_isas().back());  // parts of a gallery would each keep a nearest row of theirs
  int64_t wrong = 0;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    for (const int64_t d : {1, 2, 3}) {
      const int64_t nq = 100;
      const Tensor all =
          make_knn_data(seed % 2 == 0 ? Data::kNormal : Data::kClustered, nq + 3000, d, 100 + seed);
      const ConstTensorView queries = all.view().rows(0, nq);
      const Tensor rows = clone_to(all.view().rows(nq, nq + 3000), host());
      const Answer expected = search(device, queries, KnnGallery(device, rows, metric, KnnFilter::kNone), 1);
      const CpuKnnIndex index(device, {rows, metric, filter, nullptr}, "test");
      const Tensor distances(host(), DType::kF64, {nq, 1}, "d");
      const Tensor indices(host(), DType::kI64, {nq, 1}, "i");
      static_cast<void>(knn_certified_search(device, {.index = &index,
                                                      .kernel = "test",
                                                      .queries = KnnRows(device, queries),
                                                      .k = 1,
                                                      .distances = distances,
                                                      .indices = indices,
                                                      .workspace_bytes = int64_t{64} << 20,
                                                      .bound_factor = factor}));
      const Answer answer = knn_answer(distances, indices);
      for (size_t i = 0; i < static_cast<size_t>(nq); ++i)
        wrong += answer.indices[i] != expected.indices[i] ? 1 : 0;
    }
  }
  return wrong;
}

TEST(CpuKnnCertificate, ASmallerErrorBoundWouldBeWrong) {
  for (const KnnFilter filter : {KnnFilter::kInt8, KnnFilter::kInt16, KnnFilter::kBF16}) {
    for (const KnnMetric metric : {KnnMetric::kL2, KnnMetric::kInnerProduct}) {
      EXPECT_EQ(wrong_rows(filter, metric, 1), 0) << knn_filter_name(filter) << knn_metric_name(metric);
      EXPECT_GT(wrong_rows(filter, metric, 0.4), 0) << knn_filter_name(filter) << knn_metric_name(metric);
    }
  }
}

TEST(CpuKnnCertificate, LongRunFindsNoViolation) {
  if (std::getenv("PANDA_KNN_LONG") == nullptr)
    GTEST_SKIP() << "PANDA_KNN_LONG is not set: 10^7 query rows take minutes";
  int64_t rows_seen = 0;
  int64_t wrong = 0;
  int64_t rescanned = 0;
  for (uint64_t seed = 0; rows_seen < 10'000'000; ++seed) {
    const Data data = kAllKnnData[seed % std::size(kAllKnnData)];
    const int64_t d = std::vector<int64_t>{1, 2, 3, 7, 16, 31, 64}[seed / std::size(kAllKnnData) % 7];
    const int64_t nq = 20000;
    const int64_t nb = seed / std::size(kAllKnnData) % 2 == 0 ? 512 : 1500;  // a small k: a table, and a walk
    const int64_t k = 1 + static_cast<int64_t>(seed % 10);
    const Tensor all = make_knn_data(data, nq + nb, d, seed);
    const ConstTensorView queries = all.view().rows(0, nq);
    const Tensor rows = clone_to(all.view().rows(nq, nq + nb), host());
    const Answer expected =
        search(best_device(), queries, KnnGallery(best_device(), rows, KnnMetric::kL2, KnnFilter::kNone), k);
    const KnnFilter filter = kFilters[1 + seed % 4];
    KnnStatistics statistics;
    const Answer answer = search(best_device(), queries,
                                 KnnGallery(best_device(), rows, KnnMetric::kL2, filter), k, &statistics);
    for (int64_t i = 0; i < nq; ++i) {
      const auto at = static_cast<size_t>(i * k);
      const size_t bytes = static_cast<size_t>(k) * 8;
      wrong += std::memcmp(&answer.indices[at], &expected.indices[at], bytes) != 0 ||
                       std::memcmp(&answer.distances[at], &expected.distances[at], bytes) != 0
                   ? 1
                   : 0;
    }
    rescanned += statistics.rescanned_rows;
    rows_seen += nq - statistics.rescanned_rows;  // a row whose filter was given up is not a certified one
  }
  std::printf("{\"isa\": \"%s\", \"certified_rows\": %lld, \"rows_without_filter\": %lld, \"wrong\": %lld}\n",
              isa_name(supported_isas().back()), static_cast<long long>(rows_seen),
              static_cast<long long>(rescanned), static_cast<long long>(wrong));
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace panda::kernels::cpu
