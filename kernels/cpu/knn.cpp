// Exact k nearest neighbours on the cpu device: what the table calls.
#include "kernels/knn.h"

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/knn_one_row.h"
#include "kernels/cpu/knn_search.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

namespace {

/// Queries from which on preparing a gallery for one search pays: it reads each row a few times, the plain
/// search once per query.
constexpr int64_t kPreparedQueries = 24;
/// Queries from which on a trial of the filter pays.
constexpr int64_t kTriedQueries = 512;
/// Rows prepared at a time in a search of a gallery that nobody prepared: their codes are bounded by this.
constexpr int64_t kCodeBytes = int64_t{96} << 20;

}  // namespace

void knn_search(Device& base, const KnnSearchArgs& args) {
  CpuDevice& device = cpu_device(base);
  const int64_t nq = args.queries.shape()[0];
  const int64_t nb = args.gallery.shape()[0];
  const int64_t d = args.gallery.shape()[1];
  const KnnFilter filter = nq >= kPreparedQueries ? KnnFilter::kAuto : KnnFilter::kNone;
  const KnnOptions options;
  const auto search = [&](const ConstTensorView& rows, int64_t k, const TensorView& distances,
                          const TensorView& indices, int64_t first_row) {
    const CpuKnnIndex index(device, {rows, KnnMetric::kL2, filter, nullptr}, "knn_search", first_row,
                            nq < kTriedQueries);
    static_cast<void>(knn_certified_search(device, {.index = &index,
                                                    .kernel = "knn_search",
                                                    .queries = KnnRows(device, args.queries),
                                                    .k = k,
                                                    .distances = distances,
                                                    .indices = indices,
                                                    .workspace_bytes = options.workspace_bytes}));
  };
  const int64_t rows_at_once = std::max(kCodeBytes / std::max<int64_t>(4 * d, 1), int64_t{1024});
  if (filter == KnnFilter::kNone || nb <= rows_at_once) {
    search(args.gallery, args.k, args.distances, args.indices, 0);
    return;
  }
  const Tensor distances(device, DType::kF64, {nq, args.k}, "knn distances");
  std::fill_n(args.indices.data<int64_t>(), nq * args.k, int64_t{-1});
  for (int64_t row = 0; row < nb; row += rows_at_once) {
    const ConstTensorView rows = args.gallery.rows(row, std::min(nb, row + rows_at_once));
    const int64_t k = std::min(args.k, rows.shape()[0]);
    const Tensor part_distances(device, DType::kF64, {nq, k}, "knn distances");
    const Tensor part_indices(device, DType::kI64, {nq, k}, "knn indices");
    search(rows, k, part_distances, part_indices, row);
    knn_merge(distances, args.indices, part_distances, part_indices, row);
  }
  for (int64_t i = 0; i < nq * args.k; ++i) {
    const double distance = distances.data<double>()[i];
    if (args.distances.dtype() == DType::kF64) {
      args.distances.data<double>()[i] = distance;
    } else {
      args.distances.data<float>()[i] = static_cast<float>(distance);
    }
  }
}

void knn_gallery_search(Device& base, const KnnGallerySearchArgs& args) {
  CpuDevice& device = cpu_device(base);
  const auto& index = static_cast<const CpuKnnIndex&>(*args.gallery->index());
  const KnnSearchPlan plan{.index = &index,
                           .kernel = "knn_gallery_search",
                           .queries = KnnRows(device, args.queries),
                           .k = args.k,
                           .distances = args.distances,
                           .indices = args.indices,
                           .workspace_bytes = args.options.workspace_bytes};
  const KnnStatistics statistics =
      knn_one_row_serves(plan) ? knn_one_row_search(device, plan) : knn_certified_search(device, plan);
  if (args.statistics != nullptr) *args.statistics = statistics;
}

}  // namespace panda::kernels::cpu
