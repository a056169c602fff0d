#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/knn.h"
#include "tests/conformance/suite.h"

namespace panda::test {
namespace {

using kernels::KnnFilter;
using kernels::KnnGallery;
using kernels::KnnMetric;

struct GalleryCase {
  int64_t nq, nb, d, k;
  KnnMetric metric = KnnMetric::kL2;
  KnnFilter filter = KnnFilter::kAuto;
  DType dtype = DType::kF32;
  Values values = Values::kNormal;
};

/// The elements rounded to `dtype`; of u8, 3 x + 128.
Tensor as_dtype(const Tensor& x, DType dtype) {
  Tensor result(host(), dtype, x.shape(), "operand");
  for (int64_t i = 0; i < x.numel(); ++i) {
    const float value = x.data<float>()[i];
    if (dtype == DType::kF32) result.data<float>()[i] = value;
    if (dtype == DType::kF16) result.data<Float16>()[i] = to_float16(value);
    if (dtype == DType::kBF16) result.data<BFloat16>()[i] = to_bfloat16(value);
    if (dtype == DType::kU8)
      result.data<uint8_t>()[i] = static_cast<uint8_t>(std::lround(30 * value + 128) & 255);
  }
  return result;
}

GuardedTensor place_bytes(const Subject& s, const Tensor& dense, Alignment alignment) {
  GuardedTensor placed(s.device, dense.dtype(), dense.shape(), Layout::kDense, alignment);
  copy(dense, placed.view());
  return placed;
}

void run_gallery(const Subject& s, const Tensor& queries, const Tensor& rows, int64_t k, KnnMetric metric,
                 KnnFilter filter, Alignment alignment = Alignment::kAligned) {
  const Tensor on_device = clone_to(rows, s.device, "gallery");
  const KnnGallery gallery(s.device, on_device, metric, filter);
  // Of the filters that a device takes for one another, each is run once; that it does take one, always.
  const KnnFilter used = gallery.index() != nullptr ? gallery.index()->filter() : filter;
  if (filter != KnnFilter::kAuto && used != filter && alignment == Alignment::kAligned)
    GTEST_SKIP() << s.name << " takes " << knn_filter_name(used) << " for " << knn_filter_name(filter)
                 << ": that case is this one";
  const Shape shape{queries.shape()[0], k};
  const Tensor distances(host(), DType::kF64, shape, "expected");
  const Tensor indices(host(), DType::kI64, shape, "expected");
  const KnnGallery expected(s.oracle, rows, metric, filter);
  kernels::knn_gallery_search(
      s.oracle,
      {.queries = queries, .gallery = &expected, .k = k, .distances = distances, .indices = indices});

  const GuardedTensor d = output(s, shape, Layout::kDense, alignment, DType::kF64);
  const GuardedTensor i = output(s, shape, Layout::kDense, Alignment::kAligned, DType::kI64);
  kernels::KnnStatistics statistics;
  kernels::knn_gallery_search(s.device, {.queries = place_bytes(s, queries, alignment).view(),
                                         .gallery = &gallery,
                                         .k = k,
                                         .distances = d.view(),
                                         .indices = i.view(),
                                         .statistics = &statistics});
  expect_matches(i, indices, 0.0, Zeros::kExpected);
  expect_matches(d, distances, 0.0, Zeros::kExpected);
  const GuardedTensor alone = output(s, shape, Layout::kDense, Alignment::kAligned, DType::kI64);
  kernels::knn_gallery_search(s.device, {.queries = place_bytes(s, queries, alignment).view(),
                                         .gallery = &gallery,
                                         .k = k,
                                         .indices = alone.view()});
  expect_matches(alone, indices, 0.0, Zeros::kExpected);
  EXPECT_GE(statistics.survivors, shape[0] * k);
  EXPECT_LE(statistics.rescanned_rows, shape[0]);
}

/// 900 rows of which two thirds are one point, and queries of which every third is it: so many pairs that no
/// filter can discard that its lists overflow, of some queries but not of all.
void run_heap(const Subject& s, int64_t k, KnnFilter filter) {
  constexpr int64_t kDimensions = 9;
  const Tensor queries = make_tensor({20, kDimensions}, 113);
  const Tensor rows = make_tensor({900, kDimensions}, 114);
  const auto put_on_heap = [](const Tensor& x, int64_t row) {
    std::fill_n(x.data<float>() + row * kDimensions, kDimensions, 5.0F);
  };
  for (int64_t i = 1; i < 20; i += 3) put_on_heap(queries, i);
  for (int64_t i = 0; i < 900; ++i) {
    if (i % 3 != 1) put_on_heap(rows, i);
  }
  run_gallery(s, queries, rows, k, KnnMetric::kL2, filter);
}

const RegisterCases gallery_cases([](std::vector<Case>& cases) {
  const auto add = [&](const GalleryCase& one) {
    cases.push_back({"knn_gallery_search", CaseKind::kSweep,
                     text("nq", one.nq, "_nb", one.nb, "_d", one.d, "_k", one.k, "_",
                          knn_metric_name(one.metric), "_", knn_filter_name(one.filter), "_",
                          dtype_name(one.dtype), one.values == Values::kSmallIntegers ? "_ties" : ""),
                     [=](const Subject& s) {
                       run_gallery(s, as_dtype(make_tensor({one.nq, one.d}, 111, one.values), one.dtype),
                                   as_dtype(make_tensor({one.nb, one.d}, 112, one.values), one.dtype), one.k,
                                   one.metric, one.filter);
                     }});
  };
  for (const KnnFilter filter : {KnnFilter::kNone, KnnFilter::kF32, KnnFilter::kF16, KnnFilter::kBF16,
                                 KnnFilter::kInt16, KnnFilter::kInt8}) {
    for (const KnnMetric metric : {KnnMetric::kL2, KnnMetric::kCosine, KnnMetric::kInnerProduct}) {
      add({17, 700, 37, 3, metric, filter});
      add({15, 300, 5, 2, metric, filter, DType::kF32, Values::kSmallIntegers});
      add({70, 260, 20, 1, metric, filter});
      add({11, 300, 5, 1, metric, filter, DType::kF32, Values::kSmallIntegers});
    }
    for (const DType dtype : {DType::kF16, DType::kBF16, DType::kU8}) {
      add({6, 400, 21, 4, KnnMetric::kL2, filter, dtype});
      add({6, 400, 21, 4, KnnMetric::kCosine, filter, dtype});
    }
    for (const int64_t d : {1, 3, 16, 63, 65, 257}) add({13, 333, d, 5, KnnMetric::kL2, filter});
    for (const int64_t nq : {1, 6, 14, 29, 100}) add({nq, 500, 24, 1, KnnMetric::kL2, filter});
    for (const int64_t nb : {1, 31, 32, 33, 1025}) add({3, nb, 19, 1, KnnMetric::kL2, filter});
    for (const int64_t k : {2, 10, 64, 65, 300}) add({5, 1200, 12, k, KnnMetric::kL2, filter});
    add({2, 640, 12, 640, KnnMetric::kL2, filter});
    cases.push_back({"knn_gallery_search", CaseKind::kSweep, text("heap_", knn_filter_name(filter)),
                     [=](const Subject& s) { run_heap(s, 3, filter); }});
    cases.push_back({"knn_gallery_search", CaseKind::kSweep, text("heap_k1_", knn_filter_name(filter)),
                     [=](const Subject& s) { run_heap(s, 1, filter); }});
    cases.push_back({"knn_gallery_search", CaseKind::kMisaligned,
                     text("nq9_nb200_d23_k3_", knn_filter_name(filter)), [=](const Subject& s) {
                       run_gallery(s, make_tensor({9, 23}, 105), make_tensor({200, 23}, 106), 3,
                                   KnnMetric::kL2, filter, Alignment::kMisaligned);
                     }});
  }
  // One row, as k-means++ asks.
  for (const int64_t nq : {255, 256, 257, 600}) add({nq, 1, 33, 1, KnnMetric::kL2, KnnFilter::kNone});
  cases.push_back(
      {"knn_gallery_search", CaseKind::kMisaligned, "nq300_nb1_d23_k1_none", [](const Subject& s) {
         run_gallery(s, make_tensor({300, 23}, 105), make_tensor({1, 23}, 106), 1, KnnMetric::kL2,
                     KnnFilter::kNone, Alignment::kMisaligned);
       }});
  cases.push_back(
      {"knn_gallery_search", CaseKind::kEmpty, "no_queries_and_no_dimensions", [](const Subject& s) {
         const KnnGallery gallery(s.device, clone_to(make_tensor({4, 3}, 1), s.device));
         const GuardedTensor none = output(s, {0, 2}, Layout::kDense, Alignment::kAligned, DType::kI64);
         kernels::knn_gallery_search(s.device, {.queries = output(s, {0, 3}).view(),
                                                .gallery = &gallery,
                                                .k = 2,
                                                .distances = output(s, {0, 2}).view(),
                                                .indices = none.view()});
         for (const KnnMetric metric : {KnnMetric::kL2, KnnMetric::kCosine, KnnMetric::kInnerProduct})
           run_gallery(s, make_tensor({2, 0}, 1), make_tensor({3, 0}, 1), 2, metric, KnnFilter::kAuto);
         run_gallery(s, make_tensor({2, 0}, 1), make_tensor({1, 0}, 1), 1, KnnMetric::kL2, KnnFilter::kNone);
       }});
  cases.push_back(
      {"knn_gallery_search", CaseKind::kError, "shapes_types_k_and_nan", [](const Subject& s) {
         const KnnGallery gallery(s.device, clone_to(make_tensor({4, 3}, 1), s.device));
         const auto search = [&](const Tensor& queries, int64_t k, const kernels::KnnGallery* from) {
           const Shape shape{queries.shape()[0], 2};
           kernels::knn_gallery_search(
               s.device,
               {.queries = place_bytes(s, queries, Alignment::kAligned).view(),
                .gallery = from,
                .k = k,
                .distances = output(s, shape).view(),
                .indices = output(s, shape, Layout::kDense, Alignment::kAligned, DType::kI64).view()});
         };
         expect_error<InvalidArgument>("knn_gallery_search: there is no gallery", [&] {
           search(make_tensor({2, 3}, 1), 2, nullptr);
         });
         expect_error<InvalidArgument>(
             "knn_gallery_search: k=5 with a gallery of 4 vectors, expected 1 <= k <= 4", [&] {
               search(make_tensor({2, 3}, 1), 5, &gallery);
             });
         expect_error<InvalidArgument>("knn_gallery_search: queries have d=7 but the gallery has d=3", [&] {
           search(make_tensor({2, 7}, 1), 2, &gallery);
         });
         expect_error<InvalidArgument>("knn_gallery_search: distances is f32 2x2, expected 2x3", [&] {
           search(make_tensor({2, 3}, 1), 3, &gallery);
         });
         const Tensor bad = make_tensor({5, 3}, 2);
         bad.data<float>()[13] = -INFINITY;
         bad.data<float>()[10] = NAN;
         expect_error<InvalidArgument>("knn_gallery_search: queries row 3 holds nan at component 1",
                                       [&] { search(bad, 2, &gallery); });
         const KnnGallery one_row(s.device, clone_to(make_tensor({1, 3}, 1), s.device), KnnMetric::kL2,
                                  KnnFilter::kNone);
         const Tensor many = make_tensor({700, 3}, 2);
         many.data<float>()[3 * 611] = NAN;
         many.data<float>()[3 * 300 + 2] = INFINITY;
         expect_error<InvalidArgument>("knn_gallery_search: queries row 300 holds inf at component 2", [&] {
           kernels::knn_gallery_search(
               s.device,
               {.queries = place_bytes(s, many, Alignment::kAligned).view(),
                .gallery = &one_row,
                .k = 1,
                .indices = output(s, {700, 1}, Layout::kDense, Alignment::kAligned, DType::kI64).view()});
         });
       }});

  cases.push_back(
      {"knn_gallery_prepare", CaseKind::kSweep, "more_rows_and_fewer_rows_equal_a_fresh_gallery",
       [](const Subject& s) {
         const Tensor rows = clone_to(make_tensor({300, 18}, 5), s.device);
         const KnnGallery whole(s.device, rows);
         const KnnGallery head(s.device, clone_to(rows.view().rows(0, 100), s.device));
         const KnnGallery grown = head.with_added(rows.view().rows(100, 300));
         ASSERT_EQ(grown.size(), 300);
         const Tensor queries = make_tensor({20, 18}, 6);
         const auto search = [&](const KnnGallery& gallery) {
           const Tensor distances(s.device, DType::kF64, {20, 7}, "d");
           const Tensor indices(s.device, DType::kI64, {20, 7}, "i");
           kernels::knn_gallery_search(s.device, {.queries = place(s, queries).view(),
                                                  .gallery = &gallery,
                                                  .k = 7,
                                                  .distances = distances,
                                                  .indices = indices});
           return std::pair(elements(distances), elements(indices));
         };
         EXPECT_EQ(search(grown), search(whole));
         // Without rows 0, 7 and 299: those of `whole` that remain, under their new numbers.
         const KnnGallery fewer = whole.with_removed({0, 7, 299});
         ASSERT_EQ(fewer.size(), 297);
         const Tensor kept(host(), DType::kF32, {297, 18}, "kept");
         const Tensor on_host = clone_to(rows, host());
         copy(on_host.view().rows(1, 7), kept.view().rows(0, 6));
         copy(on_host.view().rows(8, 299), kept.view().rows(6, 297));
         EXPECT_EQ(search(fewer), search(KnnGallery(s.device, clone_to(kept, s.device))));
         expect_error<InvalidArgument>("KnnGallery: row 300 to remove, expected 0 <= row < 300",
                                       [&] { (void)whole.with_removed({300}); });
         expect_error<InvalidArgument>("KnnGallery: row 3 to remove after row 3, expected rising rows", [&] {
           (void)whole.with_removed({3, 3});
         });
         expect_error<InvalidArgument>("KnnGallery: rows to add are f32 2x5, expected f32 n,18", [&] {
           (void)whole.with_added(make_tensor({2, 5}, 1));
         });
       }});
  cases.push_back({"knn_gallery_prepare", CaseKind::kEmpty, "no_rows", [](const Subject& s) {
                     const KnnGallery none(s.device, Tensor(s.device, DType::kF32, {0, 5}, "rows"));
                     EXPECT_EQ(none.size(), 0);
                     EXPECT_EQ(none.with_added(place(s, make_tensor({3, 5}, 1)).view()).size(), 3);
                   }});
  cases.push_back({"knn_gallery_prepare", CaseKind::kError, "types_and_nan", [](const Subject& s) {
                     const Tensor bad = make_tensor({70, 3}, 2);
                     bad.data<float>()[3 * 68] = NAN;
                     bad.data<float>()[3 * 41 + 2] = INFINITY;
                     expect_error<InvalidArgument>(
                         "knn_gallery_prepare: gallery row 41 holds inf at component 2",
                         [&] { const KnnGallery gallery(s.device, clone_to(bad, s.device)); });
                     expect_error<InvalidArgument>(
                         "knn_gallery_prepare: rows is i64 4x2, expected f32 or f16 or bf16 or u8", [&] {
                           const KnnGallery gallery(s.device, Tensor(s.device, DType::kI64, {4, 2}, "rows"));
                         });
                     expect_error<InvalidArgument>(
                         "knn_gallery_prepare: index is null, expected a place for the result", [&] {
                           kernels::knn_gallery_prepare(s.device, {place(s, make_tensor({4, 2}, 2)).view()});
                         });
                   }});
  cases.push_back(
      {"knn_gallery_prepare", CaseKind::kMisaligned, "rows_one_element_past_alignment", [](const Subject& s) {
         const Tensor rows = make_tensor({90, 11}, 7);
         const GuardedTensor placed = place(s, rows, Layout::kDense, Alignment::kMisaligned);
         std::shared_ptr<const kernels::KnnIndex> index;
         kernels::knn_gallery_prepare(s.device,
                                      {placed.view(), KnnMetric::kCosine, KnnFilter::kAuto, &index});
         ASSERT_NE(index, nullptr);
         EXPECT_GT(index->bytes(), 0);
         EXPECT_EQ(placed.damage(), "");
       }});
});

}  // namespace
}  // namespace panda::test
