// The pairs that the filter of knn_filter.cu keeps: their lists, the thresholds taken from them, and the
// answer (knn_hits.cu).
#pragma once

#include "kernels/cuda/knn_index.cuh"

namespace panda::kernels::PANDA_TARGET {

/// A pair that the filter could not discard.
struct KnnHit {
  float product;  ///< of the codes
  uint32_t row;
};

/// The lists of a chunk of queries, and what bounds a hit's distance.
struct KnnHitLists {
  const KnnRowBounds* rows;
  const KnnQueryBounds* queries;
  double* base;  ///< nq: tau (1 + 2 eta) - N, rounded up
  KnnHit* hits;  ///< nq, capacity
  unsigned* counts;
  int64_t nq;
  int capacity;
  int k;
  double relative_rounding;  ///< 2 eta of kL2, whose D is off by a share of itself; else 0
  double eta;
};

/// A number whose unsigned order is that of the value.
__device__ inline unsigned ordered(float value) {
  const unsigned bits = __float_as_uint(value);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000U;
}
__device__ inline float from_ordered(unsigned number) {
  return __uint_as_float((number >> 31) != 0 ? number & 0x7fffffffU : ~number);
}

/// The best score so far of a query, and of equal ones the first row: one number whose order is theirs.
__device__ inline unsigned long long knn_nearest_key(float score, int64_t row) {
  return static_cast<unsigned long long>(ordered(score)) << 32 | ~static_cast<unsigned>(row);
}

/// What a search has done, in the order of KnnStatistics.
struct KnnTotals {
  unsigned long long kept, survivors, given_up;
  unsigned long long open;  ///< queries that knn_settle_single left
};

struct KnnMeasureArgs {
  KnnHitLists lists;
  Vectors queries;
  Vectors gallery;
  const double* query_norms;  ///< kCosine
  const double* row_norms;    ///< kCosine
  int64_t d;
  float* distances_f32;  ///< one of the two is nullptr
  double* distances_f64;
  int64_t* indices;
  KnnTotals* totals;
  uint32_t* given_up;    ///< the queries, in any order
  const uint32_t* open;  ///< which queries; null: all
  int64_t count;         ///< of these
};

/// base of queries about which nothing is known yet.
void knn_open_thresholds(GpuDevice& device, const KnnHitLists& lists);
/// base from what the lists hold of a sample; empties them.
void knn_lower_thresholds(GpuDevice& device, const KnnHitLists& lists);
/// base from the nearest row of a sample, k = 1: nq keys, or 0 for a query that cannot be filtered. c: of
/// rows.
void knn_thresholds_of_nearest(GpuDevice& device, const KnnHitLists& lists, const unsigned long long* nearest,
                               const float* c);
/// The index of a query's only hit, k = 1: its distance is not asked for, and it need not be measured. The
/// other queries to `open`, in any order.
void knn_settle_single(GpuDevice& device, const KnnHitLists& lists, int64_t* indices, uint32_t* open,
                       KnnTotals* totals);
/// The results of all queries but those that are given up: whose lists were too short, or which cannot be
/// filtered.
void knn_measure_hits(GpuDevice& device, KnnMetric metric, const KnnMeasureArgs& args);

}  // namespace panda::kernels::PANDA_TARGET
