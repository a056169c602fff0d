// What kmeans.cpp, kmeans_minibatch.cpp and kmeans_start.cpp share: the points, in parts and on the device
// (kmeans_points.cpp), and steps of an update.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "kernels/kmeans.h"
#include "kernels/knn.h"
#include "kernels/tensor/random.h"

namespace panda::kernels {

/// Throws InvalidArgument unless point i may have this weight.
inline void check_weight(int64_t i, float weight) {
  PANDA_CHECK(std::isfinite(weight) && weight >= 0, "kmeans: weight ", i, " is ", weight,
              ", expected a finite number >= 0");
}

/// Centers to start from: f32 k,d on the host, finite.
void check_initial_centers(const ConstTensorView& centers, int64_t k, int64_t d);

class PointReader {
 public:
  PointReader(Device& device, const KmeansPoints& points) : device_(device), points_(points) {}

  [[nodiscard]] int64_t n() const { return points_.n; }
  [[nodiscard]] int64_t d() const { return points_.d; }
  [[nodiscard]] const ConstTensorView& weights() const { return points_.weights; }
  [[nodiscard]] double weight(int64_t i) const {
    return points_.weights.present() ? double{points_.weights.data<float>()[i]} : 1.0;
  }

  using Visit = std::function<void(const ConstTensorView& part, int64_t begin, int64_t end)>;
  /// Calls `visit(part, begin, end)` for rows [begin, end) after rows, on the device, in parts that are short
  /// enough for a report when each point meets k centers. The first time that a point is seen it is checked:
  /// InvalidArgument if it is not finite.
  void for_each_part(int64_t k, const Visit& visit);
  /// The largest size of each column; all points are checked. Reports as "reading points".
  [[nodiscard]] std::vector<float> survey(Progress* progress);

  /// One point, f32 1,d on the host.
  [[nodiscard]] Tensor point(int64_t i);
  /// Points [begin, end), checked, into `rows`: f32 end - begin,d on the host.
  void read(int64_t begin, int64_t end, const TensorView& rows);
  /// Weights [begin, end), checked: f32 on the host; absent if points have none. `owner` keeps them.
  [[nodiscard]] ConstTensorView read_weights(int64_t begin, int64_t end, Tensor& owner) const;

  /// Index and distance of each row's nearest gallery vector. labels: i64, on the host or on the device ·
  /// distances: on the host; null: not wanted.
  void nearest(const ConstTensorView& part, const KnnGallery& gallery, const TensorView& labels,
               double* distances);
  void nearest(const ConstTensorView& part, const KnnGallery& gallery, int64_t* labels, double* distances) {
    nearest(part, gallery, TensorView(labels, DType::kI64, {part.shape()[0]}, host()), distances);
  }

 private:
  /// One behind the last point of the piece in which point i lies.
  [[nodiscard]] int64_t end_of_piece(int64_t i) const {
    const int64_t piece = points_.piece_rows > 0 ? points_.piece_rows : n();
    return std::min(n(), (i / piece + 1) * piece);
  }
  void for_each_read(int64_t k, const Visit& visit);
  void check_part(const ConstTensorView& part, int64_t begin, int64_t end) const;
  void check_finite(const ConstTensorView& part, int64_t begin) const;

  Device& device_;
  const KmeansPoints& points_;
  int64_t checked_ = 0;
};

/// How far each center moved: Euclidean, in f64.
[[nodiscard]] std::vector<double> center_movements(const Tensor& from, const Tensor& to);

/// i with probability masses[i] / sum: the first whose running sum (i rising, f64) passes a uniform number;
/// -1, and no number is drawn, if all masses are 0. `running`: overwritten.
[[nodiscard]] int64_t draw_by_mass(const std::vector<double>& masses, std::vector<double>& running,
                                   Random& random);

/// k points to start from, as options.start says: f32 k,d on the host.
[[nodiscard]] Tensor kmeans_start(Device& device, PointReader& points, const KmeansOptions& options,
                                  Progress* progress);

}  // namespace panda::kernels
