// Minibatches of points in a drawn order, and centers that learn from them.
#include "kernels/kmeans_minibatch.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/checks.h"
#include "kernels/cluster_members.h"
#include "kernels/kmeans_points.h"
#include "kernels/tensor/checked_math.h"

namespace panda::kernels {

namespace {

/// Streams of the seed: the first 2^32 of the order's are passes, 0 that of the points to start from.
constexpr uint64_t kOrderStream = uint64_t{0x6b6d0003} << 32;
constexpr uint64_t kReseedStream = 0x6b6d0004;
/// A run of rows: long enough for a disk to be read at its speed, and short enough for a minibatch to come
/// from many places, where files lie sorted.
constexpr int64_t kRunBytes = int64_t{64} << 10;
constexpr int64_t kRunsPerMinibatch = 64;
/// Points per center between two counts of starved ones.
constexpr int64_t kPointsPerCount = 1000;
/// What is left, at the beginning of a pass, of the weight of what centers were given before: a power of two,
/// so that nothing is rounded. docs/decisions/kmeans-minibatch.md has what other numbers give.
constexpr double kRemembered = 0.125;
/// Points to start from, per center and per point of a minibatch.
constexpr int64_t kStartPoints = 3;

struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;
};

/// The rows of one pass: runs in a drawn order.
class RowOrder {
 public:
  RowOrder(int64_t n, int64_t run, uint64_t seed, int64_t pass)
      : n_(n), run_(run), order_(ceil_div(n, run), seed, kOrderStream + static_cast<uint64_t>(pass)) {}

  /// The next `count` rows, fewer at the end, none after it.
  [[nodiscard]] std::vector<RowRange> next(int64_t count) {
    std::vector<RowRange> ranges;
    while (count > 0 && at_ < ceil_div(n_, run_)) {
      const int64_t begin = order_[at_] * run_ + within_;
      const int64_t run_end = std::min(n_, (order_[at_] + 1) * run_);
      const int64_t end = std::min(run_end, begin + count);
      ranges.push_back({begin, end});
      count -= end - begin;
      within_ = end == run_end ? 0 : within_ + end - begin;
      if (end == run_end) ++at_;
    }
    return ranges;
  }

 private:
  int64_t n_;
  int64_t run_;
  RandomOrder order_;
  int64_t at_ = 0;      ///< run in the order
  int64_t within_ = 0;  ///< rows of it that are taken
};

/// A minibatch in memory: its points and their weights on the host.
class Minibatch {
 public:
  Minibatch(PointReader& points, int64_t size)
      : points_(points),
        rows_(host(), DType::kF32, {size, points.d()}, "minibatch"),
        weights_(host(), DType::kF32, {size}, "weights"),
        run_(std::clamp<int64_t>(kRunBytes / (4 * points.d()), 1,
                                 std::max<int64_t>(1, size / kRunsPerMinibatch))) {}

  /// The order of a pass; 0 is that of the points to start from.
  [[nodiscard]] RowOrder order(uint64_t seed, int64_t pass) const { return {points_.n(), run_, seed, pass}; }
  /// Reads what comes next in the order; false at its end.
  bool read(RowOrder& order);

  [[nodiscard]] int64_t count() const { return count_; }
  [[nodiscard]] ConstTensorView rows() const { return rows_.view().rows(0, count_); }
  /// Absent if all are 1.
  [[nodiscard]] ConstTensorView weights() const {
    return weighted_ ? weights_.view().rows(0, count_) : ConstTensorView();
  }
  [[nodiscard]] double weight(int64_t i) const { return weighted_ ? double{weights_.data<float>()[i]} : 1.0; }

 private:
  PointReader& points_;
  Tensor rows_;
  Tensor weights_;
  int64_t run_;
  int64_t count_ = 0;
  bool weighted_ = false;
};

bool Minibatch::read(RowOrder& order) {
  count_ = 0;
  for (const RowRange& range : order.next(rows_.shape()[0])) {
    const int64_t end = count_ + range.end - range.begin;
    points_.read(range.begin, range.end, rows_.view().rows(count_, end));
    Tensor owner;
    const ConstTensorView weights = points_.read_weights(range.begin, range.end, owner);
    weighted_ = weights.present();
    if (weighted_) copy(weights, weights_.view().rows(count_, end));
    count_ = end;
  }
  return count_ > 0;
}

/// Centers to start from, chosen among points of positive weight.
Tensor choose_start(Device& device, PointReader& points, Minibatch& minibatch,
                    const KmeansMinibatchOptions& options, Progress* progress) {
  const int64_t wanted = std::min(points.n(), kStartPoints * std::max(options.k, options.minibatch));
  Tensor rows(host(), DType::kF32, {wanted, points.d()}, "points to start from");
  Tensor weights(host(), DType::kF32, {wanted}, "weights");
  int64_t count = 0;
  RowOrder order = minibatch.order(options.seed, 0);
  while (count < wanted && minibatch.read(order)) {
    for (int64_t i = 0; i < minibatch.count() && count < wanted; ++i) {
      if (minibatch.weight(i) == 0) continue;
      copy(minibatch.rows().rows(i, i + 1), rows.view().rows(count, count + 1));
      weights.data<float>()[count++] = static_cast<float>(minibatch.weight(i));
    }
    check_interrupt();
  }
  PANDA_CHECK(options.k <= count, "kmeans: k=", options.k, " with ", count,
              " points of positive weight, expected 1 <= k <= ", count);
  KmeansPoints chosen = KmeansPoints::of(rows.view().rows(0, count));
  chosen.weights = weights.view().rows(0, count);
  PointReader reader(device, chosen);
  return kmeans_start(device, reader, {.k = options.k, .start = options.start, .seed = options.seed},
                      progress);
}

class Learner {
 public:
  Learner(Device& device, PointReader& points, Minibatch& minibatch, const KmeansMinibatchOptions& options,
          Progress* progress)
      : device_(device),
        points_(points),
        minibatch_(minibatch),
        options_(options),
        progress_(progress),
        random_(options.seed, kReseedStream),
        labels_(static_cast<size_t>(options.minibatch)),
        distances_(static_cast<size_t>(options.minibatch)),
        sums_(clone_to(zeros(options.k), device, "cluster sums")),
        zero_row_(zeros(1)),
        met_(static_cast<size_t>(options.k), 0.0) {
    result_.weights.assign(static_cast<size_t>(options.k), 0.0);
    result_.movement = std::numeric_limits<double>::infinity();
    result_.smoothed_inertia = std::numeric_limits<double>::quiet_NaN();
  }

  KmeansMinibatchResult run(Tensor centers);

 private:
  [[nodiscard]] Tensor zeros(int64_t rows) const {
    Tensor result(host(), DType::kF64, {rows, points_.d()}, "cluster sums");
    std::fill_n(result.data<double>(), result.numel(), 0.0);
    return result;
  }
  /// Gives what centers were given in earlier passes less weight.
  void fade();
  /// One pass; true if what it learned says that this was the last.
  bool pass();
  void search(const ConstTensorView& rows);
  /// True if the smoothed inertia has not fallen for long enough.
  bool smooth();
  void reseed(const ConstTensorView& rows);
  void learn(const ConstTensorView& rows);
  /// Finds the starved centers once there is enough to count.
  void count_starved();

  Device& device_;
  PointReader& points_;
  Minibatch& minibatch_;
  const KmeansMinibatchOptions& options_;
  Progress* progress_;
  Random random_;  ///< of points for starved centers
  std::vector<int64_t> labels_;
  std::vector<double> distances_;
  Tensor sums_;  ///< S
  Tensor zero_row_;
  std::vector<double> met_;  ///< weight given to each center since the last count
  int64_t met_points_ = 0;
  std::vector<int64_t> starved_;
  double least_inertia_ = std::numeric_limits<double>::infinity();
  int64_t without_progress_ = 0;
  KmeansMinibatchResult result_;
};

void Learner::search(const ConstTensorView& rows) {
  const Tensor& centers = result_.centers;
  const KnnGallery gallery(device_,
                           device_.host_accessible() ? centers : clone_to(centers, device_, "centers"));
  const bool measured = options_.patience > 0 || !starved_.empty();
  points_.nearest(rows, gallery, labels_.data(), measured ? distances_.data() : nullptr);
}

bool Learner::smooth() {
  if (options_.patience == 0 || result_.minibatches == 0) return false;
  double sum = 0;
  double weight = 0;
  for (int64_t i = 0; i < minibatch_.count(); ++i) {
    sum += minibatch_.weight(i) * distances_[static_cast<size_t>(i)];
    weight += minibatch_.weight(i);
  }
  if (weight == 0) return false;
  const double rate =
      std::min(1.0, 2 * static_cast<double>(options_.minibatch) / (static_cast<double>(points_.n()) + 1));
  double& smoothed = result_.smoothed_inertia;
  smoothed = std::isnan(smoothed) ? sum / weight : smoothed + rate * (sum / weight - smoothed);
  without_progress_ = smoothed < least_inertia_ ? 0 : without_progress_ + 1;
  least_inertia_ = std::min(least_inertia_, smoothed);
  return without_progress_ >= options_.patience;
}

void Learner::reseed(const ConstTensorView& rows) {
  const auto count = static_cast<size_t>(minibatch_.count());
  std::vector<double> masses(count);
  std::vector<double> running;
  std::vector<int64_t> ignored(count);
  std::vector<double> distances(count);
  for (const int64_t j : starved_) {
    for (size_t i = 0; i < count; ++i) masses[i] = minibatch_.weight(static_cast<int64_t>(i)) * distances_[i];
    const int64_t point = draw_by_mass(masses, running, random_);
    if (point < 0) break;
    labels_[static_cast<size_t>(point)] = j;
    copy(zero_row_, sums_.view().rows(j, j + 1));
    result_.weights[static_cast<size_t>(j)] = 0;
    ++result_.reseeded;
    const KnnGallery there(device_, clone_to(rows.rows(point, point + 1), device_, "center"), KnnMetric::kL2,
                           KnnFilter::kNone);
    points_.nearest(rows, there, ignored.data(), distances.data());
    for (size_t i = 0; i < count; ++i) distances_[i] = std::min(distances_[i], distances[i]);
  }
  starved_.clear();
}

void Learner::learn(const ConstTensorView& rows) {
  const ClusterMembers clusters(labels_.data(), minibatch_.count(), options_.k);
  ConstTensorView weights = minibatch_.weights();
  Tensor weights_there;
  if (weights.present() && !device_.host_accessible())
    weights = weights_there = clone_to(weights, device_, "weights");
  kmeans_accumulate(device_, {rows, weights, clusters.members, clusters.offsets, sums_});
  for (int64_t i = 0; i < minibatch_.count(); ++i) {
    const auto j = static_cast<size_t>(labels_[static_cast<size_t>(i)]);
    result_.weights[j] += minibatch_.weight(i);
    met_[j] += minibatch_.weight(i);
  }
  met_points_ += minibatch_.count();
  const Tensor sums = device_.host_accessible() ? sums_ : clone_to(sums_, host(), "cluster sums");
  const int64_t d = points_.d();
  for (int64_t j = 0; j < options_.k; ++j) {
    const auto cluster = static_cast<size_t>(j);
    const double weight = result_.weights[cluster];
    if (clusters.offsets[cluster] == clusters.offsets[cluster + 1] || weight == 0) continue;
    for (int64_t i = j * d; i < (j + 1) * d; ++i)
      result_.centers.data<float>()[i] = static_cast<float>(sums.data<double>()[i] / weight);
  }
  ++result_.minibatches;
}

void Learner::count_starved() {
  if (met_points_ < points_.n() && met_points_ / kPointsPerCount < options_.k) return;
  double total = 0;
  for (const double weight : met_) total += weight;
  const double enough = options_.starved * total / static_cast<double>(options_.k);
  starved_.clear();
  for (int64_t j = 0; j < options_.k; ++j) {
    if (met_[static_cast<size_t>(j)] <= enough) starved_.push_back(j);
  }
  std::fill(met_.begin(), met_.end(), 0.0);
  met_points_ = 0;
}

void Learner::fade() {
  for (double& weight : result_.weights) weight *= kRemembered;
  const Tensor sums = clone_to(sums_, host(), "cluster sums");
  for (int64_t i = 0; i < sums.numel(); ++i) sums.data<double>()[i] *= kRemembered;
  copy(sums, sums_);
}

bool Learner::pass() {
  if (result_.passes > 0) fade();
  const Tensor before = clone_to(result_.centers, host(), "centers");
  const int64_t reseeded_before = result_.reseeded;
  RowOrder order = minibatch_.order(options_.seed, ++result_.passes);
  int64_t done = (result_.passes - 1) * points_.n();
  while (minibatch_.read(order)) {
    Tensor there;
    ConstTensorView rows = minibatch_.rows();
    if (!device_.host_accessible()) rows = there = clone_to(rows, device_, "minibatch");
    search(rows);
    const bool tired = smooth();
    if (!starved_.empty()) reseed(rows);
    learn(rows);
    count_starved();
    done += minibatch_.count();
    report_progress(progress_, "k-means", done, checked_mul(options_.passes, points_.n()));
    if (tired) {
      result_.stop = KmeansStop::kInertia;
      return true;
    }
  }
  result_.movement = std::ranges::max(center_movements(before, result_.centers));
  if (result_.movement <= options_.tolerance && result_.reseeded == reseeded_before) {
    result_.stop = KmeansStop::kMovement;
    return true;
  }
  return false;
}

KmeansMinibatchResult Learner::run(Tensor centers) {
  result_.centers = std::move(centers);
  while (result_.passes < options_.passes && !pass()) {
  }
  return std::move(result_);
}

void check(const KmeansPoints& points, const KmeansMinibatchOptions& options) {
  PANDA_CHECK(points.d >= 1, "kmeans: points of d=", points.d, ", expected d >= 1");
  PANDA_CHECK(options.k >= 1 && options.k <= points.n, "kmeans: k=", options.k, " with ", points.n,
              " points, expected 1 <= k <= ", points.n);
  PANDA_CHECK(options.minibatch >= 1, "kmeans: minibatches of ", options.minibatch, " points, expected >= 1");
  PANDA_CHECK(options.passes >= 0 && options.passes < int64_t{1} << 32, "kmeans: passes=", options.passes,
              ", expected 0 <= passes < 2^32");
  PANDA_CHECK(options.tolerance >= 0, "kmeans: tolerance=", options.tolerance, ", expected >= 0");
  PANDA_CHECK(options.patience >= 0, "kmeans: patience=", options.patience, ", expected >= 0");
  PANDA_CHECK(options.starved >= 0 && options.starved < 1, "kmeans: starved=", options.starved,
              ", expected 0 <= starved < 1");
  if (points.weights.present()) {
    const OperandCheck check("kmeans", host());
    check.shape("weights", points.weights, {points.n});
  }
  if (options.initial_centers.present()) check_initial_centers(options.initial_centers, options.k, points.d);
}

}  // namespace

const char* kmeans_stop_name(KmeansStop stop) {
  switch (stop) {
    case KmeansStop::kPasses:
      return "passes";
    case KmeansStop::kMovement:
      return "movement";
    case KmeansStop::kInertia:
      return "inertia";
  }
  return "";
}

KmeansMinibatchResult kmeans_minibatch(Device& device, const KmeansPoints& points,
                                       const KmeansMinibatchOptions& options, Progress* progress) {
  check(points, options);
  KmeansMinibatchOptions bounded = options;
  bounded.minibatch = std::min(options.minibatch, points.n);
  PointReader reader(device, points);
  Minibatch minibatch(reader, bounded.minibatch);
  Tensor centers = options.initial_centers.present()
                       ? clone_to(options.initial_centers, host(), "centers")
                       : choose_start(device, reader, minibatch, bounded, progress);
  return Learner(device, reader, minibatch, bounded, progress).run(std::move(centers));
}

double kmeans_assign(Device& device, const KmeansPoints& points, const ConstTensorView& centers,
                     const std::function<void(const ConstTensorView& labels)>& visit, Progress* progress) {
  PANDA_CHECK(points.d >= 1, "kmeans: points of d=", points.d, ", expected d >= 1");
  PANDA_CHECK(centers.present() && centers.shape().rank() == 2 && centers.shape()[0] >= 1,
              "kmeans: centers are ", centers.present() ? centers.to_string() : std::string("absent"),
              ", expected f32 k,", points.d);
  check_initial_centers(centers, centers.shape()[0], points.d);
  PointReader reader(device, points);
  const KnnGallery gallery(device, clone_to(centers, device.host_accessible() ? host() : device, "centers"));
  double inertia = 0;
  Tensor labels;
  std::vector<double> distances;
  reader.for_each_part(centers.shape()[0], [&](const ConstTensorView& part, int64_t begin, int64_t end) {
    if (!labels.present()) labels = Tensor(host(), DType::kI64, {end - begin}, "labels");
    distances.resize(static_cast<size_t>(end - begin));
    const TensorView now = labels.view().rows(0, end - begin);
    reader.nearest(part, gallery, now, distances.data());
    Tensor owner;
    const ConstTensorView weights = reader.read_weights(begin, end, owner);
    for (int64_t i = 0; i < end - begin; ++i) {
      const double weight = weights.present() ? double{weights.data<float>()[i]} : 1.0;
      inertia += weight * distances[static_cast<size_t>(i)];
    }
    if (visit) visit(now);
    report_progress(progress, "labels", end, points.n);
  });
  return inertia;
}

}  // namespace panda::kernels
