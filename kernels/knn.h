// Exact k nearest neighbours by squared Euclidean distance.
//
// The result is the first k gallery rows in the order of (distance, index), where the distance is one number
// on every device:
//
//   D(q, x) = sum_i (q_i - x_i)^2 in f64: 16 partial sums, s_j over the i with i mod 16 = j in rising order
//   (difference, product and sum each rounded to f64, no fused multiply-add), then s_j += s_{j+8}, s_{j+4},
//   s_{j+2}, s_{j+1}.
//
// So indices and distances have the same bits for any device, thread count, batch and tile.
#pragma once

#include "kernels/tensor/tensor.h"

namespace panda::kernels {

/// queries: f32 nq,d · gallery: f32 nb,d, nb >= k >= 1 · distances: f32 or f64 nq,k (D rounded once to f32),
/// rising · indices: i64 nq,k. A NaN or an infinity in queries or gallery is an InvalidArgument that names
/// the row.
struct KnnSearchArgs {
  ConstTensorView queries;
  ConstTensorView gallery;
  int64_t k = 1;
  TensorView distances;
  TensorView indices;
};
void knn_search(Device& device, const KnnSearchArgs& args);

}  // namespace panda::kernels
