// The checked kernel call, and Lloyd's iterations over it and kernels/knn.h.
#include "kernels/kmeans.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "kernels/checks.h"
#include "kernels/kmeans_bounds.h"
#include "kernels/kmeans_points.h"
#include "kernels/knn.h"

namespace panda::kernels {

namespace {

void check_members(const char* kernel, std::span<const int64_t> members, std::span<const int64_t> offsets,
                   int64_t k, int64_t n) {
  const auto count = static_cast<int64_t>(members.size());
  PANDA_CHECK(static_cast<int64_t>(offsets.size()) == k + 1, kernel, ": ", offsets.size(), " offsets for ", k,
              " clusters, expected ", k + 1);
  PANDA_CHECK(offsets.front() == 0 && offsets.back() == count, kernel, ": offsets run from ", offsets.front(),
              " to ", offsets.back(), ", expected from 0 to ", count);
  for (size_t j = 0; j + 1 < offsets.size(); ++j) {
    PANDA_CHECK(offsets[j] <= offsets[j + 1], kernel, ": cluster ", j, " from offset ", offsets[j], " to ",
                offsets[j + 1], ", expected rising offsets");
  }
  for (const int64_t member : members) {
    PANDA_CHECK(member >= 0 && member < n, kernel, ": member ", member, ", expected 0 <= member < ", n);
  }
}

}  // namespace

void kmeans_accumulate(Device& device, const KmeansAccumulateArgs& args) {
  const char* const kernel = "kmeans_accumulate";
  const OperandCheck check(kernel, device);
  check.present("points", args.points, 2);
  check.dense("points", args.points);
  check.present("sums", args.sums, 2, {DType::kF64});
  const int64_t k = args.sums.shape()[0];
  check.shape("sums", args.sums, {k, args.points.shape()[1]}, {DType::kF64});
  const int64_t n = args.points.shape()[0];
  if (args.weights.present()) {
    check.shape("weights", args.weights, {n});
    check.no_overlap("sums", args.sums, "weights", args.weights);
  }
  check.no_overlap("sums", args.sums, "points", args.points);
  check_members(kernel, args.members, args.offsets, k, n);
  if (args.members.empty() || args.sums.numel() == 0) return;
  launch(kernel, device.kernels().kmeans_accumulate, device, args);
}

void kmeans_exchange(Device& device, const KmeansExchangeArgs& args) {
  const char* const kernel = "kmeans_exchange";
  const OperandCheck check(kernel, device);
  check.present("points", args.points, 2);
  check.dense("points", args.points);
  const int64_t n = args.points.shape()[0];
  const int64_t d = args.points.shape()[1];
  if (args.weights.present()) check.shape("weights", args.weights, {n});
  check.shape("before", args.before, {n}, {DType::kI64});
  check.shape("after", args.after, {n}, {DType::kI64});
  check.shape("grid", args.grid, {2, d}, {DType::kF64});
  check.present("sums", args.sums, 3, {DType::kF64});
  const int64_t k = args.sums.shape()[1];
  check.shape("sums", args.sums, {2, k, d}, {DType::kF64});
  check.shape("counts", args.counts, {k}, {DType::kI64});
  check.no_overlap("sums", args.sums, "counts", args.counts);
  for (const auto& [name, input] : {std::pair{"points", args.points},
                                    {"weights", args.weights},
                                    {"before", args.before},
                                    {"after", args.after},
                                    {"grid", args.grid}}) {
    if (!input.present()) continue;
    check.no_overlap("sums", args.sums, name, input);
    check.no_overlap("counts", args.counts, name, input);
  }
  if (n == 0) return;
  launch(kernel, device.kernels().kmeans_exchange, device, args);
}

Tensor kmeans_grid(std::span<const float> largest, double largest_weight, int64_t n) {
  constexpr int64_t kMostPoints = int64_t{1} << 40;
  PANDA_CHECK(n <= kMostPoints, "kmeans: ", n, " points, expected at most ", kMostPoints);
  // 2^b points of at most 2^e fit 53 bits in units of 2^(e + b - 52), and v + grid does not leave
  // [2^52, 2^53] units with |v| <= 2^51 of them. What is left of v is half a unit at most.
  const int b =
      std::max(1, static_cast<int>(std::bit_width(static_cast<uint64_t>(std::max<int64_t>(n, 1) - 1))));
  constexpr int kLeastExponent = -300;  // of the smallest positive products
  const auto d = static_cast<int64_t>(largest.size());
  Tensor grid(host(), DType::kF64, {2, d}, "grid of sums");
  for (int64_t c = 0; c < d; ++c) {
    int e = kLeastExponent;
    const double product = double{largest[static_cast<size_t>(c)]} * largest_weight;
    if (product > 0) static_cast<void>(std::frexp(product, &e));  // product < 2^e
    const int unit = std::max(e, kLeastExponent) + b - 52;
    grid.data<double>()[c] = std::ldexp(1.5, unit + 52);
    grid.data<double>()[d + c] = std::ldexp(1.5, (unit - 1 + b - 52) + 52);
  }
  return grid;
}

std::vector<double> center_movements(const Tensor& from, const Tensor& to) {
  const int64_t d = from.shape()[1];
  std::vector<double> movements(static_cast<size_t>(from.shape()[0]));
  const float* x = from.data<float>();
  const float* y = to.data<float>();
  for (double& movement : movements) {
    double sum = 0;
    for (int64_t i = 0; i < d; ++i) sum += (double{y[i]} - double{x[i]}) * (double{y[i]} - double{x[i]});
    movement = std::sqrt(sum);
    x += d;
    y += d;
  }
  return movements;
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
        labels_(device.host_accessible() ? host() : device, DType::kI64, {points.n()}, "labels"),
        distances_(static_cast<size_t>(points.n())),
        bounds_(points.n()),
        counts_(device, DType::kI64, {options.k}, "cluster sizes"),
        grid_(clone_to(grid_of(points, progress), device, "grid of sums")),
        sums_(device, DType::kF64, {2, options.k, points.d()}, "cluster sums") {
    fill(labels_, 0xff);  // -1: not searched yet
    fill(counts_, 0);
    fill(sums_, 0);
  }

  KmeansResult run(Tensor centers);

 private:
  static Tensor grid_of(PointReader& points, Progress* progress);
  void fill(const Tensor& tensor, uint8_t value) const {
    device_.fill(tensor.view().raw(), value, tensor.bytes());
  }
  [[nodiscard]] Tensor on_host(const Tensor& tensor) const {
    return device_.host_accessible() ? tensor : clone_to(tensor, host(), "k-means");
  }

  /// Labels of these centers, the sums of what they label, and if `measured` distances. They matter for the
  /// last centers and for empty clusters alone, and without them an assignment is faster.
  void assign(const Tensor& centers, bool measured);
  /// Labels of a part whose distances are not asked for, or are measured when the labels are there.
  void assign_bounded(const KnnNearestSearch& search, const ConstTensorView& part, int64_t begin,
                      bool measured);
  /// Distances of these centers, if their assignment did not measure them.
  void measure(const Tensor& centers);
  /// Moves points (rows of `part`, the first one point `begin`) whose labels were `before` from sum to sum.
  void exchange(const ConstTensorView& part, int64_t begin, const Tensor& before);
  [[nodiscard]] KnnGallery gallery_of(const Tensor& centers) const {
    return KnnGallery(device_, device_.host_accessible() ? centers : clone_to(centers, device_, "centers"));
  }
  /// What keeps bounds for the parts; null on a device that does not.
  [[nodiscard]] std::unique_ptr<const KnnNearestSearch> bounded_search(const KnnGallery& gallery) const {
    return gallery.index() == nullptr ? nullptr : gallery.index()->nearest_search(points_.n());
  }
  /// Gives points to empty clusters; returns to how many.
  int64_t reseed_empty(const Tensor& centers);
  void relabel(int64_t point, int64_t from, int64_t to);
  [[nodiscard]] std::vector<double> cluster_weights() const;
  [[nodiscard]] TensorView labels_of(const ConstTensorView& part, int64_t begin) const {
    return labels_.view().rows(begin, begin + part.shape()[0]);
  }
  /// The next centers.
  [[nodiscard]] Tensor update(const Tensor& centers) const;
  [[nodiscard]] double inertia() const;

  Device& device_;
  PointReader& points_;
  const KmeansOptions& options_;
  Progress* progress_;
  Tensor labels_;  ///< on the device, as are the cluster sizes (of points of positive weight) and sums
  std::vector<double> distances_;
  KmeansBounds bounds_;
  Tensor counts_;
  Tensor grid_;
  Tensor sums_;
  bool measured_ = false;
  int64_t passes_ = 0;
};

Tensor Lloyd::grid_of(PointReader& points, Progress* progress) {
  double largest_weight = points.weights().present() ? 0 : 1;
  for (int64_t i = 0; points.weights().present() && i < points.n(); ++i)
    largest_weight = std::max(largest_weight, points.weight(i));
  return kmeans_grid(points.survey(progress), largest_weight, points.n());
}

void Lloyd::assign(const Tensor& centers, bool measured) {
  const KnnGallery gallery = gallery_of(centers);
  const std::unique_ptr<const KnnNearestSearch> search = bounded_search(gallery);
  const int64_t n = points_.n();
  points_.for_each_part(options_.k, [&](const ConstTensorView& part, int64_t begin, int64_t end) {
    const TensorView labels = labels_of(part, begin);
    const Tensor before = clone_to(labels, device_, "labels before");
    if (search != nullptr) {
      assign_bounded(*search, part, begin, measured);
    } else {
      points_.nearest(part, gallery, labels, measured ? distances_.data() + begin : nullptr);
    }
    exchange(part, begin, before);
    report_progress(progress_, "k-means", passes_ * n + end, (options_.iterations + 1) * n);
  });
  ++passes_;
  measured_ = measured;
}

void Lloyd::assign_bounded(const KnnNearestSearch& search, const ConstTensorView& part, int64_t begin,
                           bool measured) {
  auto* const labels = labels_of(part, begin).data<int64_t>();
  search.search({.queries = part,
                 .rows = bounds_.open(begin, begin + part.shape()[0], labels),
                 .indices = labels,
                 .within = bounds_.within() + begin,
                 .beyond = bounds_.beyond() + begin});
  if (measured) search.measure(part, labels, distances_.data() + begin);
}

void Lloyd::measure(const Tensor& centers) {
  if (measured_) return;
  const KnnGallery gallery = gallery_of(centers);
  const std::unique_ptr<const KnnNearestSearch> search = bounded_search(gallery);
  points_.for_each_part(options_.k, [&](const ConstTensorView& part, int64_t begin, int64_t) {
    const TensorView labels = labels_of(part, begin);
    double* const distances = distances_.data() + begin;
    if (search != nullptr) {
      search->measure(part, labels.data<int64_t>(), distances);
    } else {
      points_.nearest(part, gallery, labels, distances);
    }
    check_interrupt();
  });
  measured_ = true;
}

void Lloyd::exchange(const ConstTensorView& part, int64_t begin, const Tensor& before) {
  Tensor weights;
  ConstTensorView view = points_.weights();
  if (view.present()) {
    view = view.rows(begin, begin + part.shape()[0]);
    if (!device_.host_accessible()) view = weights = clone_to(view, device_, "weights");
  }
  kmeans_exchange(device_, {part, view, before, labels_of(part, begin), grid_, sums_, counts_});
}

std::vector<double> Lloyd::cluster_weights() const {
  const Tensor counts = on_host(counts_);
  std::vector<double> weights(counts.data<int64_t>(), counts.data<int64_t>() + options_.k);
  if (!points_.weights().present()) return weights;
  std::fill(weights.begin(), weights.end(), 0.0);
  const Tensor labels = on_host(labels_);
  for (int64_t i = 0; i < points_.n(); ++i)
    weights[static_cast<size_t>(labels.data<int64_t>()[i])] += points_.weight(i);
  return weights;
}

void Lloyd::relabel(int64_t point, int64_t from, int64_t to) {
  const auto label = [](int64_t value) {
    Tensor one(host(), DType::kI64, {1}, "label");
    *one.data<int64_t>() = value;
    return one;
  };
  copy(label(to), labels_.view().rows(point, point + 1));
  const Tensor row = clone_to(points_.point(point), device_, "point");
  exchange(row, point, clone_to(label(from), device_, "label before"));
  bounds_.forget(point);
}

int64_t Lloyd::reseed_empty(const Tensor& centers) {
  const Tensor sizes = clone_to(counts_, host(), "cluster sizes");
  int64_t* const counts = sizes.data<int64_t>();
  if (std::find(counts, counts + options_.k, 0) == counts + options_.k) return 0;
  measure(centers);

  const Tensor there = on_host(labels_);
  const int64_t* const labels = there.data<int64_t>();
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
    if (counts[j] > 0) continue;
    while (!farthest.empty()) {
      std::pop_heap(farthest.begin(), farthest.end(), nearer);
      const int64_t point = farthest.back();  // once: its label is the one it had
      farthest.pop_back();
      const int64_t from = labels[point];
      if (counts[from] <= 1) continue;
      relabel(point, from, j);
      --counts[from];
      ++counts[j];
      ++reseeded;
      break;
    }
  }
  return reseeded;
}

Tensor Lloyd::update(const Tensor& centers) const {
  const std::vector<double> weights = cluster_weights();
  const Tensor sums = on_host(sums_);
  Tensor next = clone_to(centers, host(), "centers");
  const int64_t d = points_.d();
  const double* const coarse = sums.data<double>();
  const double* const fine = coarse + options_.k * d;
  for (int64_t j = 0; j < options_.k; ++j) {
    const double weight = weights[static_cast<size_t>(j)];
    if (weight == 0) continue;
    for (int64_t i = j * d; i < (j + 1) * d; ++i)
      next.data<float>()[i] = static_cast<float>((coarse[i] + fine[i]) / weight);
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
    const std::vector<double> movements = center_movements(centers, next);
    result.movement = std::ranges::max(movements);
    result.converged = result.movement <= options_.tolerance;
    ++result.iterations;
    centers = std::move(next);
    // Labels are those of the centers that are returned; of centers that stayed they are there.
    if (result.movement == 0) continue;
    bounds_.move(movements);
    assign(centers, result.converged || result.iterations == options_.iterations);
  }
  measure(centers);
  result.centers = std::move(centers);
  result.labels = on_host(labels_);
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
