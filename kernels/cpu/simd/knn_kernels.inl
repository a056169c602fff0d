// Everything that one instruction set's KnnKernels holds.
namespace {
#include "kernels/cpu/simd/vector.inl"

#include "kernels/cpu/simd/knn_bounds.inl"
#include "kernels/cpu/simd/knn_codes.inl"
#include "kernels/cpu/simd/knn_thresholds.inl"
#include "kernels/cpu/simd/knn_filter.inl"

int64_t calls() {
  return __atomic_load_n(&call_count, __ATOMIC_RELAXED);
}
}  // namespace

const KnnKernels kKnnKernels = {
#if defined(__AVX512VNNI__)
    .isa = "avx512vnni",
#else
    .isa = kIsaName,
#endif
    .calls = calls,
    .max_tile = kMaxTile,
    .filter =
        {
            filter_panel<KnnCode::kF32>,
            filter_panel<KnnCode::kI16>,
#if defined(__AVX512VNNI__)
            filter_panel<KnnCode::kI8>,
#else
            nullptr,
#endif
        },
    .products =
        {
            panel_products<KnnCode::kF32>,
            panel_products<KnnCode::kI16>,
#if defined(__AVX512VNNI__)
            panel_products<KnnCode::kI8>,
#else
            nullptr,
#endif
        },
    .bounds = bounds,
    .about_kth = about_kth,
    .places_at_most = places_at_most,
    .ranks = ranks,
    .largest_magnitude = largest_magnitude,
    .squared_distances = squared_distances,
    .center_row = center_row,
    .encode_row = encode_row,
    .code_error = code_error,
    .code_sum = code_sum,
};
