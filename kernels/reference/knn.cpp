#include "kernels/knn.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "kernels/reference/reference_kernels.h"

namespace panda::kernels::reference {

namespace {

/// Vectors of any dtype, as f64.
struct Rows {
  int64_t count;
  int64_t d;
  std::vector<double> elements;

  [[nodiscard]] const double* row(int64_t i) const { return elements.data() + i * d; }
};

double element(const ConstTensorView& view, int64_t i) {
  switch (view.dtype()) {
    case DType::kF16:
      return to_float(view.data<Float16>()[i]);
    case DType::kBF16:
      return to_float(view.data<BFloat16>()[i]);
    case DType::kU8:
      return view.data<uint8_t>()[i];
    default:
      return view.data<float>()[i];
  }
}

Rows finite_rows(const char* kernel, const char* name, const ConstTensorView& view) {
  Rows rows{view.shape()[0], view.shape()[1], std::vector<double>(static_cast<size_t>(view.numel()))};
  for (int64_t i = 0; i < view.numel(); ++i) {
    const double x = element(view, i);
    PANDA_CHECK(std::isfinite(x), kernel, ": ", name, " row ", i / rows.d, " holds ", x, " at component ",
                i % rows.d);
    rows.elements[static_cast<size_t>(i)] = x;
  }
  return rows;
}

/// S of kernels/knn.h.
template <typename Term>
double sum_in_16_parts(int64_t d, Term term) {
  std::array<double, 16> sums{};
  for (int64_t i = 0; i < d; ++i) sums[static_cast<size_t>(i % 16)] += term(i);
  for (size_t half = 8; half >= 1; half /= 2) {
    for (size_t j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  return sums[0];
}

double product(const double* q, const double* x, int64_t d) {
  return sum_in_16_parts(d, [&](int64_t i) { return q[i] * x[i]; });
}

double distance(KnnMetric metric, const double* q, const double* x, int64_t d) {
  switch (metric) {
    case KnnMetric::kL2:
      return sum_in_16_parts(d, [&](int64_t i) {
        const double difference = q[i] - x[i];
        return difference * difference;
      });
    case KnnMetric::kInnerProduct:
      return -product(q, x, d);
    case KnnMetric::kCosine:
      break;
  }
  const double norms = std::sqrt(product(q, q, d)) * std::sqrt(product(x, x, d));
  return norms == 0 ? 1 : 1 - product(q, x, d) / norms;
}

void search(KnnMetric metric, const Rows& queries, const Rows& gallery, int64_t k,
            const TensorView& distances, const TensorView& indices) {
  std::vector<std::pair<double, int64_t>> candidates(static_cast<size_t>(gallery.count));
  for (int64_t i = 0; i < queries.count; ++i) {
    for (int64_t j = 0; j < gallery.count; ++j) {
      candidates[static_cast<size_t>(j)] = {distance(metric, queries.row(i), gallery.row(j), gallery.d), j};
    }
    std::partial_sort(candidates.begin(), candidates.begin() + k, candidates.end());
    for (int64_t j = 0; j < k; ++j) {
      const auto& [best, index] = candidates[static_cast<size_t>(j)];
      indices.data<int64_t>()[i * k + j] = index;
      if (!distances.present()) continue;
      if (distances.dtype() == DType::kF64) {
        distances.data<double>()[i * k + j] = best;
      } else {
        distances.data<float>()[i * k + j] = static_cast<float>(best);
      }
    }
  }
}

/// The rows themselves: there is nothing to prepare for plain loops but the check.
class ReferenceIndex final : public KnnIndex {
 public:
  explicit ReferenceIndex(Rows rows) : rows_(std::move(rows)) {}
  [[nodiscard]] int64_t bytes() const override { return static_cast<int64_t>(rows_.elements.size()) * 8; }
  [[nodiscard]] KnnFilter filter() const override { return KnnFilter::kNone; }
  [[nodiscard]] const Rows& rows() const { return rows_; }

 private:
  Rows rows_;
};

}  // namespace

void knn_search(Device&, const KnnSearchArgs& args) {
  const Rows queries = finite_rows("knn_search", "queries", args.queries);
  const Rows gallery = finite_rows("knn_search", "gallery", args.gallery);
  search(KnnMetric::kL2, queries, gallery, args.k, args.distances, args.indices);
}

void knn_gallery_prepare(Device&, const KnnGalleryPrepareArgs& args) {
  *args.index = std::make_shared<ReferenceIndex>(finite_rows("knn_gallery_prepare", "gallery", args.rows));
}

void knn_gallery_search(Device&, const KnnGallerySearchArgs& args) {
  const Rows queries = finite_rows("knn_gallery_search", "queries", args.queries);
  const Rows& gallery = static_cast<const ReferenceIndex&>(*args.gallery->index()).rows();
  search(args.gallery->metric(), queries, gallery, args.k, args.distances, args.indices);
  if (args.statistics != nullptr) args.statistics->survivors = queries.count * gallery.count;
}

}  // namespace panda::kernels::reference
