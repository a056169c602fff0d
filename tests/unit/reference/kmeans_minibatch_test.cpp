// K-means in minibatches: Sculley's rule point by point in f64, the order of the points, when it ends,
// starved centers, and the same bits everywhere.
#include "kernels/kmeans_minibatch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "kernels/device_registry.h"
#include "kernels/tensor/random.h"
#include "tests/support/kmeans.h"

namespace panda::test {
namespace {

using namespace panda::kernels;

/// `groups` clouds of points around different middles, one after the other as in a sorted file.
Tensor sorted_groups(int64_t n, int64_t d, int64_t groups, uint64_t seed) {
  Random random(seed);
  Tensor points(host(), DType::kF32, {n, d}, "points");
  for (int64_t i = 0; i < n; ++i) {
    const int64_t group = i * groups / n;
    for (int64_t j = 0; j < d; ++j)
      points.data<float>()[i * d + j] =
          static_cast<float>(8 * ((group >> (j % 6)) & 1) + random.next_normal());
  }
  return points;
}

Tensor drawn_weights(int64_t n, uint64_t seed) {
  Random random(seed);
  Tensor weights(host(), DType::kF32, {n}, "weights");
  for (int64_t i = 0; i < n; ++i)
    weights.data<float>()[i] = i % 10 == 0 ? 0.0F : static_cast<float>(random.next_uniform(0.1, 3));
  return weights;
}

/// Points that are read from memory, and the rows that were read, in order.
struct Spied {
  KmeansPoints points;
  std::vector<int64_t> rows;
  int64_t longest = 0;

  explicit Spied(const Tensor& tensor) : points(KmeansPoints::of(tensor)) {
    points.read = [this, tensor](int64_t begin, int64_t end, Tensor&) -> ConstTensorView {
      for (int64_t i = begin; i < end; ++i) rows.push_back(i);
      longest = std::max(longest, end - begin);
      return tensor.view().rows(begin, end);
    };
  }
};

class KmeansMinibatch : public ::testing::Test {
 protected:
  std::unique_ptr<Device> device_ = make_device({"cpu", 2, ""});
};

/// c += (w / W)(x - c) for one point of `rows` after the other, in f64; W / 8 before each further pass.
std::vector<double> learned_by_the_rule(const Tensor& points, const Tensor& weights, const Tensor& start,
                                        const std::vector<int64_t>& rows, int64_t minibatch) {
  const int64_t n = points.shape()[0];
  const int64_t d = points.shape()[1];
  const int64_t k = start.shape()[0];
  std::vector<double> centers(start.data<float>(), start.data<float>() + start.numel());
  std::vector<double> given(static_cast<size_t>(k), 0.0);
  size_t at = 0;
  while (at < rows.size()) {
    const auto left_of_pass = static_cast<size_t>(n) - at % static_cast<size_t>(n);
    const size_t end = at + std::min(static_cast<size_t>(minibatch), left_of_pass);
    const std::vector<double> before = centers;
    if (at > 0 && at % static_cast<size_t>(n) == 0) {
      for (double& weight : given) weight /= 8;
    }
    for (; at < end; ++at) {
      const float* x = points.data<float>() + rows[at] * d;
      std::vector<double> distances(static_cast<size_t>(k), 0.0);
      for (int64_t i = 0; i < k * d; ++i) {
        const double rounded = static_cast<float>(before[static_cast<size_t>(i)]);
        distances[static_cast<size_t>(i / d)] += (x[i % d] - rounded) * (x[i % d] - rounded);
      }
      const auto nearest = std::min_element(distances.begin(), distances.end()) - distances.begin();
      const double weight = weights.present() ? weights.data<float>()[rows[at]] : 1.0;
      if (weight == 0) continue;
      given[static_cast<size_t>(nearest)] += weight;
      for (int64_t i = 0; i < d; ++i) {
        double& c = centers[static_cast<size_t>(nearest * d + i)];
        c += weight / given[static_cast<size_t>(nearest)] * (x[i] - c);
      }
    }
  }
  return centers;
}

TEST_F(KmeansMinibatch, LearnsByTheRuleOfSculley) {
  const Tensor points = sorted_groups(1500, 7, 9, 1);
  const Tensor weights = drawn_weights(1500, 2);
  const Tensor start = clone_to(points.view().rows(100, 111), host());
  for (const bool weighted : {false, true}) {
    Spied spied(points);
    if (weighted) spied.points.weights = weights;
    const KmeansMinibatchResult result = kmeans_minibatch(
        *device_, spied.points,
        {.k = 11, .minibatch = 130, .passes = 3, .patience = 0, .starved = 0, .initial_centers = start});
    EXPECT_EQ(result.passes, 3);
    EXPECT_EQ(result.minibatches, 3 * 12);
    EXPECT_EQ(result.stop, KmeansStop::kPasses);
    EXPECT_TRUE(std::isnan(result.smoothed_inertia));
    ASSERT_EQ(result.reseeded, 0);
    const std::vector<double> expected =
        learned_by_the_rule(points, weighted ? weights : Tensor(), start, spied.rows, 130);
    // Ours is rounded once to f32; each of up to 4500 f64 steps of the rule adds no more than 2^-51 |c|.
    double largest_move = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      const double c = result.centers.data<float>()[i];
      EXPECT_TRUE(std::abs(c - expected[i]) <= 0x1p-24 * std::abs(expected[i]) + 4500 * 0x1p-51 * 20)
          << i << ": " << c << ", expected " << expected[i];
      largest_move = std::max(largest_move, std::abs(c - start.data<float>()[i]));
    }
    EXPECT_GT(largest_move, 0.5);
    double given = 0;
    for (const double weight : result.weights) given += weight;
    double all = 0;
    for (int64_t i = 0; i < 1500; ++i) all += weighted ? double{weights.data<float>()[i]} : 1.0;
    EXPECT_NEAR(given, (1 + 1 / 8.0 + 1 / 64.0) * all, 1e-9 * given);
  }
}

TEST_F(KmeansMinibatch, TakesEveryPointOnceInEachPassFromManyPlaces) {
  const Tensor points = sorted_groups(5000, 4, 5, 3);
  const Tensor start = clone_to(points.view().rows(0, 5), host());
  const auto rows_of = [&](uint64_t seed) {
    Spied spied(points);
    (void)kmeans_minibatch(
        *device_, spied.points,
        {.k = 5, .minibatch = 640, .passes = 2, .patience = 0, .seed = seed, .initial_centers = start});
    EXPECT_LE(spied.longest, 10);  // 640 / 64
    return spied.rows;
  };
  const std::vector<int64_t> rows = rows_of(0);
  ASSERT_EQ(rows.size(), 10000U);
  EXPECT_EQ(rows, rows_of(0));
  EXPECT_NE(rows, rows_of(1));
  EXPECT_FALSE(std::equal(rows.begin(), rows.begin() + 5000, rows.begin() + 5000));
  for (const int64_t pass : {0, 1}) {
    std::vector<int64_t> taken(rows.begin() + pass * 5000, rows.begin() + (pass + 1) * 5000);
    std::sort(taken.begin(), taken.end());
    for (int64_t i = 0; i < 5000; ++i) ASSERT_EQ(taken[static_cast<size_t>(i)], i);
  }
  // The points are sorted by group, minibatches are not: 128 of each group, +- 32 as runs of 10 fall.
  for (int64_t batch = 0; batch < 7; ++batch) {
    for (int64_t group = 0; group < 5; ++group) {
      const auto begin = rows.begin() + batch * 640;
      const auto count = std::count_if(begin, begin + 640, [&](int64_t row) { return row / 1000 == group; });
      EXPECT_NEAR(static_cast<double>(count), 128, 5 * 32) << batch << " " << group;
      EXPECT_GT(count, 0);
    }
  }
}

TEST_F(KmeansMinibatch, ComesNearLloydAndItsLabelsAreThoseOfItsCenters) {
  const Tensor points = sorted_groups(6000, 12, 20, 4);
  const KmeansPoints source = KmeansPoints::of(points);
  const KmeansMinibatchResult result = kmeans_minibatch(*device_, source, {.k = 20, .minibatch = 500});
  std::vector<int64_t> labels;
  const double inertia = kmeans_assign(*device_, source, result.centers, [&](const ConstTensorView& part) {
    labels.insert(labels.end(), part.data<int64_t>(), part.data<int64_t>() + part.numel());
  });
  const KmeansResult same_centers =
      kmeans(*device_, source, {.k = 20, .iterations = 0, .initial_centers = result.centers});
  EXPECT_EQ(labels, values_of<int64_t>(same_centers.labels));
  EXPECT_EQ(inertia, same_centers.inertia);
  // From a point of each group, both find the groups: 12 of inertia per point, less what a center takes.
  Tensor start(host(), DType::kF32, {20, 12}, "start");
  for (int64_t j = 0; j < 20; ++j)
    copy(points.view().rows(j * 300 + 7, j * 300 + 8), start.view().rows(j, j + 1));
  const KmeansResult lloyd = kmeans(*device_, source, {.k = 20, .initial_centers = start});
  const KmeansMinibatchResult learned =
      kmeans_minibatch(*device_, source, {.k = 20, .minibatch = 500, .initial_centers = start});
  EXPECT_NEAR(lloyd.inertia, 12 * 6000, 0.02 * 12 * 6000);
  EXPECT_LT(kmeans_assign(*device_, source, learned.centers, {}), 1.02 * lloyd.inertia);
  // A drawn start may miss groups, and is still far from one center.
  EXPECT_LT(inertia, 0.5 * kmeans(*device_, source, {.k = 1}).inertia);
}

TEST_F(KmeansMinibatch, EndsWhenNothingMoves) {
  // Two places, all points on them: the first pass moves the centers there, the second nothing.
  std::vector<float> values(400);
  for (size_t i = 0; i < 400; ++i) values[i] = i % 2 == 0 ? 1 : 5;
  const KmeansMinibatchResult result = kmeans_minibatch(
      *device_, KmeansPoints::of(matrix({400, 1}, values)),
      {.k = 2, .minibatch = 50, .passes = 9, .patience = 0, .initial_centers = matrix({2, 1}, {0, 9})});
  EXPECT_EQ(result.stop, KmeansStop::kMovement);
  EXPECT_EQ(result.passes, 2);
  EXPECT_EQ(result.movement, 0);
  EXPECT_EQ(values_of<float>(result.centers), (std::vector<float>{1, 5}));
  EXPECT_EQ(result.weights, (std::vector<double>{225, 225}));
  // With a tolerance that the first pass keeps, after the first pass.
  const KmeansMinibatchResult loose =
      kmeans_minibatch(*device_, KmeansPoints::of(matrix({400, 1}, values)),
                       {.k = 2, .minibatch = 50, .tolerance = 4, .initial_centers = matrix({2, 1}, {0, 9})});
  EXPECT_EQ(loose.passes, 1);
  EXPECT_EQ(loose.movement, 4);
}

TEST_F(KmeansMinibatch, EndsWhenTheSmoothedInertiaNoLongerFalls) {
  const Tensor points = sorted_groups(4000, 5, 8, 6);
  KmeansMinibatchOptions options{.k = 8, .minibatch = 100, .passes = 50, .patience = 10};
  const KmeansMinibatchResult patient = kmeans_minibatch(*device_, KmeansPoints::of(points), options);
  EXPECT_EQ(patient.stop, KmeansStop::kInertia);
  EXPECT_LT(patient.minibatches, 50 * 40);
  EXPECT_GT(patient.smoothed_inertia, 0);
  options.patience = 2;
  const KmeansMinibatchResult hasty = kmeans_minibatch(*device_, KmeansPoints::of(points), options);
  EXPECT_EQ(hasty.stop, KmeansStop::kInertia);
  EXPECT_LT(hasty.minibatches, patient.minibatches);
  // Constant inertia does not fall: the second minibatch is the least, then `patience` more.
  const KmeansMinibatchResult flat =
      kmeans_minibatch(*device_, KmeansPoints::of(matrix({40, 1}, std::vector<float>(40, 2))),
                       {.k = 1, .minibatch = 4, .patience = 3, .initial_centers = matrix({1, 1}, {2})});
  EXPECT_EQ(flat.minibatches, 5);
  EXPECT_EQ(flat.smoothed_inertia, 0);
}

TEST_F(KmeansMinibatch, StarvedCentersBeginAgainAtPointsOffTheirCenters) {
  // Centers 1 and 2 are too far off to be given anything in the first pass.
  std::vector<float> values(300);
  for (size_t i = 0; i < 300; ++i) values[i] = static_cast<float>(i % 3 * 100);
  const Tensor points = matrix({300, 1}, values);
  const KmeansMinibatchResult result = kmeans_minibatch(
      *device_, KmeansPoints::of(points),
      {.k = 3, .minibatch = 60, .passes = 6, .initial_centers = matrix({3, 1}, {0, -1e6F, 1e6F})});
  EXPECT_EQ(result.reseeded, 2);
  std::vector<float> centers = values_of<float>(result.centers);
  // Those that begin again are on points at once; the first keeps what it was given before.
  EXPECT_TRUE(std::count(centers.begin(), centers.end(), 0.0F) == 1 ||
              std::count(centers.begin(), centers.end(), 200.0F) == 1);
  const double inertia = kmeans_assign(*device_, KmeansPoints::of(points), result.centers, {});
  EXPECT_LT(inertia, 100 * 100.0 * 100);  // of one center: 2 * 100 * 100^2
  // Not asked for, and no point off its center: nothing is moved.
  const KmeansMinibatchResult coincide = kmeans_minibatch(
      *device_, KmeansPoints::of(matrix({50, 1}, std::vector<float>(50, 3))),
      {.k = 2, .minibatch = 5, .passes = 4, .patience = 0, .initial_centers = matrix({2, 1}, {3, 8})});
  EXPECT_EQ(coincide.reseeded, 0);
  EXPECT_EQ(values_of<float>(coincide.centers), (std::vector<float>{3, 8}));
}

TEST_F(KmeansMinibatch, ChoosesItsStartAmongPointsOfPositiveWeight) {
  const Tensor points = matrix({6, 1}, {0, 10, 20, 30, 40, 50});
  KmeansPoints source = KmeansPoints::of(points);
  const Tensor weights = matrix({6}, {0, 1, 0, 1, 0, 1});
  source.weights = weights;
  for (const KmeansStart start : {KmeansStart::kRandom, KmeansStart::kPlusPlus}) {
    const KmeansMinibatchResult result =
        kmeans_minibatch(*device_, source, {.k = 3, .minibatch = 2, .passes = 0, .start = start});
    std::vector<float> centers = values_of<float>(result.centers);
    std::sort(centers.begin(), centers.end());
    EXPECT_EQ(centers, (std::vector<float>{10, 30, 50}));
    EXPECT_EQ(result.minibatches, 0);
  }
}

void expect_same_bits(const KmeansMinibatchResult& a, const KmeansMinibatchResult& b,
                      const std::string& what) {
  EXPECT_EQ(
      std::memcmp(a.centers.data<float>(), b.centers.data<float>(), static_cast<size_t>(a.centers.bytes())),
      0)
      << what;
  EXPECT_EQ(a.weights, b.weights) << what;
  EXPECT_EQ(a.minibatches, b.minibatches) << what;
  EXPECT_EQ(a.movement, b.movement) << what;
  EXPECT_EQ(a.smoothed_inertia, b.smoothed_inertia) << what;
  EXPECT_EQ(a.stop, b.stop) << what;
  EXPECT_EQ(a.reseeded, b.reseeded) << what;
}

TEST_F(KmeansMinibatch, HasTheSameBitsForEveryDeviceThreadCountAndWayOfReading) {
  const Tensor points = sorted_groups(1200, 21, 40, 7);
  const Tensor weights = drawn_weights(1200, 8);
  const KmeansMinibatchOptions options{.k = 30, .minibatch = 170, .passes = 3, .starved = 0.5, .seed = 5};
  KmeansPoints source = KmeansPoints::of(points);
  source.weights = weights;
  const std::unique_ptr<Device> oracle = make_device({"reference", 1, ""});
  const KmeansMinibatchResult expected = kmeans_minibatch(*oracle, source, options);
  EXPECT_GT(expected.reseeded, 0);
  EXPECT_GT(expected.smoothed_inertia, 0);
  std::vector<int64_t> expected_labels;
  const auto keep = [](std::vector<int64_t>& all) {
    return [&all](const ConstTensorView& part) {
      all.insert(all.end(), part.data<int64_t>(), part.data<int64_t>() + part.numel());
    };
  };
  const double inertia = kmeans_assign(*oracle, source, expected.centers, keep(expected_labels));
  for (const std::string& isa : supported_instruction_sets()) {
    for (const int threads : {1, 3}) {
      const std::unique_ptr<Device> device = make_device({"cpu", threads, isa});
      const std::string what = text("cpu ", isa, " ", threads);
      expect_same_bits(kmeans_minibatch(*device, source, options), expected, what);
      std::vector<int64_t> labels;
      EXPECT_EQ(kmeans_assign(*device, source, expected.centers, keep(labels)), inertia) << what;
      EXPECT_EQ(labels, expected_labels) << what;
    }
  }
  const std::unique_ptr<Device> simt = make_device({"simt", 1, ""});
  const Tensor few = clone_to(points.view().rows(0, 120), host());  // the emulator is slow
  KmeansPoints short_source = KmeansPoints::of(few);
  short_source.weights = weights.view().rows(0, 120);
  const KmeansMinibatchOptions short_run{.k = 6, .minibatch = 50, .passes = 2, .starved = 0.5};
  expect_same_bits(kmeans_minibatch(*simt, short_source, short_run),
                   kmeans_minibatch(*oracle, short_source, short_run), "simt");
  // Points and weights as from files, and labels in parts of 7 rows.
  source.read = [&](int64_t begin, int64_t end, Tensor& owner) -> ConstTensorView {
    owner = clone_to(points.view().rows(begin, end), host());
    return owner;
  };
  source.weights = {};
  source.read_weights = [&](int64_t begin, int64_t end, Tensor& owner) -> ConstTensorView {
    owner = clone_to(weights.view().rows(begin, end), host());
    return owner;
  };
  source.part_bytes = 7 * 21 * 4;
  expect_same_bits(kmeans_minibatch(*device_, source, options), expected, "as from files");
  source.piece_rows = 101;
  expect_same_bits(kmeans_minibatch(*device_, source, options), expected, "in pieces");
  std::vector<int64_t> labels;
  EXPECT_EQ(kmeans_assign(*device_, source, expected.centers, keep(labels)), inertia);
  EXPECT_EQ(labels, expected_labels);
}

TEST_F(KmeansMinibatch, NamesWhatIsWrong) {
  const auto run = [&](const Tensor& points, const KmeansMinibatchOptions& options,
                       const Tensor& weights = {}) {
    return message_of([&] {
      KmeansPoints source = KmeansPoints::of(points);
      if (weights.present()) source.weights = weights;
      (void)kmeans_minibatch(*device_, source, options);
    });
  };
  const Tensor points = matrix({3, 2}, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(run(points, {.k = 4}), "kmeans: k=4 with 3 points, expected 1 <= k <= 3");
  EXPECT_EQ(run(points, {.k = 2}, matrix({3}, {0, 0, 1})),
            "kmeans: k=2 with 1 points of positive weight, expected 1 <= k <= 1");
  EXPECT_EQ(run(points, {.k = 1}, matrix({3}, {0, -2, 1})),
            "kmeans: weight 1 is -2, expected a finite number >= 0");
  EXPECT_EQ(run(points, {.k = 1}, matrix({2}, {1, 1})), "kmeans: weights is f32 2, expected 3");
  EXPECT_EQ(run(points, {.k = 1, .minibatch = 0}), "kmeans: minibatches of 0 points, expected >= 1");
  EXPECT_EQ(run(points, {.k = 1, .passes = -1}), "kmeans: passes=-1, expected 0 <= passes < 2^32");
  EXPECT_EQ(run(points, {.k = 1, .patience = -1}), "kmeans: patience=-1, expected >= 0");
  EXPECT_EQ(run(points, {.k = 1, .starved = 1}), "kmeans: starved=1, expected 0 <= starved < 1");
  EXPECT_EQ(run(points, {.k = 1, .tolerance = NAN}), "kmeans: tolerance=nan, expected >= 0");
  EXPECT_EQ(run(points, {.k = 1, .initial_centers = points.view()}),
            "kmeans: initial centers is f32 3x2, expected 1x2");
  EXPECT_EQ(run(matrix({3, 2}, {1, 2, 3, NAN, 5, 6}), {.k = 1}),
            "kmeans: point 1 holds nan at component 1, expected finite numbers");
  EXPECT_EQ(message_of([&] {
              (void)kmeans_assign(*device_, KmeansPoints::of(points), matrix({1, 3}, {1, 2, 3}), {});
            }),
            "kmeans: initial centers is f32 1x3, expected 1x2");
}

TEST_F(KmeansMinibatch, StopsWhenInterrupted) {
  StopAtSecondReport stop;
  const Tensor points = sorted_groups(400, 3, 4, 9);
  EXPECT_THROW((void)kmeans_minibatch(*device_, KmeansPoints::of(points), {.k = 5, .minibatch = 50}, &stop),
               Interrupted);
  clear_interrupt();
  EXPECT_EQ(stop.reports, 2);
}

}  // namespace
}  // namespace panda::test
