// What the kNN kernels share: vectors of several element types, the terms of the canonical sum
// (kernels/knn.h), the order of neighbours, and a search's operands.
#pragma once

#include "kernels/cuda/work.cuh"
#include "kernels/knn.h"

namespace panda::kernels::PANDA_TARGET {

inline constexpr int kKnnParts = 16;  // of a canonical sum
/// Components that a thread loads at once: 16 B of f32.
inline constexpr int kKnnLoadPack = 4;

inline constexpr int64_t kNoIndex = INT64_MAX;  // behind every neighbour

struct Neighbor {
  double distance;
  int64_t index;
};
__device__ inline bool precedes(const Neighbor& a, const Neighbor& b) {
  return a.distance < b.distance || (a.distance == b.distance && a.index < b.index);
}

/// A neighbour to a place of a search's results, whose distances are f64, or (distances_f64 null) f32.
template <typename Args>
__device__ void put_result(const Args& args, int64_t at, const Neighbor& neighbor) {
  args.indices[at] = neighbor.index;
  if (args.distances_f64 != nullptr) {
    args.distances_f64[at] = neighbor.distance;
  } else {
    args.distances_f32[at] = static_cast<float>(neighbor.distance);
  }
}

/// Vectors on the device, of one of the element types of kernels/knn.h.
struct Vectors {
  const void* data;
  DType dtype;
  bool packs;  ///< every row begins where a pack of kKnnLoadPack elements may

  template <typename T>
  __device__ const T* as() const {
    return static_cast<const T*>(data);
  }
};
inline Vectors vectors_of(const ConstTensorView& rows) {
  const bool packs =
      rows.shape()[1] % kKnnLoadPack == 0 && packs_fit(rows.raw(), kKnnLoadPack * dtype_bytes(rows.dtype()));
  return {rows.raw(), rows.dtype(), packs};
}

__device__ inline double widened(float value) {
  return value;
}
__device__ inline double widened(Float16 value) {
  return as_float(value);
}
__device__ inline double widened(BFloat16 value) {
  return as_float(value);
}
__device__ inline double widened(uint8_t value) {
  return value;
}
/// Element i; all threads of a warp take the same branch.
__device__ inline double widened(const Vectors& x, int64_t i) {
  if (x.dtype == DType::kF32) return widened(x.as<float>()[i]);
  if (x.dtype == DType::kF16) return widened(x.as<Float16>()[i]);
  if (x.dtype == DType::kBF16) return widened(x.as<BFloat16>()[i]);
  return widened(x.as<uint8_t>()[i]);
}

/// One term of the canonical sum.
template <KnnMetric kMetric>
__device__ double add_term(double sum, double q, double x) {
  if constexpr (kMetric == KnnMetric::kL2) {
    const double difference = __dsub_rn(q, x);
    return __dadd_rn(sum, __dmul_rn(difference, difference));
  }
  return __dadd_rn(sum, __dmul_rn(q, x));
}

/// The distance from the canonical sum; the product of the norms counts for kCosine.
template <KnnMetric kMetric>
__device__ double distance_from(double sum, double norms) {
  if constexpr (kMetric == KnnMetric::kL2) return sum;
  if constexpr (kMetric == KnnMetric::kInnerProduct) return -sum;
  return norms == 0 ? 1 : __dsub_rn(1, __ddiv_rn(sum, norms));
}

/// The end of a canonical sum whose parts s_j lie in lanes j of each half warp: s_j += s_{j+8}, s_{j+4},
/// s_{j+2}, s_{j+1}. a + b has the bits of b + a, so every lane gets the sum. By whole warps.
__device__ inline double join_parts(double part) {
#pragma unroll
  for (int step = kKnnParts / 2; step >= 1; step /= 2)
    part = __dadd_rn(part, __shfl_xor_sync(kWholeWarp, part, step));
  return part;
}

/// Calls body(T{}) with the element type of vectors.
template <typename Body>
void with_vector_type(DType dtype, Body&& body) {
  if (dtype == DType::kF32) return body(float{});
  if (dtype == DType::kF16) return body(Float16{});
  if (dtype == DType::kBF16) return body(BFloat16{});
  if (dtype == DType::kU8) return body(uint8_t{});
  throw InternalError(text("no kNN kernel for ", dtype_name(dtype)));
}

/// norms[i] = sqrt(S(x_i^2)), as kCosine divides by them; `norms` is on the device.
void launch_norms(GpuDevice& device, const ConstTensorView& rows, double* norms);

/// What every search is given: finite operands.
struct KnnProblem {
  const char* kernel;
  ConstTensorView queries;
  ConstTensorView gallery;
  KnnMetric metric;
  const double* row_norms;  ///< nb, for kCosine
  int64_t k;
  TensorView distances;
  TensorView indices;
  int64_t workspace_bytes;
  bool distances_wanted = true;  ///< or `distances` need not be filled
};

/// Measures every pair (knn_exact.cu).
void knn_exact_search(GpuDevice& device, const KnnProblem& problem);

}  // namespace panda::kernels::PANDA_TARGET
