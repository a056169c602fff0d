#include "anomaly/pixel_gallery.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/device_registry.h"
#include "kernels/kmeans.h"
#include "kernels/tensor/random.h"

namespace panda::anomaly {
namespace {

constexpr int64_t kImages = 20;
constexpr int64_t kPixels = 50;
constexpr int64_t kWidth = 64;

/// Rows that differ from a few prototypes by `spread`.
Tensor features(int64_t images, double spread, uint64_t seed) {
  Tensor rows(host(), DType::kF32, {images * kPixels, kWidth}, "features");
  Random prototypes(1);
  std::vector<double> base(static_cast<size_t>(4 * kWidth));
  for (double& value : base) value = prototypes.next_normal();
  Random random(seed);
  for (int64_t i = 0; i < rows.shape()[0]; ++i) {
    const auto prototype = static_cast<int64_t>(random.next_below(4));
    for (int64_t j = 0; j < kWidth; ++j) {
      rows.data<float>()[i * kWidth + j] = static_cast<float>(
          base[static_cast<size_t>(prototype * kWidth + j)] + spread * random.next_normal());
    }
  }
  return rows;
}

struct Found {
  Tensor distances;
  Tensor indices;
  explicit Found(int64_t nq, int64_t k)
      : distances(host(), DType::kF64, {nq, k}, "distances"),
        indices(host(), DType::kI64, {nq, k}, "indices") {}
  [[nodiscard]] std::vector<double> distance_list() const {
    return {distances.data<double>(), distances.data<double>() + distances.numel()};
  }
  [[nodiscard]] std::vector<int64_t> index_list() const {
    return {indices.data<int64_t>(), indices.data<int64_t>() + indices.numel()};
  }
};

PixelGallery in_memory(Device& device, const Tensor& rows, bool prepared) {
  PixelGallery gallery(device, kImages, kPixels, kWidth);
  // In steps that do not meet the blocks.
  for (int64_t first = 0; first < kImages; first += 7) {
    const int64_t end = std::min(kImages, first + 7);
    gallery.set(first, rows.view().rows(first * kPixels, end * kPixels));
  }
  if (prepared) gallery.prepare();
  return gallery;
}

PixelGallery on_disk(Device& device, const Tensor& rows, int64_t memory_bytes) {
  PixelGallery gallery(
      device, kImages, kPixels, kWidth,
      [rows](int64_t begin, int64_t end) {
        return clone_to(rows.view().rows(begin * kPixels, end * kPixels), host(), "block");
      },
      memory_bytes);
  gallery.prepare();
  return gallery;
}

TEST(PixelGallery, FindsTheSameInMemoryOnDiskAndUnprepared) {
  const auto reference = kernels::make_device({"reference", 0, ""});
  const auto device = kernels::make_device({"cpu", 0, ""});
  for (const double spread : {1.0, 1e-3}) {
    const Tensor rows = features(kImages, spread, 2);
    const Tensor queries = features(1, spread, 3);
    for (const int64_t k : {1, 3}) {
      // Of all images, and of all but two of them.
      Found all(kPixels, k);
      kernels::knn_search(*reference, {clone_to(queries, *reference), clone_to(rows, *reference), k,
                                       all.distances, all.indices});
      const std::vector<ImageRange> parts = {{0, 4}, {5, 19}};
      Found some(kPixels, k);
      std::fill_n(some.indices.data<int64_t>(), some.indices.numel(), int64_t{-1});
      for (const ImageRange& part : parts) {
        Found found(kPixels, k);
        kernels::knn_search(
            *reference, {clone_to(queries, *reference),
                         clone_to(rows.view().rows(part.begin * kPixels, part.end * kPixels), *reference), k,
                         found.distances, found.indices});
        kernels::knn_merge(some.distances, some.indices, found.distances, found.indices,
                           part.begin * kPixels);
      }
      std::vector<PixelGallery> galleries;
      galleries.push_back(in_memory(*device, rows, true));
      galleries.push_back(in_memory(*device, rows, false));
      galleries.push_back(in_memory(*reference, rows, true));
      for (const int64_t memory : {int64_t{1}, 3 * kPixels * kWidth * 4, int64_t{1} << 30})
        galleries.push_back(on_disk(*device, rows, memory));
      for (size_t g = 0; g < galleries.size(); ++g) {
        SCOPED_TRACE(text("spread ", spread, ", k ", k, ", gallery ", g));
        Found found_all(kPixels, k);
        Found found_some(kPixels, k);
        const PixelQuery wanted[] = {{queries, {{0, kImages}}, found_all.distances, found_all.indices},
                                     {queries, parts, found_some.distances, found_some.indices}};
        galleries[g].search(wanted, k);
        EXPECT_EQ(found_all.distance_list(), all.distance_list());
        EXPECT_EQ(found_all.index_list(), all.index_list());
        EXPECT_EQ(found_some.distance_list(), some.distance_list());
        EXPECT_EQ(found_some.index_list(), some.index_list());
      }
    }
  }
}

TEST(PixelGallery, FindsAtTheSamePlaceWhatASearchOfThatPlaceFinds) {
  const auto reference = kernels::make_device({"reference", 0, ""});
  const auto device = kernels::make_device({"cpu", 3, ""});
  const Tensor rows = features(kImages, 1, 2);
  const Tensor queries = features(2, 1, 3);  // two pictures
  const std::vector<ImageRange> parts = {{0, 4}, {5, 19}};
  std::vector<int64_t> images;
  for (const ImageRange& part : parts) {
    for (int64_t i = part.begin; i < part.end; ++i) images.push_back(i);
  }
  constexpr int64_t kK = 3;
  Found expected(2 * kPixels, kK);
  for (int64_t row = 0; row < 2 * kPixels; ++row) {
    Tensor there(host(), DType::kF32, {static_cast<int64_t>(images.size()), kWidth}, "place");
    for (size_t i = 0; i < images.size(); ++i) {
      const int64_t from = images[i] * kPixels + row % kPixels;
      copy(rows.view().rows(from, from + 1),
           there.view().rows(static_cast<int64_t>(i), static_cast<int64_t>(i) + 1));
    }
    Found found(1, kK);
    kernels::knn_search(*reference, {clone_to(queries.view().rows(row, row + 1), *reference),
                                     clone_to(there, *reference), kK, found.distances, found.indices});
    for (int64_t j = 0; j < kK; ++j) {
      expected.distances.data<double>()[row * kK + j] = found.distances.data<double>()[j];
      expected.indices.data<int64_t>()[row * kK + j] =
          images[static_cast<size_t>(found.indices.data<int64_t>()[j])] * kPixels + row % kPixels;
    }
  }
  std::vector<PixelGallery> galleries;
  galleries.push_back(in_memory(*device, rows, false));
  galleries.push_back(in_memory(*reference, rows, true));
  galleries.push_back(on_disk(*device, rows, 3 * kPixels * kWidth * 4));
  for (const PixelGallery& gallery : galleries) {
    Found found(2 * kPixels, kK);
    const PixelQuery query[] = {{queries, parts, found.distances, found.indices}};
    gallery.search_same_place(query, kK);
    EXPECT_EQ(found.distance_list(), expected.distance_list());
    EXPECT_EQ(found.index_list(), expected.index_list());
  }
  Found found(2 * kPixels, kK);
  const PixelQuery few[] = {{queries, {{0, 2}}, found.distances, found.indices}};
  EXPECT_THROW(galleries[0].search_same_place(few, kK), InvalidArgument);
}

TEST(PixelGallery, GivesTheSameOnADeviceWithMemoryOfItsOwn) {
  constexpr int64_t kFew = 6;
  const Tensor rows = features(kFew, 1, 2);
  const Tensor queries = features(1, 1, 3);
  const auto results_on = [&](const char* name) {
    const auto device = kernels::make_device({name, 1, ""});
    EXPECT_EQ(device->host_accessible(), std::string(name) == "cpu");
    PixelGallery gallery(*device, kFew, kPixels, kWidth);
    gallery.set(0, rows);
    Found nearest(kPixels, 2);
    Found same_place(kPixels, 2);
    const PixelQuery query[] = {{queries, {{0, kFew}}, nearest.distances, nearest.indices}};
    const PixelQuery place[] = {{queries, {{0, kFew}}, same_place.distances, same_place.indices}};
    gallery.search(query, 2);
    gallery.search_same_place(place, 2);
    const Tensor centers = gallery.clustered(3, 1, nullptr).read(0, 1);
    const std::vector<float> center_list(centers.data<float>(), centers.data<float>() + centers.numel());
    return std::tuple(nearest.distance_list(), nearest.index_list(), same_place.distance_list(),
                      same_place.index_list(), center_list);
  };
  EXPECT_EQ(results_on("simt"), results_on("cpu"));
}

TEST(PixelGallery, HoldsPreparedBlocksInMemoryAlone) {
  const auto device = kernels::make_device({"cpu", 0, ""});
  const Tensor rows = features(kImages, 1, 2);
  const int64_t bytes = in_memory(*device, rows, true).prepared_bytes();
  EXPECT_GT(bytes, 0);
  EXPECT_LT(bytes, rows.bytes());
  EXPECT_EQ(in_memory(*device, rows, false).prepared_bytes(), 0);
  EXPECT_EQ(on_disk(*device, rows, 1).prepared_bytes(), 0);
}

TEST(PixelGallery, ClustersWhereThePixelsLieAsItDoesFromDisk) {
  const Tensor rows = features(kImages, 0.1, 4);
  const auto reference = kernels::make_device({"reference", 0, ""});
  const auto list_of = [](const Tensor& centers) {
    return std::vector<float>(centers.data<float>(), centers.data<float>() + centers.numel());
  };
  const auto expected = [&](int64_t images) {
    const kernels::KmeansPoints points = kernels::KmeansPoints::of(rows.view().rows(0, images * kPixels));
    const kernels::KmeansResult result = kernels::kmeans(*reference, points, {.k = 3, .seed = 8});
    EXPECT_GT(result.iterations, 1);
    return list_of(result.centers);
  };
  const auto centers_of = [&](const PixelGallery& gallery) {
    return list_of(gallery.clustered(3, 8, nullptr).read(0, 1));
  };
  const auto cpu = kernels::make_device({"cpu", 0, ""});
  EXPECT_EQ(centers_of(in_memory(*cpu, rows, false)), expected(kImages));
  EXPECT_EQ(centers_of(on_disk(*cpu, rows, 3 * kPixels * kWidth * 4)), expected(kImages));
  // In a memory that the host does not read; few, as the emulator is slow.
  const auto simt = kernels::make_device({"simt", 0, ""});
  PixelGallery few(*simt, 2, kPixels, kWidth);
  few.set(0, clone_to(rows.view().rows(0, 2 * kPixels), *simt));
  EXPECT_EQ(centers_of(few), expected(2));
}

TEST(PixelGallery, ReadsBackWhatWasSet) {
  const auto device = kernels::make_device({"cpu", 0, ""});
  const Tensor rows = features(kImages, 1, 2);
  const PixelGallery gallery = in_memory(*device, rows, true);
  const Tensor read = gallery.read(2, 19);
  ASSERT_EQ(read.shape(), (Shape{17 * kPixels, kWidth}));
  EXPECT_TRUE(std::equal(read.data<float>(), read.data<float>() + read.numel(),
                         rows.data<float>() + 2 * kPixels * kWidth));
  EXPECT_THROW(static_cast<void>(gallery.read(3, kImages + 1)), InvalidArgument);
}

TEST(PixelGallery, GivesAnyRunOfPixelsAndCopiesOnlyAcrossBlocks) {
  const auto device = kernels::make_device({"cpu", 0, ""});
  const Tensor rows = features(kImages, 1, 2);
  const PixelGallery galleries[] = {in_memory(*device, rows, false),
                                    on_disk(*device, rows, 2 * kPixels * kWidth * 4)};
  int64_t copies = 0;
  for (const PixelGallery& gallery : galleries) {
    for (const int64_t begin : {0L, 1L, 49L, 50L, 149L, 700L}) {
      for (const int64_t count : {1L, 49L, 50L, 51L, 150L, 300L}) {
        Tensor owner;
        const ConstTensorView found = gallery.rows(begin, begin + count, owner);
        ASSERT_EQ(found.shape(), (Shape{count, kWidth}));
        EXPECT_TRUE(std::equal(found.data<float>(), found.data<float>() + found.numel(),
                               rows.data<float>() + begin * kWidth))
            << begin << " " << count;
        copies += &gallery == galleries && owner.present() ? 1 : 0;
      }
    }
  }
  EXPECT_TRUE(copies > 0 && copies < 18) << copies;
}

}  // namespace
}  // namespace panda::anomaly
