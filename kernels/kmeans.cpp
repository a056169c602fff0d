// The checked kernel call, and Lloyd's iterations over it and kernels/knn.h.
#include "kernels/kmeans.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/checks.h"
#include "kernels/kmeans_points.h"
#include "kernels/knn.h"

namespace panda::kernels {

void kmeans_accumulate(Device& device, const KmeansAccumulateArgs& args) {
  const OperandCheck check("kmeans_accumulate", device);
  check.present("points", args.points, 2);
  check.dense("points", args.points);
  check.present("sums", args.sums, 2, {DType::kF64});
  const int64_t n = args.points.shape()[0];
  const int64_t k = args.sums.shape()[0];
  check.shape("sums", args.sums, {k, args.points.shape()[1]}, {DType::kF64});
  if (args.weights.present()) {
    check.shape("weights", args.weights, {n});
    check.no_overlap("sums", args.sums, "weights", args.weights);
  }
  check.no_overlap("sums", args.sums, "points", args.points);
  const auto count = static_cast<int64_t>(args.members.size());
  PANDA_CHECK(static_cast<int64_t>(args.offsets.size()) == k + 1, "kmeans_accumulate: ", args.offsets.size(),
              " offsets for ", k, " clusters, expected ", k + 1);
  PANDA_CHECK(args.offsets.front() == 0 && args.offsets.back() == count,
              "kmeans_accumulate: offsets run from ", args.offsets.front(), " to ", args.offsets.back(),
              ", expected from 0 to ", count);
  for (size_t j = 0; j + 1 < args.offsets.size(); ++j) {
    PANDA_CHECK(args.offsets[j] <= args.offsets[j + 1], "kmeans_accumulate: cluster ", j, " from offset ",
                args.offsets[j], " to ", args.offsets[j + 1], ", expected rising offsets");
  }
  for (const int64_t member : args.members) {
    PANDA_CHECK(member >= 0 && member < n, "kmeans_accumulate: member ", member, ", expected 0 <= member < ",
                n);
  }
  if (count == 0 || args.sums.numel() == 0) return;
  launch("kmeans_accumulate", device.kernels().kmeans_accumulate, device, args);
}

ClusterMembers::ClusterMembers(const int64_t* labels, int64_t count, int64_t k)
    : members(static_cast<size_t>(count)), offsets(static_cast<size_t>(k + 1), 0) {
  for (int64_t i = 0; i < count; ++i) ++offsets[static_cast<size_t>(labels[i]) + 1];
  for (size_t j = 1; j < offsets.size(); ++j) offsets[j] += offsets[j - 1];
  std::vector<int64_t> next(offsets.begin(), offsets.end() - 1);
  for (int64_t i = 0; i < count; ++i)
    members[static_cast<size_t>(next[static_cast<size_t>(labels[i])]++)] = i;
}

double largest_movement(const Tensor& from, const Tensor& to) {
  const int64_t d = from.shape()[1];
  double largest = 0;
  for (int64_t j = 0; j < from.shape()[0]; ++j) {
    double sum = 0;
    for (int64_t i = j * d; i < (j + 1) * d; ++i) {
      const double difference = double{to.data<float>()[i]} - double{from.data<float>()[i]};
      sum += difference * difference;
    }
    largest = std::max(largest, sum);
  }
  return std::sqrt(largest);
}

void check_initial_centers(const ConstTensorView& centers, int64_t k, int64_t d) {
  const OperandCheck check("kmeans", host());
  check.shape("initial centers", centers, {k, d});
  const float* x = centers.data<float>();
  for (int64_t i = 0; i < centers.numel(); ++i) {
    PANDA_CHECK(std::isfinite(x[i]), "kmeans: initial center ", i / d, " holds ", x[i], " at component ",
                i % d, ", expected finite numbers");
  }
}

namespace {

class Lloyd {
 public:
  Lloyd(Device& device, PointReader& points, const KmeansOptions& options, Progress* progress)
      : device_(device),
        points_(points),
        options_(options),
        progress_(progress),
        labels_(host(), DType::kI64, {points.n()}, "labels"),
        distances_(static_cast<size_t>(points.n())),
        sums_(device, DType::kF64, {options.k, points.d()}, "cluster sums"),
        zeros_(host(), DType::kF64, sums_.shape(), "cluster sums") {
    std::fill_n(zeros_.data<double>(), zeros_.numel(), 0.0);
  }

  KmeansResult run(Tensor centers);

 private:
  /// Labels of these centers, the sums of what they label, and if `measured` distances. They matter for the
  /// last centers and for empty clusters alone, and without them an assignment is faster.
  void assign(const Tensor& centers, bool measured);
  /// Distances of these centers, if their assignment did not measure them.
  void measure(const Tensor& centers);
  void accumulate(const ConstTensorView& part, int64_t begin);
  [[nodiscard]] KnnGallery gallery_of(const Tensor& centers) const {
    return KnnGallery(device_, device_.host_accessible() ? centers : clone_to(centers, device_, "centers"));
  }
  /// Gives points to empty clusters; returns to how many.
  int64_t reseed_empty(const Tensor& centers);
  [[nodiscard]] std::vector<double> cluster_weights() const;
  /// The next centers.
  [[nodiscard]] Tensor update(const Tensor& centers) const;
  [[nodiscard]] double inertia() const;

  Device& device_;
  PointReader& points_;
  const KmeansOptions& options_;
  Progress* progress_;
  Tensor labels_;
  std::vector<double> distances_;
  Tensor sums_;
  Tensor zeros_;
  bool measured_ = false;
  int64_t passes_ = 0;
};

void Lloyd::assign(const Tensor& centers, bool measured) {
  const KnnGallery gallery = gallery_of(centers);
  copy(zeros_, sums_);
  const int64_t n = points_.n();
  points_.for_each_part(options_.k, [&](const ConstTensorView& part, int64_t begin, int64_t end) {
    points_.nearest(part, gallery, labels_.data<int64_t>() + begin,
                    measured ? distances_.data() + begin : nullptr);
    accumulate(part, begin);
    report_progress(progress_, "k-means", passes_ * n + end, (options_.iterations + 1) * n);
  });
  ++passes_;
  measured_ = measured;
}

void Lloyd::measure(const Tensor& centers) {
  if (measured_) return;
  const KnnGallery gallery = gallery_of(centers);
  points_.for_each_part(options_.k, [&](const ConstTensorView& part, int64_t begin, int64_t) {
    points_.nearest(part, gallery, labels_.data<int64_t>() + begin, distances_.data() + begin);
    check_interrupt();
  });
  measured_ = true;
}

void Lloyd::accumulate(const ConstTensorView& part, int64_t begin) {
  const int64_t count = part.shape()[0];
  const ClusterMembers clusters(labels_.data<int64_t>() + begin, count, options_.k);
  Tensor weights;
  ConstTensorView view = points_.weights();
  if (view.present()) {
    view = view.rows(begin, begin + count);
    if (!device_.host_accessible()) view = weights = clone_to(view, device_, "weights");
  }
  kmeans_accumulate(device_, {part, view, clusters.members, clusters.offsets, sums_});
}

std::vector<double> Lloyd::cluster_weights() const {
  std::vector<double> weights(static_cast<size_t>(options_.k), 0.0);
  const int64_t* labels = labels_.data<int64_t>();
  for (int64_t i = 0; i < points_.n(); ++i) weights[static_cast<size_t>(labels[i])] += points_.weight(i);
  return weights;
}

int64_t Lloyd::reseed_empty(const Tensor& centers) {
  std::vector<int64_t> counts(static_cast<size_t>(options_.k), 0);  // of points of positive weight
  int64_t* labels = labels_.data<int64_t>();
  for (int64_t i = 0; i < points_.n(); ++i) {
    if (points_.weight(i) > 0) ++counts[static_cast<size_t>(labels[i])];
  }
  if (std::find(counts.begin(), counts.end(), 0) == counts.end()) return 0;
  measure(centers);

  std::vector<int64_t> farthest;
  for (int64_t i = 0; i < points_.n(); ++i) {
    if (points_.weight(i) > 0 && distances_[static_cast<size_t>(i)] > 0) farthest.push_back(i);
  }
  const auto nearer = [&](int64_t a, int64_t b) {
    const double da = distances_[static_cast<size_t>(a)];
    const double db = distances_[static_cast<size_t>(b)];
    return da != db ? da < db : a > b;
  };
  std::make_heap(farthest.begin(), farthest.end(), nearer);
  int64_t reseeded = 0;
  for (int64_t j = 0; j < options_.k; ++j) {
    if (counts[static_cast<size_t>(j)] > 0) continue;
    while (!farthest.empty()) {
      std::pop_heap(farthest.begin(), farthest.end(), nearer);
      const int64_t point = farthest.back();
      farthest.pop_back();
      int64_t& left = counts[static_cast<size_t>(labels[point])];
      if (left <= 1) continue;
      --left;
      labels[point] = j;
      counts[static_cast<size_t>(j)] = 1;
      ++reseeded;
      break;
    }
  }
  if (reseeded > 0) {  // rare: the sums once more, in the same order
    copy(zeros_, sums_);
    points_.for_each_part(options_.k, [&](const ConstTensorView& part, int64_t begin, int64_t) {
      accumulate(part, begin);
      check_interrupt();
    });
  }
  return reseeded;
}

Tensor Lloyd::update(const Tensor& centers) const {
  const std::vector<double> weights = cluster_weights();
  const Tensor sums = device_.host_accessible() ? sums_ : clone_to(sums_, host(), "cluster sums");
  Tensor next = clone_to(centers, host(), "centers");
  const int64_t d = points_.d();
  for (int64_t j = 0; j < options_.k; ++j) {
    const double weight = weights[static_cast<size_t>(j)];
    if (weight == 0) continue;
    for (int64_t i = j * d; i < (j + 1) * d; ++i)
      next.data<float>()[i] = static_cast<float>(sums.data<double>()[i] / weight);
  }
  return next;
}

double Lloyd::inertia() const {
  double sum = 0;
  for (int64_t i = 0; i < points_.n(); ++i) sum += points_.weight(i) * distances_[static_cast<size_t>(i)];
  return sum;
}

KmeansResult Lloyd::run(Tensor centers) {
  KmeansResult result;
  assign(centers, options_.iterations == 0);
  while (result.iterations < options_.iterations && !result.converged) {
    result.reseeded += reseed_empty(centers);
    Tensor next = update(centers);
    result.movement = largest_movement(centers, next);
    result.converged = result.movement <= options_.tolerance;
    ++result.iterations;
    centers = std::move(next);
    // Labels are those of the centers that are returned; of centers that stayed they are there.
    if (result.movement > 0) assign(centers, result.converged || result.iterations == options_.iterations);
  }
  measure(centers);
  result.centers = std::move(centers);
  result.labels = labels_;
  result.inertia = inertia();
  return result;
}

void check(const KmeansPoints& points, const KmeansOptions& options) {
  PANDA_CHECK(points.d >= 1, "kmeans: points of d=", points.d, ", expected d >= 1");
  PANDA_CHECK(options.iterations >= 0, "kmeans: iterations=", options.iterations, ", expected >= 0");
  PANDA_CHECK(options.tolerance >= 0, "kmeans: tolerance=", options.tolerance, ", expected >= 0");
  PANDA_CHECK(!points.read_weights, "kmeans: weights that are read by parts, expected them in memory");
  int64_t usable = points.n;
  if (points.weights.present()) {
    const OperandCheck check("kmeans", host());
    check.shape("weights", points.weights, {points.n});
    usable = 0;
    for (int64_t i = 0; i < points.n; ++i) {
      const float weight = points.weights.data<float>()[i];
      check_weight(i, weight);
      if (weight > 0) ++usable;
    }
  }
  PANDA_CHECK(options.k >= 1 && options.k <= usable, "kmeans: k=", options.k, " with ", usable, " points",
              points.weights.present() ? " of positive weight" : "", ", expected 1 <= k <= ", usable);
  if (options.initial_centers.present()) check_initial_centers(options.initial_centers, options.k, points.d);
}

}  // namespace

KmeansPoints KmeansPoints::of(const ConstTensorView& points) {
  PANDA_CHECK(points.present() && points.shape().rank() == 2 && points.dtype() == DType::kF32 &&
                  points.layout() == Layout::kDense,
              "kmeans: points are ", points.present() ? points.to_string() : std::string("absent"),
              ", expected f32 n,d");
  KmeansPoints result;
  result.n = points.shape()[0];
  result.d = points.shape()[1];
  result.read = [points](int64_t begin, int64_t end, Tensor&) { return points.rows(begin, end); };
  return result;
}

KmeansResult kmeans(Device& device, const KmeansPoints& points, const KmeansOptions& options,
                    Progress* progress) {
  check(points, options);
  PointReader reader(device, points);
  Tensor centers = options.initial_centers.present() ? clone_to(options.initial_centers, host(), "centers")
                                                     : kmeans_start(device, reader, options, progress);
  return Lloyd(device, reader, options, progress).run(std::move(centers));
}

}  // namespace panda::kernels
