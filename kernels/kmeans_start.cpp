// Where K-means starts.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/kmeans_points.h"
#include "kernels/tensor/checked_math.h"
#include "kernels/tensor/random.h"

namespace panda::kernels {

namespace {

/// Points to be measured are put together where they are no more than one of so many, this much at a time: it
/// stays in a core's second-level cache until it is measured.
constexpr int64_t kGatherShare = 2;
constexpr int64_t kGatherBytes = int64_t{512} << 10;
/// Streams of the seed.
constexpr uint64_t kRandomStream = 0x6b6d0001;
constexpr uint64_t kPlusPlusStream = 0x6b6d0002;

}  // namespace

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

/// k-means++: after each center, the distance of every point to its nearest so far. Most points are nearer to
/// that one than the new center can be, by the triangle inequality (Elkan 2003), and are not measured.
class PlusPlus {
 public:
  PlusPlus(Device& device, PointReader& points, const KmeansOptions& options, Progress* progress)
      : device_(device),
        points_(points),
        options_(options),
        progress_(progress),
        weights_(static_cast<size_t>(points.n())),
        nearest_(static_cast<size_t>(points.n()), INFINITY),
        owners_(static_cast<size_t>(points.n()), 0),
        centers_(host(), DType::kF32, {options.k, points.d()}, "centers") {
    for (int64_t i = 0; i < points.n(); ++i) weights_[static_cast<size_t>(i)] = points.weight(i);
    masses_ = weights_;  // w_i D_i from the second center on
  }

  Tensor run();

 private:
  /// Points whose nearest center is l are not nearer to center j if their distance is <= the l-th of these.
  [[nodiscard]] std::vector<double> reaches(int64_t j) const;
  /// Finds the points of [begin, end) that may be nearer to the new center, relative to `begin`.
  void find_open(int64_t begin, int64_t end, const std::vector<double>& reaches);
  void measure(const ConstTensorView& part, int64_t begin, const KnnGallery& center, int64_t j);
  void take(int64_t i, double distance, int64_t j) {
    const auto point = static_cast<size_t>(i);
    if (distance >= nearest_[point]) return;
    nearest_[point] = distance;
    owners_[point] = static_cast<int32_t>(j);
    masses_[point] = weights_[point] * distance;
  }

  Device& device_;
  PointReader& points_;
  const KmeansOptions& options_;
  Progress* progress_;
  std::vector<double> weights_;
  std::vector<double> masses_;
  std::vector<double> nearest_;  ///< D to the nearest center; infinite for points without weight
  std::vector<int32_t> owners_;  ///< that center
  std::vector<int64_t> open_;
  Tensor gathered_;
  std::vector<double> distances_;
  std::vector<int64_t> ignored_;
  Tensor centers_;
};

std::vector<double> PlusPlus::reaches(int64_t j) const {
  // |c_j - c_l| >= 2 |x - c_l| gives |x - c_j| >= |c_j - c_l| - |x - c_l| >= |x - c_l|. A computed D is true
  // to e = (d + 3) 2^-53 of itself (all terms are positive, none under- or overflows in f64), and two such
  // must come out in the same order: D(c_j, c_l) >= 4 (1 + 5 e) D(x, c_l) is enough, and 16 e leaves room.
  const int64_t d = points_.d();
  const double slack = 1 + 16 * static_cast<double>(d + 8) * 0x1p-53;
  const float* x = centers_.data<float>() + j * d;
  std::vector<double> reaches(static_cast<size_t>(std::max<int64_t>(j, 1)), -1.0);
  for (int64_t l = 0; l < j; ++l) {
    const float* y = centers_.data<float>() + l * d;
    double sum = 0;
    for (int64_t i = 0; i < d; ++i) sum += (double{x[i]} - double{y[i]}) * (double{x[i]} - double{y[i]});
    reaches[static_cast<size_t>(l)] = sum / (4 * slack);
  }
  return reaches;
}

void PlusPlus::find_open(int64_t begin, int64_t end, const std::vector<double>& reaches) {
  open_.resize(static_cast<size_t>(end - begin));
  size_t count = 0;
  for (int64_t i = begin; i < end; ++i) {
    const auto point = static_cast<size_t>(i);
    open_[count] = i - begin;
    count += nearest_[point] > reaches[static_cast<size_t>(owners_[point])] && weights_[point] > 0 ? 1 : 0;
  }
  open_.resize(count);
}

void PlusPlus::measure(const ConstTensorView& part, int64_t begin, const KnnGallery& center, int64_t j) {
  const int64_t rows = part.shape()[0];
  const auto count = static_cast<int64_t>(open_.size());
  distances_.resize(static_cast<size_t>(rows));
  ignored_.resize(static_cast<size_t>(rows));
  if (!device_.host_accessible() || count * kGatherShare > rows) {
    points_.nearest(part, center, ignored_.data(), distances_.data());
    for (const int64_t i : open_) take(begin + i, distances_[static_cast<size_t>(i)], j);
    return;
  }
  const int64_t d = points_.d();
  const int64_t step = std::max<int64_t>(kGatherBytes / (4 * d), 1);
  if (!gathered_.present()) gathered_ = Tensor(host(), DType::kF32, {step, d}, "gathered points");
  for (int64_t first = 0; first < count; first += step) {
    const int64_t now = std::min(step, count - first);
    const int64_t* open = open_.data() + first;
    for (int64_t i = 0; i < now; ++i)
      std::copy_n(part.data<float>() + open[i] * d, d, gathered_.data<float>() + i * d);
    points_.nearest(gathered_.view().rows(0, now), center, ignored_.data(), distances_.data());
    for (int64_t i = 0; i < now; ++i) take(begin + open[i], distances_[static_cast<size_t>(i)], j);
  }
}

Tensor PlusPlus::run() {
  const int64_t n = points_.n();
  Random random(options_.seed, kPlusPlusStream);
  std::vector<double> running;
  for (int64_t j = 0; j < options_.k; ++j) {
    int64_t drawn = draw_by_mass(masses_, running, random);
    // Where every point lies on a center already, any may be next.
    if (drawn < 0) drawn = draw_by_mass(weights_, running, random);
    const Tensor center = points_.point(drawn);
    copy(center, centers_.view().rows(j, j + 1));
    if (j + 1 == options_.k) break;
    const KnnGallery gallery(device_,
                             device_.host_accessible() ? center : clone_to(center, device_, "centers"),
                             KnnMetric::kL2, KnnFilter::kNone);
    const std::vector<double> reached = reaches(j);
    points_.for_each_part(1, [&](const ConstTensorView& part, int64_t begin, int64_t end) {
      find_open(begin, end, reached);
      if (!open_.empty()) measure(part, begin, gallery, j);
      report_progress(progress_, "choosing centers", j * n + end, (options_.k - 1) * n);
    });
  }
  return centers_;
}

}  // namespace

Tensor kmeans_start(Device& device, PointReader& points, const KmeansOptions& options, Progress* progress) {
  return options.start == KmeansStart::kRandom ? random_start(points, options)
                                               : PlusPlus(device, points, options, progress).run();
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
