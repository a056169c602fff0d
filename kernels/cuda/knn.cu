// knn_search, knn_gallery_prepare, knn_gallery_search (kernels/knn.h) on the GPU: operands looked through for
// what is not finite, and the choice between the filter (knn_filter.cu) and measuring every pair
// (knn_exact.cu), which decides nothing but the time.
//
// READS   the operands once · LAUNCH a thread for some 16 elements
#include <memory>
#include <type_traits>

#include "kernels/cuda/gpu_kernels.h"
#include "kernels/cuda/knn_filter.cuh"

namespace panda::kernels::PANDA_TARGET {

namespace {

constexpr int64_t kWorkspaceBytes = KnnOptions{}.workspace_bytes;

/// first[0] becomes the lowest index of an element that is not finite; it stays if there is none.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    find_not_finite(const T* __restrict__ x, int64_t count, unsigned long long* first) {
  const int64_t threads = int64_t{gridDim.x} * kBlockThreads;
  for (int64_t i = thread_index(); i < count; i += threads) {
    constexpr unsigned kExponent = 0x7f800000U;
    if ((__float_as_uint(as_float(x[i])) & kExponent) == kExponent) {
      atomicMin(first, static_cast<unsigned long long>(i));  // a minimum has no order
      return;  // the thread's later elements have higher indices
    }
  }
}

/// Throws InvalidArgument naming the first component that is not finite. It waits for the device.
void check_finite(GpuDevice& device, const char* kernel, const char* name, const ConstTensorView& rows) {
  if (rows.numel() == 0 || rows.dtype() == DType::kU8) return;
  constexpr unsigned long long kNone = ~0ULL;
  const Storage found(device, sizeof(unsigned long long), kernel);
  auto* first = static_cast<unsigned long long*>(found.data());
  device.fill(first, 0xff, found.bytes());
  with_vector_type(rows.dtype(), [&](auto element) {
    using T = decltype(element);
    if constexpr (!std::is_same_v<T, uint8_t>) {
      constexpr int64_t kPerThread = 16;  // enough loads in flight; a thread that finds something ends there
      PANDA_LAUNCH((find_not_finite<T>), grid_for(rows.numel(), kBlockThreads * kPerThread),
                   dim3(kBlockThreads), 0, device, rows.data<T>(), rows.numel(), first);
      unsigned long long at = kNone;
      device.copy_to_host(&at, first, sizeof at);
      if (at == kNone) return;
      T bad;
      device.copy_to_host(&bad, rows.data<T>() + at, sizeof bad);
      const auto d = static_cast<unsigned long long>(rows.shape()[1]);
      float value;
      if constexpr (std::is_same_v<T, float>) {
        value = bad;
      } else {
        value = to_float(bad);
      }
      throw InvalidArgument(
          text(kernel, ": ", name, " row ", at / d, " holds ", value, " at component ", at % d));
    }
  });
}

/// Whether the filter's launches and its look at the samples cost less than measuring every pair does: some
/// 50 us against 3 f64 operations a component, of which the GPUs named here make 64 times as many as the
/// others.
bool filter_pays(const GpuProperties& gpu, const KnnProblem& problem) {
  const bool fast_f64 =
      gpu.compute_capability == 80 || gpu.compute_capability == 90 || gpu.compute_capability == 100;
  const double components =
      static_cast<double>(problem.queries.numel()) * static_cast<double>(problem.gallery.shape()[0]);
  return components > (fast_f64 ? 0x1p28 : 0x1p22);
}

KnnStatistics search(GpuDevice& device, const GpuKnnIndex& index, const KnnProblem& problem) {
  if (problem.queries.shape()[0] > 0 && index.filter() != KnnFilter::kNone &&
      problem.k <= kKnnFilterMostNeighbours &&
      (!index.automatic() || filter_pays(device.properties(), problem)))
    return knn_filtered_search(device, index, problem, knn_tiles(device.properties()));
  knn_exact_search(device, problem);
  const int64_t pairs = checked_mul(problem.queries.shape()[0], problem.gallery.shape()[0]);
  return {KnnFilter::kNone, 0, pairs, 0};
}

}  // namespace

void knn_search(Device& base, const KnnSearchArgs& args) {
  GpuDevice& device = gpu_device(base);
  check_finite(device, "knn_search", "queries", args.queries);
  check_finite(device, "knn_search", "gallery", args.gallery);
  const KnnProblem problem = {"knn_search", args.queries,   args.gallery, KnnMetric::kL2, nullptr,
                              args.k,       args.distances, args.indices, kWorkspaceBytes};
  if (filter_pays(device.properties(), problem)) {
    search(device, GpuKnnIndex(device, {args.gallery}), problem);
  } else {
    knn_exact_search(device, problem);
  }
}

void knn_gallery_prepare(Device& base, const KnnGalleryPrepareArgs& args) {
  GpuDevice& device = gpu_device(base);
  check_finite(device, "knn_gallery_prepare", "gallery", args.rows);
  *args.index = std::make_shared<GpuKnnIndex>(device, args);
}

void knn_gallery_search(Device& base, const KnnGallerySearchArgs& args) {
  GpuDevice& device = gpu_device(base);
  check_finite(device, "knn_gallery_search", "queries", args.queries);
  const KnnGallery& gallery = *args.gallery;
  const auto& index = static_cast<const GpuKnnIndex&>(*gallery.index());
  Tensor unwanted;
  if (!args.distances.present())
    unwanted = Tensor(device, DType::kF64, args.indices.shape(), "knn distances");
  const KnnStatistics statistics =
      search(device, index,
             {"knn_gallery_search", args.queries, gallery.rows(), gallery.metric(), index.norms(), args.k,
              args.distances.present() ? args.distances : unwanted.view(), args.indices,
              args.options.workspace_bytes, args.distances.present()});
  if (args.statistics != nullptr) *args.statistics = statistics;
}

}  // namespace panda::kernels::PANDA_TARGET
