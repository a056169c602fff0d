// K-means: centers that make the weighted sum of squared distances to the nearest center small (Lloyd 1982).
//
//   label_i  = the first center in the order of (D(x_i, c_j), j), D the squared L2 distance of kernels/knn.h
//   inertia  = sum_i w_i D(x_i, c_{label_i})                   in f64, i rising
//   c_j      = (sum_i w_i x_i) / (sum_i w_i) over label_i = j  the former exact (below), rounded to f32
//
// Assignment is the certified exact search of kernels/knn.h with k = 1, and sums are taken so that no
// addition rounds: they do not depend on an order, and a point that changes its cluster is taken from one sum
// and added to another. So centers, labels and inertia have the same bits for any device, instruction set,
// thread count, and any cut of the points into parts: points that are read from a file in parts give what
// they would give in memory.
//
// Most points keep their label from one update to the next. Where the device's search says how far the second
// center is at least, a point is searched again only when the centers may have moved too much since (Hamerly
// 2010, "Making k-means even faster"); it changes no bit.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "kernels/tensor/progress.h"
#include "kernels/tensor/tensor.h"

namespace panda::kernels {

/// sums[j,:] += w_i x_i for i = members[offsets[j]] .. members[offsets[j + 1] - 1], in that order, each
/// product and each addition rounded to f64.
/// points: f32 n,d, dense · weights: f32 n, dense, or absent (all 1) · members: on the host, each in [0, n) ·
/// offsets: on the host, k + 1, rising from 0 to members.size() · sums: f64 k,d, dense, accumulated into.
struct KmeansAccumulateArgs {
  ConstTensorView points;
  ConstTensorView weights;
  std::span<const int64_t> members;
  std::span<const int64_t> offsets;
  TensorView sums;
};
void kmeans_accumulate(Device& device, const KmeansAccumulateArgs& args);

/// Points that change their clusters. Where after[i] is not before[i], point i leaves the sum of before[i]
/// (of none if that is -1) and joins that of after[i]; counts[j], of points of positive weight, follow.
/// Sums do not round. v = w_i x_i is exact in f64; of each column, with the two numbers of `grid`,
///   coarse = (v + grid[0]) - grid[0], fine = ((v - coarse) + grid[1]) - grid[1]
/// round v to a multiple of a unit, and what is left to one of a smaller unit; sums[0,j,:] are of coarse
/// parts, sums[1,j,:] of fine ones. With kmeans_grid's units every such sum of up to n points fits the 53
/// bits of f64, so it is that of its members, whatever the order in which they came.
/// points: f32 n,d, dense · weights: f32 n, dense, or absent (all 1) · before: i64 n, each in [-1, k) ·
/// after: i64 n, each in [0, k); neither is checked · grid: f64 2,d, dense · sums: f64 2,k,d, dense ·
/// counts: i64 k.
struct KmeansExchangeArgs {
  ConstTensorView points;
  ConstTensorView weights;
  ConstTensorView before;
  ConstTensorView after;
  ConstTensorView grid;
  TensorView sums;
  TensorView counts;
};
void kmeans_exchange(Device& device, const KmeansExchangeArgs& args);

/// For sums of at most n points, column c of them not above largest[c] and weights not above
/// `largest_weight`: f64 2,d on the host. The smaller unit is 2^(2 b - 105) of the column's largest product,
/// rounded up to a power of two, b = max(1, ceil(log2 n)): what is nearer to 0 than 2^(2 b - 82) of it is
/// rounded. Throws InvalidArgument for n > 2^40.
[[nodiscard]] Tensor kmeans_grid(std::span<const float> largest, double largest_weight, int64_t n);

enum class KmeansStart : uint8_t { kPlusPlus, kRandom };
/// "kmeans++", "random": what --init takes.
[[nodiscard]] const char* kmeans_start_name(KmeansStart start);
/// Inverse of kmeans_start_name; throws InvalidArgument.
[[nodiscard]] KmeansStart kmeans_start_from_name(const std::string& name);

/// Points that are read by ranges of rows.
struct KmeansPoints {
  int64_t n = 0;
  int64_t d = 0;
  /// Rows [begin, end), f32, dense, on the host or on the device of the search. `owner` keeps them, if they
  /// are not in memory anyway.
  std::function<ConstTensorView(int64_t begin, int64_t end, Tensor& owner)> read;
  /// f32 n on the host, finite and >= 0; absent: all 1. A point of weight 0 gets a label and moves nothing.
  ConstTensorView weights;
  /// Weights [begin, end), f32 on the host, as `read` reads points: in place of `weights`, where not even
  /// they fit memory. Of kmeans_minibatch and kmeans_assign (kernels/kmeans_minibatch.h) alone.
  std::function<ConstTensorView(int64_t begin, int64_t end, Tensor& owner)> read_weights = {};
  /// Bytes of points read at a time.
  int64_t part_bytes = int64_t{64} << 20;
  /// Points lie in pieces of so many (the last may be shorter), and what is read at a time is of one piece;
  /// 0: they are one piece.
  int64_t piece_rows = 0;

  /// points: f32 n,d, dense; must outlive this.
  [[nodiscard]] static KmeansPoints of(const ConstTensorView& points);
};

struct KmeansOptions {
  int64_t k = 1;
  /// At most so many updates of the centers.
  int64_t iterations = 25;
  /// Done when no center has moved farther (Euclidean, in units of the points); 0: when none has moved.
  double tolerance = 0;
  /// kRandom: k different points, uniformly among those of positive weight. kPlusPlus (Arthur and
  /// Vassilvitskii 2007): the first with probability in proportion to w_i, each further one to w_i D_i, D_i
  /// the distance to the nearest so far; it reads the points k - 1 times.
  KmeansStart start = KmeansStart::kPlusPlus;
  uint64_t seed = 0;
  /// f32 k,d on the host: where to start instead.
  ConstTensorView initial_centers = {};
};

struct KmeansResult {
  Tensor centers;          ///< f32 k,d on the host
  Tensor labels;           ///< i64 n on the host: the nearest of `centers`
  double inertia = 0;      ///< of `centers` and `labels`
  int64_t iterations = 0;  ///< updates made
  double movement = 0;     ///< the farthest that a center moved in the last update
  bool converged = false;  ///< movement <= tolerance
  int64_t reseeded = 0;    ///< empty clusters that were given a point, over all updates
};

/// Before an update, each cluster without weight takes, in rising order, the point that is farthest from its
/// center (the lower index first among equals), of those of positive weight whose cluster keeps another one.
/// Points on their centers are not taken: with fewer different points than k, centers stay where they are.
///
/// Points are read once more than they are met by centers. Memory beside the points' part: 24 bytes per point
/// (36 while k-means++ chooses), 48 per point of a part, and 28 k d. Throws
/// InvalidArgument for k > n (with weights: points of positive weight), a weight that is negative or not
/// finite, and a point that is not finite, naming it. Reports to `progress` and may be interrupted between
/// parts.
[[nodiscard]] KmeansResult kmeans(Device& device, const KmeansPoints& points, const KmeansOptions& options,
                                  Progress* progress = nullptr);

}  // namespace panda::kernels
