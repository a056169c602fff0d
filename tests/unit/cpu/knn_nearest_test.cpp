// The nearest of few rows: every way of taking scores, and the searches that use them.
//
// PANDA_KNN_LONG=1 adds the long run: 10^7 query rows that it is sure of, compared with the search without a filter.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "kernels/cpu/knn_nearest_scores.h"
#include "kernels/cpu/simd/amx_kernels.h"
#include "kernels/cpu/simd/nearest_codes.h"
#include "tests/unit/cpu/knn_support.h"

namespace panda::kernels::cpu {
namespace {

/// Few rows and one neighbour: all scores in low precision, the best two in registers (knn_nearest.h).
TEST(CpuKnnNearest, IsExactOnEveryInstructionSet) {
  for (const auto& device : with_and_without_tiles()) {
    for (const Data data : kAllKnnData) {
      for (const int64_t d : {1, 3, 64, 130}) {
        for (const int64_t nb : {1, 50, 64, 100}) {
          const int64_t nq = 131;  // a block and a part of one
          const Tensor all = make_knn_data(data, nq + nb, d, static_cast<uint64_t>(nb + d));
          const ConstTensorView queries = all.view().rows(0, nq);
          const Tensor rows = clone_to(all.view().rows(nq, nq + nb), host());
          KnnStatistics statistics;
          const Answer answer = search(*device, queries, KnnGallery(*device, rows), 1, &statistics);
          EXPECT_TRUE(answer == reference_answer(queries, rows, 1, KnnMetric::kL2))
              << device->description() << " data " << static_cast<int>(data) << " d=" << d << " nb=" << nb;
          if (data == Data::kNormal && d == 3) {  // of more dimensions it is a matter of the instruction set
            EXPECT_EQ(statistics.filter, nearest_way(*device).filter) << "d=" << d << " nb=" << nb;
          }
        }
      }
    }
  }
}

/// The distances of the row that was found, of the nearest row and of the next one, in f64.
struct ExactDistances {
  double found;
  double nearest;
  double second;
};
ExactDistances exact_distances(const float* query, const Tensor& rows, int64_t found) {
  const int64_t d = rows.shape()[1];
  std::vector<double> all;
  for (int64_t j = 0; j < rows.shape()[0]; ++j) {
    double sum = 0;
    for (int64_t c = 0; c < d; ++c) {
      const double difference = double{query[c]} - double{rows.data<float>()[j * d + c]};
      sum += difference * difference;
    }
    all.push_back(sum);
  }
  const double of_found = all[static_cast<size_t>(found)];
  std::partial_sort(all.begin(), all.begin() + 2, all.end());
  return {of_found, all[0], all[1]};
}

const NearestWay* const kWays[] = {&kNearestVectors, &kNearestCodes, &kNearestTiles};

std::string name_of(const CpuDevice& device, const NearestWay& way) {
  return text(device.description(), " by ", knn_filter_name(way.filter));
}

/// What this way finds for every query.
std::vector<NearestFound> find_all(CpuDevice& device, const NearestWay& way, const ConstTensorView& queries,
                                   const Tensor& rows, double* longest = nullptr,
                                   double* square_error = nullptr) {
  const auto scores = way.make(device, KnnRows(device, rows));
  const Tensor memory(device, DType::kU8, {scores->block_bytes()}, "memory");
  const int64_t nq = queries.shape()[0];
  std::vector<NearestFound> found(static_cast<size_t>(nq));
  for (int64_t i = 0; i < nq; i += scores->block()) {
    scores->find(queries.data<float>() + i * queries.shape()[1], nullptr, std::min(scores->block(), nq - i),
                 reinterpret_cast<char*>(memory.data<uint8_t>()), found.data() + i);
  }
  if (longest != nullptr) *longest = scores->longest();
  if (square_error != nullptr) *square_error = scores->square_error();
  return found;
}

/// The largest share of their bound that the scores' errors take.
double share_of_bound(CpuDevice& device, const NearestWay& way, double scale, double shift, int64_t d) {
  const int64_t nq = 45;
  const int64_t nb = 70;
  const Tensor all = make_knn_data(Data::kNormal, nq + nb, d, static_cast<uint64_t>(d));
  for (int64_t i = 0; i < all.numel(); ++i) {
    float& x = all.data<float>()[i];
    x = static_cast<float>((x + shift) * scale);
  }
  const Tensor rows = clone_to(all.view().rows(nq, nq + nb), host());
  const std::vector<NearestFound> found = find_all(device, way, all.view().rows(0, nq), rows);
  double largest = 0;
  for (int64_t i = 0; i < nq; ++i) {
    const NearestFound& one = found[static_cast<size_t>(i)];
    const ExactDistances exact = exact_distances(all.data<float>() + i * d, rows, one.row);
    // Each of the two smallest scores is within the bound of its distance, whichever rows they are of.
    const double gap = (double{one.second} - double{one.best}) - (exact.second - exact.nearest);
    const double off = std::max(std::abs(gap), exact.found - exact.nearest);
    largest = std::max(largest, off / (one.error + one.second_error));
  }
  return largest;
}

TEST(CpuKnnNearest, ScoresAreWithinTheirBoundAndTheBoundIsNotIdle) {
  for (const auto& device : with_and_without_tiles()) {
    for (const NearestWay* way : kWays) {
      if (!way->exists(*device)) continue;
      const std::string who = name_of(*device, *way);
      double largest = 0;
      for (const double scale : {1.0, 1e-12, 1e12}) {
        for (const double shift : {0.0, 30.0}) {
          for (const int64_t d : {1, 31, 32, 33, 200, 1500}) {
            const double share = share_of_bound(*device, *way, scale, shift, d);
            EXPECT_LE(share, 1) << who << " d=" << d << " scale " << scale << " shift " << shift;
            largest = std::max(largest, share);
          }
        }
      }
      EXPECT_GT(largest, 1e-3) << who;
    }
  }
}

/// Every way, with rows in every number of panels and vectors: what it is sure of is the nearest row, what it
/// says of the others holds, and data without structure leave it sure.
TEST(CpuKnnNearest, EveryWayIsSureOfNothingButTheNearestRow) {
  const int64_t nq = 205;  // blocks and a part of one
  for (const auto& device : with_and_without_tiles()) {
    for (const Data data : kAllKnnData) {
      for (const int64_t d : {1, 5, 16, 50, 67}) {
        for (const int64_t nb : {2, 15, 33, 80, 130, 700}) {
          const Tensor all = make_knn_data(data, nq + nb, d, static_cast<uint64_t>(nb * d));
          const ConstTensorView queries = all.view().rows(0, nq);
          const Tensor rows = clone_to(all.view().rows(nq, nq + nb), host());
          const Answer expected = reference_answer(queries, rows, 2, KnnMetric::kL2);
          for (const NearestWay* way : kWays) {
            if (!way->exists(*device)) continue;
            const std::string where =
                text(name_of(*device, *way), " data ", static_cast<int>(data), " d=", d, " nb=", nb);
            double longest = 0;
            double square_error = 0;
            const std::vector<NearestFound> found =
                find_all(*device, *way, queries, rows, &longest, &square_error);
            int64_t sure = 0;
            for (size_t i = 0; i < found.size(); ++i) {
              const NearestFound& one = found[i];
              if (!one.sure(longest)) continue;
              ++sure;
              EXPECT_EQ(one.row, expected.indices[2 * i]) << where << " query " << i;
              const double rounding = one.square * square_error + 0x1p-100;
              EXPECT_GE(one.best + one.square + one.error + rounding, expected.distances[2 * i])
                  << where << " query " << i;
              EXPECT_LE(one.second + one.square - one.second_error - rounding, expected.distances[2 * i + 1])
                  << where << " query " << i;
            }
            if (data == Data::kNormal && d > 1) {
              EXPECT_GE(sure, nq * 9 / 10) << where;
            }
          }
        }
      }
    }
  }
}

/// Rows in pairs that codes of 8 bits cannot tell apart, one behind the other in the same lane: the whole
/// lane is measured, and the nearest found.
TEST(CpuKnnNearest, MeasuresAWholeLaneWhereTwoOfItAreNear) {
  const int64_t d = 24;
  const int64_t nb = 96;
  const Tensor all = make_knn_data(Data::kNormal, 100 + nb, d, 4);
  const ConstTensorView queries = all.view().rows(0, 100);
  const Tensor rows = clone_to(all.view().rows(100, 100 + nb), host());
  for (int64_t i = 0; i < 16 * d; ++i) {  // the last three vectors of columns are nearly the same one
    float* const x = rows.data<float>() + i;
    x[64 * d] = x[48 * d] * (1 + 1e-3F);
    x[80 * d] = x[48 * d] * (1 - 1e-3F);
  }
  const Answer expected = reference_answer(queries, rows, 2, KnnMetric::kL2);
  for (const auto& device : with_and_without_tiles()) {
    for (const NearestWay* way : kWays) {
      if (!way->exists(*device)) continue;
      double longest = 0;
      const std::vector<NearestFound> found = find_all(*device, *way, queries, rows, &longest);
      int64_t sure = 0;
      for (size_t i = 0; i < found.size(); ++i) {
        if (!found[i].sure(longest)) continue;
        ++sure;
        EXPECT_EQ(found[i].row, expected.indices[2 * i]) << name_of(*device, *way) << " query " << i;
      }
      EXPECT_GE(sure, 80) << name_of(*device, *way);
    }
  }
}

/// Calls of the loops on codes, with tiles or without.
int64_t calls_of_codes(const CpuDevice& device) {
  return (device.amx() == nullptr ? 0 : device.amx()->calls()) +
         (device.nearest_codes() == nullptr ? 0 : device.nearest_codes()->calls());
}

/// What the search would take beyond the workspace it does not take: the general search serves.
TEST(CpuKnnNearest, KeepsToTheWorkspace) {
  const Tensor all = make_knn_data(Data::kNormal, 200 + 900, 64, 9);
  const ConstTensorView queries = all.view().rows(0, 200);
  const Tensor rows = clone_to(all.view().rows(200, 1100), host());
  const Answer expected = reference_answer(queries, rows, 1, KnnMetric::kL2);
  for (const auto& device : with_and_without_tiles()) {
    const KnnGallery gallery(*device, rows);
    const int64_t needed = nearest_way(*device).bytes(*device, 900, 64);
    for (const bool enough : {true, false}) {
      const int64_t calls = calls_of_codes(*device);
      EXPECT_TRUE(search(*device, queries, gallery, 1, nullptr, enough ? needed : needed - 1) == expected)
          << device->description();
      if (device->nearest_codes() == nullptr) continue;
      EXPECT_EQ(calls_of_codes(*device) > calls, enough) << device->description();
    }
  }
}

TEST(CpuKnnNearest, AgreesWithoutDistances) {
  const Tensor all = make_knn_data(Data::kClustered, 300 + 60, 24, 5);
  const ConstTensorView queries = all.view().rows(0, 300);
  const Tensor rows = clone_to(all.view().rows(300, 360), host());
  const Answer expected = reference_answer(queries, rows, 1, KnnMetric::kL2);
  for (const auto& device : with_and_without_tiles()) {
    const Tensor indices(host(), DType::kI64, {300, 1}, "i");
    const KnnGallery gallery(*device, rows);
    knn_gallery_search(*device, {.queries = queries, .gallery = &gallery, .k = 1, .indices = indices});
    const auto* const found = indices.data<int64_t>();
    EXPECT_EQ(std::vector<int64_t>(found, found + 300), expected.indices) << device->description();
  }
}

/// The search with bounds, of every third query: their nearest rows, and bounds that hold; nothing else is
/// written. Bounds are tight where vectors are far from each other.
TEST(CpuKnnNearest, BoundsHowFarTheNearestAndTheOthersAre) {
  const int64_t nq = 400;
  const int64_t nb = 70;
  for (const auto& device : with_and_without_tiles()) {
    for (const Data data : kAllKnnData) {
      for (const int64_t d : {3, 64, 130}) {
        const Tensor all = make_knn_data(data, nq + nb, d, static_cast<uint64_t>(d));
        const ConstTensorView queries = all.view().rows(0, nq);
        const Tensor rows = clone_to(all.view().rows(nq, nq + nb), host());
        const KnnGallery gallery(*device, rows);
        const auto nearest = gallery.index()->nearest_search(nq);
        if (nearest == nullptr) continue;  // the general search is faster
        const Answer expected = reference_answer(queries, rows, 1, KnnMetric::kL2);
        std::vector<int64_t> list;
        for (int64_t i = 0; i < nq; i += 3) list.push_back(i);
        std::vector<int64_t> indices(static_cast<size_t>(nq), -7);
        std::vector<float> within(static_cast<size_t>(nq), -7.0F);
        std::vector<float> beyond(static_cast<size_t>(nq), -7.0F);
        nearest->search({queries, list, indices.data(), within.data(), beyond.data()});
        std::vector<double> distances(static_cast<size_t>(nq));
        nearest->measure(queries, expected.indices.data(), distances.data());
        EXPECT_EQ(distances, expected.distances);
        int64_t tight = 0;
        for (int64_t i = 0; i < nq; ++i) {
          const auto at = static_cast<size_t>(i);
          const std::string where =
              text(device->description(), " data ", static_cast<int>(data), " d=", d, " query ", i);
          if (i % 3 != 0) {
            EXPECT_TRUE(indices[at] == -7 && within[at] == -7 && beyond[at] == -7) << where;
            continue;
          }
          EXPECT_EQ(indices[at], expected.indices[at]) << where;
          const ExactDistances exact = exact_distances(queries.data<float>() + i * d, rows, indices[at]);
          EXPECT_GE(within[at], std::sqrt(exact.nearest)) << where;
          EXPECT_LE(beyond[at], std::sqrt(exact.second)) << where;
          if (within[at] < 1.05 * std::sqrt(exact.nearest) && beyond[at] > 0.95 * std::sqrt(exact.second))
            ++tight;
        }
        if (data == Data::kNormal && d == 64) {
          EXPECT_GE(tight, 120) << device->description();
        }
      }
    }
  }
}

TEST(CpuKnnNearest, IsSureOfAlmostEveryQuery) {
  const Tensor all = make_knn_data(Data::kNormal, 1000 + 200, 64, 1);
  const Tensor rows = clone_to(all.view().rows(1000, 1200), host());
  const KnnGallery gallery(best_device(), rows);
  KnnStatistics statistics;
  static_cast<void>(search(best_device(), all.view().rows(0, 1000), gallery, 1, &statistics));
  EXPECT_EQ(statistics.filter, nearest_way(best_device()).filter);
  // A query that it is not sure of leaves several rows to be measured.
  EXPECT_LE(statistics.survivors, 1010);
}

TEST(CpuKnnNearest, LeavesTiesToTheIndexAndNamesTheFirstRowThatIsNotFinite) {
  const Tensor rows = make_knn_data(Data::kNormal, 60, 32, 2);
  std::copy_n(rows.data<float>() + 20 * 32, 32, rows.data<float>() + 50 * 32);
  const Tensor queries = make_knn_data(Data::kNormal, 200, 32, 3);
  std::copy_n(rows.data<float>() + 20 * 32, 32, queries.data<float>() + 7 * 32);
  const KnnGallery gallery(best_device(), rows);
  EXPECT_EQ(search(best_device(), queries, gallery, 1).indices[7], 20);
  queries.data<float>()[150 * 32 + 4] = NAN;
  queries.data<float>()[120 * 32 + 9] = INFINITY;
  try {
    static_cast<void>(search(best_device(), queries, gallery, 1));
    ADD_FAILURE() << "no error";
  } catch (const InvalidArgument& error) {
    EXPECT_STREQ(error.what(), "knn_gallery_search: queries row 120 holds inf at component 9");
  }
}

TEST(CpuKnnNearest, LongRunFindsNoViolation) {
  if (std::getenv("PANDA_KNN_LONG") == nullptr)
    GTEST_SKIP() << "PANDA_KNN_LONG is not set: 10^7 query rows take minutes";
  int64_t seen = 0;
  int64_t sure = 0;
  int64_t wrong = 0;
  for (uint64_t seed = 0; sure < 10'000'000; ++seed) {
    const Data data = kAllKnnData[seed % std::size(kAllKnnData)];
    const uint64_t round = seed / std::size(kAllKnnData);
    const int64_t d = std::vector<int64_t>{1, 2, 3, 8, 16, 33, 64}[round % 7];
    const int64_t nb = std::vector<int64_t>{7, 50, 100, 300}[round % 4];
    const int64_t nq = 20000;
    const Tensor all = make_knn_data(data, nq + nb, d, seed);
    const ConstTensorView queries = all.view().rows(0, nq);
    const Tensor rows = clone_to(all.view().rows(nq, nq + nb), host());
    const Answer expected =
        search(best_device(), queries, KnnGallery(best_device(), rows, KnnMetric::kL2, KnnFilter::kNone), 2);
    double longest = 0;
    double square_error = 0;
    const std::vector<NearestFound> found =
        find_all(best_device(), nearest_way(best_device()), queries, rows, &longest, &square_error);
    for (size_t i = 0; i < found.size(); ++i) {
      const NearestFound& one = found[i];
      if (!one.sure(longest)) continue;
      ++sure;
      const double rounding = one.square * square_error + 0x1p-100;
      const bool right =
          one.row == expected.indices[2 * i] &&
          one.best + one.square + one.error + rounding >= expected.distances[2 * i] &&
          one.second + one.square - one.second_error - rounding <= expected.distances[2 * i + 1];
      wrong += right ? 0 : 1;
    }
    seen += nq;
  }
  std::printf("{\"isa\": \"%s\", \"scores\": \"%s\", \"rows\": %lld, \"sure\": %lld, \"wrong\": %lld}\n",
              best_device().description().c_str(), knn_filter_name(nearest_way(best_device()).filter),
              static_cast<long long>(seen), static_cast<long long>(sure), static_cast<long long>(wrong));
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace panda::kernels::cpu
