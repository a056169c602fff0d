// K-means of more points than memory holds: centers learn from minibatches, each with a rate of its own that
// falls with what it has met (Sculley, "Web-scale k-means clustering", WWW 2010).
//
//   pass p takes the points in an order drawn by (seed, p), cut into minibatches B of N points:
//   label_i = the first center in the order of (D(x_i, c_j), j) for i in B, centers as before B
//   W_j += w_i, S_j += w_i x_i     over i in B with label_i = j, in B's order, in f64
//   c_j  = S_j / W_j               rounded once to f32
//
// which is Sculley's c_j += (w_i / W_j) (x_i - c_j) for one point after the other, without its roundings: a
// center is the mean of the points that it was given so far. Here what it was given in earlier passes, by
// centers that are gone, counts less: each further pass begins with S_j / 8 and W_j / 8. D, assignment and
// sums are those of kernels/kmeans.h, so the result has the same bits for any device, instruction set and
// thread count.
//
// The order: points lie in runs of consecutive rows, up to 64 KiB of f32 but no more than N / 64 rows, and
// runs follow each other in a permutation that takes no memory (RandomOrder). So a minibatch comes from 64
// places of the points at least, and a file is read in pieces.
//
// Memory: of N points, of 3 max(N, k) points while centers to start from are chosen, and of k centers with
// their sums; none that grows with the number of points.
#pragma once

#include <functional>
#include <vector>

#include "kernels/kmeans.h"

namespace panda::kernels {

struct KmeansMinibatchOptions {
  int64_t k = 1;
  /// Points of a minibatch; the last of a pass has what is left.
  int64_t minibatch = 1024;
  /// At most so many passes over the points.
  int64_t passes = 10;
  /// Done when over a whole pass, in which no center was moved to a point, no center has moved farther
  /// (Euclidean, in units of the points); 0: when none has moved.
  double tolerance = 0;
  /// Done when for so many minibatches in a row the smoothed inertia has not fallen below its least; 0:
  /// never.
  int64_t patience = 10;
  /// A center is starved if of the weight met since the last count it was given no more than this share of
  /// the mean center's; 0: nothing. Centers are counted each n points, or each 1000 k if they are fewer.
  double starved = 0.01;
  /// As in KmeansOptions, of max(3 N, 3 k) points of positive weight: the first in an order of their own.
  KmeansStart start = KmeansStart::kPlusPlus;
  uint64_t seed = 0;
  /// f32 k,d on the host: where to start instead.
  ConstTensorView initial_centers = {};
};

/// Why it ended.
enum class KmeansStop : uint8_t { kPasses, kMovement, kInertia };
/// "passes", "movement", "inertia".
[[nodiscard]] const char* kmeans_stop_name(KmeansStop stop);

struct KmeansMinibatchResult {
  Tensor centers;               ///< f32 k,d on the host
  std::vector<double> weights;  ///< W_j
  int64_t minibatches = 0;      ///< updates made
  int64_t passes = 0;           ///< begun
  KmeansStop stop = KmeansStop::kPasses;
  double movement = 0;          ///< the farthest that a center moved in the last whole pass; infinite before
  double smoothed_inertia = 0;  ///< per unit of weight; NaN without patience or before the second minibatch
  int64_t reseeded = 0;         ///< starved centers that were given a point
};

/// The smoothed inertia e is that of minibatches by the centers before them: m = sum w_i D_i / sum w_i, of
/// the second e = m, then e += a (m - e) with a = min(1, 2 N / (n + 1)). (The first tells of the start
/// alone.)
///
/// A starved center begins again, with W_j = 0, at a point of the next minibatch, in rising order of centers:
/// drawn by w_i D_i, D_i the distance to the nearest center or point that was drawn before. Where every point
/// lies on one, centers stay as they are.
///
/// Throws InvalidArgument for k > n (of positive weight, where a start is chosen), a weight that is negative
/// or not finite, and a point that is not finite, naming it. Reports to `progress` and may be interrupted
/// after each minibatch.
[[nodiscard]] KmeansMinibatchResult kmeans_minibatch(Device& device, const KmeansPoints& points,
                                                     const KmeansMinibatchOptions& options,
                                                     Progress* progress = nullptr);

/// One pass over the points for given centers (f32 k,d on the host): returns the inertia, in f64 with i
/// rising, and hands labels, i64 on the host, to `visit` part by part (null: not wanted). They are what
/// kmeans gives for these centers. Throws as kmeans does.
double kmeans_assign(Device& device, const KmeansPoints& points, const ConstTensorView& centers,
                     const std::function<void(const ConstTensorView& labels)>& visit,
                     Progress* progress = nullptr);

}  // namespace panda::kernels
