// The points in parts, and where K-means starts.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/kmeans_points.h"
#include "kernels/tensor/checked_math.h"
#include "kernels/tensor/random.h"

namespace panda::kernels {

namespace {

/// Multiply-adds between two reports of progress, at which the work may be interrupted: about a second on one
/// core.
constexpr int64_t kWorkPerReport = 30'000'000'000;
/// Streams of the seed.
constexpr uint64_t kRandomStream = 0x6b6d0001;
constexpr uint64_t kPlusPlusStream = 0x6b6d0002;

}  // namespace

void PointReader::for_each_part(
    int64_t k, const std::function<void(const ConstTensorView& part, int64_t begin, int64_t end)>& visit) {
  const int64_t by_memory = points_.part_bytes / (4 * d());
  const int64_t by_work = kWorkPerReport / std::max<int64_t>(checked_mul(k, d()), 1);
  const int64_t step = std::max<int64_t>(std::min(by_memory, by_work), 1);
  for (int64_t begin = 0; begin < n(); begin += step) {
    const int64_t end = std::min(n(), begin + step);
    Tensor owner;
    ConstTensorView part = points_.read(begin, end, owner);
    check_part(part, begin, end);
    if (end > checked_) {
      check_finite(part, begin);
      checked_ = end;
    }
    Tensor on_device;
    if (!device_.host_accessible() && &part.device() != &device_)
      part = on_device = clone_to(part, device_, "points");
    visit(part, begin, end);
  }
}

void PointReader::check_part(const ConstTensorView& part, int64_t begin, int64_t end) const {
  PANDA_CHECK(part.present() && part.dtype() == DType::kF32 && part.shape() == Shape({end - begin, d()}),
              "kmeans: points ", begin, " to ", end, " are read as ",
              part.present() ? part.to_string() : std::string("nothing"), ", expected f32 ", end - begin, "x",
              d());
}

void PointReader::check_finite(const ConstTensorView& part, int64_t begin) const {
  Tensor copy;
  const bool readable = part.device().host_accessible();
  if (!readable) copy = clone_to(part, host(), "points");
  const float* x = readable ? part.data<float>() : copy.data<float>();
  const int64_t count = part.numel();
  for (int64_t i = 0; i < count; ++i) {
    PANDA_CHECK(std::isfinite(x[i]), "kmeans: point ", begin + i / d(), " holds ", x[i], " at component ",
                i % d(), ", expected finite numbers");
  }
}

Tensor PointReader::point(int64_t i) {
  Tensor row(host(), DType::kF32, {1, d()}, "point");
  read(i, i + 1, row);
  return row;
}

void PointReader::read(int64_t begin, int64_t end, const TensorView& rows) {
  Tensor owner;
  const ConstTensorView part = points_.read(begin, end, owner);
  check_part(part, begin, end);
  copy(part, rows);
  check_finite(rows, begin);
}

ConstTensorView PointReader::read_weights(int64_t begin, int64_t end, Tensor& owner) const {
  ConstTensorView part;
  if (points_.read_weights) {
    part = points_.read_weights(begin, end, owner);
    PANDA_CHECK(part.present() && part.dtype() == DType::kF32 && part.shape() == Shape({end - begin}),
                "kmeans: weights ", begin, " to ", end, " are read as ",
                part.present() ? part.to_string() : std::string("nothing"), ", expected f32 ", end - begin);
  } else if (points_.weights.present()) {
    part = points_.weights.rows(begin, end);
  } else {
    return part;
  }
  for (int64_t i = begin; i < end; ++i) check_weight(i, part.data<float>()[i - begin]);
  return part;
}

void PointReader::nearest(const ConstTensorView& part, const KnnGallery& gallery, int64_t* labels,
                          double* distances) {
  const Shape shape{part.shape()[0], 1};
  const TensorView host_indices(labels, DType::kI64, shape, host());
  const TensorView host_distances =
      distances == nullptr ? TensorView() : TensorView(distances, DType::kF64, shape, host());
  if (device_.host_accessible()) {
    knn_gallery_search(
        device_,
        {.queries = part, .gallery = &gallery, .k = 1, .distances = host_distances, .indices = host_indices});
    return;
  }
  Tensor d;
  if (distances != nullptr) d = Tensor(device_, DType::kF64, shape, "knn distances");
  const Tensor i(device_, DType::kI64, shape, "knn indices");
  knn_gallery_search(device_, {.queries = part,
                               .gallery = &gallery,
                               .k = 1,
                               .distances = d.present() ? d.view() : TensorView(),
                               .indices = i});
  if (d.present()) copy(d, host_distances);
  copy(i, host_indices);
}

int64_t draw_by_mass(const std::vector<double>& masses, std::vector<double>& running, Random& random) {
  running.resize(masses.size());
  double total = 0;
  for (size_t i = 0; i < masses.size(); ++i) running[i] = total += masses[i];
  if (total == 0) return -1;
  // Sums never fall, and where one passes the number, its mass is positive.
  const double wanted = random.next_uniform() * total;
  const auto passed = std::upper_bound(running.begin(), running.end(), wanted);
  if (passed != running.end()) return passed - running.begin();
  // Rounding took the number up to the sum: the last one with a mass.
  return std::find_if(masses.rbegin(), masses.rend(), [](double mass) { return mass > 0; }).base() -
         masses.begin() - 1;
}

namespace {

Tensor random_start(PointReader& points, const KmeansOptions& options) {
  std::vector<int64_t> usable;
  for (int64_t i = 0; i < points.n(); ++i) {
    if (points.weight(i) > 0) usable.push_back(i);
  }
  const std::vector<int64_t> order =
      Random(options.seed, kRandomStream).permutation(static_cast<int64_t>(usable.size()));
  Tensor centers(host(), DType::kF32, {options.k, points.d()}, "centers");
  for (int64_t j = 0; j < options.k; ++j) {
    const int64_t point = usable[static_cast<size_t>(order[static_cast<size_t>(j)])];
    copy(points.point(point), centers.view().rows(j, j + 1));
  }
  return centers;
}

Tensor plus_plus_start(Device& device, PointReader& points, const KmeansOptions& options,
                       Progress* progress) {
  const int64_t n = points.n();
  Random random(options.seed, kPlusPlusStream);
  std::vector<double> weights(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) weights[static_cast<size_t>(i)] = points.weight(i);
  std::vector<double> masses = weights;  // w_i D_i from the second center on
  std::vector<double> running;
  std::vector<double> nearest(static_cast<size_t>(n), INFINITY);
  std::vector<double> distances(static_cast<size_t>(n));
  std::vector<int64_t> ignored(static_cast<size_t>(n));
  Tensor centers(host(), DType::kF32, {options.k, points.d()}, "centers");
  for (int64_t j = 0; j < options.k; ++j) {
    int64_t drawn = draw_by_mass(masses, running, random);
    // Where every point lies on a center already, any may be next.
    if (drawn < 0) drawn = draw_by_mass(weights, running, random);
    const Tensor center = points.point(drawn);
    copy(center, centers.view().rows(j, j + 1));
    if (j + 1 == options.k) break;
    const KnnGallery gallery(device, device.host_accessible() ? center : clone_to(center, device, "centers"),
                             KnnMetric::kL2, KnnFilter::kNone);
    points.for_each_part(1, [&](const ConstTensorView& part, int64_t begin, int64_t end) {
      points.nearest(part, gallery, ignored.data() + begin, distances.data() + begin);
      for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
        nearest[i] = std::min(nearest[i], distances[i]);
        masses[i] = weights[i] * nearest[i];
      }
      report_progress(progress, "choosing centers", j * n + end, (options.k - 1) * n);
    });
  }
  return centers;
}

}  // namespace

Tensor kmeans_start(Device& device, PointReader& points, const KmeansOptions& options, Progress* progress) {
  return options.start == KmeansStart::kRandom ? random_start(points, options)
                                               : plus_plus_start(device, points, options, progress);
}

const char* kmeans_start_name(KmeansStart start) {
  return start == KmeansStart::kPlusPlus ? "kmeans++" : "random";
}

KmeansStart kmeans_start_from_name(const std::string& name) {
  for (const KmeansStart start : {KmeansStart::kPlusPlus, KmeansStart::kRandom}) {
    if (name == kmeans_start_name(start)) return start;
  }
  throw InvalidArgument(text("start '", printable(name), "', expected kmeans++ or random"));
}

}  // namespace panda::kernels
