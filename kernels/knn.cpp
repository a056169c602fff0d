#include "kernels/knn.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "kernels/checks.h"
#include "kernels/tensor/checked_math.h"

namespace panda::kernels {

namespace {

constexpr std::pair<KnnMetric, const char*> kMetrics[] = {
    {KnnMetric::kL2, "l2"}, {KnnMetric::kCosine, "cosine"}, {KnnMetric::kInnerProduct, "ip"}};
constexpr std::pair<KnnFilter, const char*> kFilters[] = {
    {KnnFilter::kAuto, "auto"}, {KnnFilter::kNone, "none"}, {KnnFilter::kF32, "f32"},
    {KnnFilter::kF16, "f16"},   {KnnFilter::kBF16, "bf16"}, {KnnFilter::kInt16, "int16"},
    {KnnFilter::kInt8, "int8"}};

template <typename Names, typename Value>
const char* name_of(const Names& names, Value value) {
  for (const auto& [known, name] : names) {
    if (known == value) return name;
  }
  return "unknown";
}

constexpr std::initializer_list<DType> kVectorTypes = {DType::kF32, DType::kF16, DType::kBF16, DType::kU8};

void check_result(const OperandCheck& check, const char* kernel, const ConstTensorView& queries,
                  const ConstTensorView& gallery, int64_t k, const TensorView& distances,
                  const TensorView& indices) {
  const int64_t nq = queries.shape()[0];
  const int64_t nb = gallery.shape()[0];
  PANDA_CHECK(queries.shape()[1] == gallery.shape()[1], kernel, ": queries have d=", queries.shape()[1],
              " but the gallery has d=", gallery.shape()[1]);
  PANDA_CHECK(k >= 1 && k <= nb, kernel, ": k=", k, " with a gallery of ", nb,
              " vectors, expected 1 <= k <= ", nb);
  if (distances.present()) check.shape("distances", distances, {nq, k}, {DType::kF32, DType::kF64});
  check.shape("indices", indices, {nq, k}, {DType::kI64});
  check.no_overlap("indices", indices, "queries", queries);
  check.no_overlap("indices", indices, "gallery", gallery);
  if (!distances.present()) return;
  check.no_overlap("distances", distances, "queries", queries);
  check.no_overlap("distances", distances, "gallery", gallery);
  check.no_overlap("distances", distances, "indices", indices);
}

}  // namespace

const char* knn_metric_name(KnnMetric metric) {
  return name_of(kMetrics, metric);
}

KnnMetric knn_metric_from_name(const std::string& name) {
  for (const auto& [metric, known] : kMetrics) {
    if (name == known) return metric;
  }
  throw InvalidArgument(text("metric '", printable(name), "', expected l2, cosine or ip"));
}

const char* knn_filter_name(KnnFilter filter) {
  return name_of(kFilters, filter);
}

KnnFilter knn_filter_from_name(const std::string& name) {
  for (const auto& [filter, known] : kFilters) {
    if (name == known) return filter;
  }
  throw InvalidArgument(
      text("filter '", printable(name), "', expected auto, none, f32, f16, bf16, int16 or int8"));
}

void knn_search(Device& device, const KnnSearchArgs& args) {
  const OperandCheck check("knn_search", device);
  check.present("queries", args.queries, 2);
  check.present("gallery", args.gallery, 2);
  check.present("distances", args.distances, 2, {DType::kF32, DType::kF64});
  check_result(check, "knn_search", args.queries, args.gallery, args.k, args.distances, args.indices);
  if (args.queries.shape()[0] == 0) return;
  launch("knn_search", device.kernels().knn_search, device, args);
}

void knn_gallery_prepare(Device& device, const KnnGalleryPrepareArgs& args) {
  const OperandCheck check("knn_gallery_prepare", device);
  check.present("rows", args.rows, 2, kVectorTypes);
  check.dense("rows", args.rows);
  PANDA_CHECK(args.index != nullptr, "knn_gallery_prepare: index is null, expected a place for the result");
  launch("knn_gallery_prepare", device.kernels().knn_gallery_prepare, device, args);
}

void knn_gallery_search(Device& device, const KnnGallerySearchArgs& args) {
  const OperandCheck check("knn_gallery_search", device);
  PANDA_CHECK(args.gallery != nullptr && args.gallery->rows().present(),
              "knn_gallery_search: there is no gallery");
  const ConstTensorView rows = args.gallery->rows();
  check.present("queries", args.queries, 2, kVectorTypes);
  check.dense("queries", args.queries);
  check.present("gallery", rows, 2, kVectorTypes);
  check_result(check, "knn_gallery_search", args.queries, rows, args.k, args.distances, args.indices);
  if (args.statistics != nullptr) *args.statistics = {};
  if (args.queries.shape()[0] == 0) return;
  if (args.gallery->index() == nullptr) {
    // No prepared galleries on this device: its knn_search has the same result.
    PANDA_CHECK(args.queries.dtype() == DType::kF32, "knn_gallery_search: queries are ",
                args.queries.to_string(), ", expected f32 on device ", device.name());
    knn_search(device, {args.queries, rows, args.k, args.distances, args.indices});
    if (args.statistics != nullptr) args.statistics->survivors = args.queries.shape()[0] * rows.shape()[0];
    return;
  }
  launch("knn_gallery_search", device.kernels().knn_gallery_search, device, args);
}

KnnGallery::KnnGallery(Device& device, Tensor rows, KnnMetric metric, KnnFilter filter)
    : device_(&device), rows_(std::move(rows)), metric_(metric), filter_(filter) {
  if (device.kernels().knn_gallery_prepare == nullptr && metric == KnnMetric::kL2 && rows_.present() &&
      rows_.dtype() == DType::kF32) {
    const OperandCheck check("knn_gallery_prepare", device);
    check.present("rows", rows_, 2);
    return;
  }
  knn_gallery_prepare(device, {rows_, metric, filter, &index_});
}

KnnGallery KnnGallery::with_added(const ConstTensorView& more) const {
  PANDA_CHECK(more.present() && more.shape().rank() == 2 && more.dtype() == rows_.dtype() &&
                  more.shape()[1] == dimension() && more.layout() == Layout::kDense,
              "KnnGallery: rows to add are ", more.to_string(), ", expected ", dtype_name(rows_.dtype()),
              " n,", dimension());
  Tensor all(*device_, rows_.dtype(), {checked_add(size(), more.shape()[0]), dimension()}, "gallery");
  copy(rows_.view(), all.view().rows(0, size()));
  copy(more, all.view().rows(size(), all.shape()[0]));
  return KnnGallery(*device_, std::move(all), metric_, filter_);
}

KnnGallery KnnGallery::with_removed(const std::vector<int64_t>& indices) const {
  for (size_t i = 0; i < indices.size(); ++i) {
    PANDA_CHECK(indices[i] >= 0 && indices[i] < size(), "KnnGallery: row ", indices[i],
                " to remove, expected 0 <= row < ", size());
    PANDA_CHECK(i == 0 || indices[i] > indices[i - 1], "KnnGallery: row ", indices[i],
                " to remove after row ", indices[i - 1], ", expected rising rows");
  }
  Tensor kept(*device_, rows_.dtype(), {size() - static_cast<int64_t>(indices.size()), dimension()},
              "gallery");
  int64_t from = 0;
  int64_t to = 0;
  const auto copy_until = [&](int64_t end) {
    if (end > from) copy(rows_.view().rows(from, end), kept.view().rows(to, to + end - from));
    to += end - from;
    from = end + 1;
  };
  for (const int64_t index : indices) copy_until(index);
  copy_until(size());
  return KnnGallery(*device_, std::move(kept), metric_, filter_);
}

void knn_merge(const TensorView& distances, const TensorView& indices, const ConstTensorView& more_distances,
               const ConstTensorView& more_indices, int64_t offset) {
  const int64_t nq = distances.shape()[0];
  const int64_t k = distances.shape()[1];
  const int64_t more_k = more_distances.shape()[1];
  PANDA_CHECK(indices.shape() == distances.shape() && more_indices.shape() == more_distances.shape() &&
                  more_distances.shape()[0] == nq,
              "knn_merge: ", more_distances.shape(), " into ", distances.shape(), ", expected equal rows");
  std::vector<std::pair<double, int64_t>> merged(static_cast<size_t>(k));
  for (int64_t query = 0; query < nq; ++query) {
    double* d = distances.data<double>() + query * k;
    int64_t* index = indices.data<int64_t>() + query * k;
    const double* more_d = more_distances.data<double>() + query * more_k;
    const int64_t* more_index = more_indices.data<int64_t>() + query * more_k;
    int64_t a = 0;
    int64_t b = 0;
    for (auto& [distance, place] : merged) {
      const bool have_a = a < k && index[a] >= 0;
      const bool have_b = b < more_k && more_index[b] >= 0;
      if (!have_a && !have_b) {
        distance = 0;
        place = -1;
      } else if (have_a &&
                 (!have_b || std::pair(d[a], index[a]) < std::pair(more_d[b], more_index[b] + offset))) {
        distance = d[a];
        place = index[a++];
      } else {
        distance = more_d[b];
        place = more_index[b++] + offset;
      }
    }
    for (int64_t j = 0; j < k; ++j) std::tie(d[j], index[j]) = merged[static_cast<size_t>(j)];
  }
}

}  // namespace panda::kernels
