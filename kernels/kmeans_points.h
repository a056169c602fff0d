// What kmeans.cpp and kmeans_start.cpp share: the points, in parts and on the device.
#pragma once

#include <functional>

#include "kernels/kmeans.h"
#include "kernels/knn.h"

namespace panda::kernels {

class PointReader {
 public:
  PointReader(Device& device, const KmeansPoints& points) : device_(device), points_(points) {}

  [[nodiscard]] int64_t n() const { return points_.n; }
  [[nodiscard]] int64_t d() const { return points_.d; }
  [[nodiscard]] const ConstTensorView& weights() const { return points_.weights; }
  [[nodiscard]] double weight(int64_t i) const {
    return points_.weights.present() ? double{points_.weights.data<float>()[i]} : 1.0;
  }

  /// Calls `visit(part, begin, end)` for rows [begin, end) after rows, on the device, in parts that are short
  /// enough for a report when each point meets k centers. The first time that a point is seen it is checked:
  /// InvalidArgument if it is not finite.
  void for_each_part(
      int64_t k, const std::function<void(const ConstTensorView& part, int64_t begin, int64_t end)>& visit);

  /// One point, f32 1,d on the host.
  [[nodiscard]] Tensor point(int64_t i);

  /// Index and distance of each row's nearest gallery vector, to host memory. Null distances: not wanted.
  void nearest(const ConstTensorView& part, const KnnGallery& gallery, int64_t* labels, double* distances);

 private:
  void check_finite(const ConstTensorView& part, int64_t begin) const;

  Device& device_;
  const KmeansPoints& points_;
  int64_t checked_ = 0;
};

/// k points to start from, as options.start says: f32 k,d on the host.
[[nodiscard]] Tensor kmeans_start(Device& device, PointReader& points, const KmeansOptions& options,
                                  Progress* progress);

}  // namespace panda::kernels
