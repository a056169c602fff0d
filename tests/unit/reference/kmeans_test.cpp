// K-means: closed forms, scikit-learn's answers (tests/golden/make_kmeans_goldens.py), and the same bits
// everywhere.
#include "kernels/kmeans.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <sstream>

#include "kernels/device_registry.h"
#include "kernels/kmeans_bounds.h"
#include "kernels/knn.h"
#include "kernels/tensor/random.h"
#include "tests/support/kmeans.h"

namespace panda::test {
namespace {

using namespace panda::kernels;

/// Clusters of very different sizes.
Tensor blobs(int64_t n, int64_t d, uint64_t seed) {
  Random random(seed);
  Tensor points(host(), DType::kF32, {n, d}, "points");
  for (int64_t i = 0; i < n; ++i) {
    const auto blob = static_cast<double>(random.next_below(1 + random.next_below(9)));
    for (int64_t j = 0; j < d; ++j)
      points.data<float>()[i * d + j] = static_cast<float>(3 * blob * (j % 3) + random.next_normal());
  }
  return points;
}

class Kmeans : public ::testing::Test {
 protected:
  KmeansResult run(const Tensor& points, const KmeansOptions& options, const Tensor& weights = {}) {
    KmeansPoints source = KmeansPoints::of(points);
    if (weights.present()) source.weights = weights;
    return kmeans(*device_, source, options);
  }
  KmeansResult run_from(const Tensor& points, const Tensor& centers, int64_t iterations = 25,
                        const Tensor& weights = {}) {
    return run(points, {.k = centers.shape()[0], .iterations = iterations, .initial_centers = centers.view()},
               weights);
  }
  std::unique_ptr<Device> device_ = make_device({"cpu", 2, ""});
};

TEST_F(Kmeans, FindsTheMeansOfSeparateGroups) {
  const Tensor points = matrix({6, 1}, {0, 1, 10, 11, 100, 102});
  const KmeansResult result = run_from(points, matrix({3, 1}, {0, 10, 100}));
  EXPECT_EQ(values_of<float>(result.centers), (std::vector<float>{0.5, 10.5, 101}));
  EXPECT_EQ(values_of<int64_t>(result.labels), (std::vector<int64_t>{0, 0, 1, 1, 2, 2}));
  EXPECT_EQ(result.inertia, 3);
  EXPECT_EQ(result.iterations, 2);  // the second shows that nothing moves
  EXPECT_EQ(result.movement, 0);
  EXPECT_TRUE(result.converged);
  EXPECT_EQ(result.reseeded, 0);
}

TEST_F(Kmeans, WeighsPoints) {
  const Tensor points = matrix({3, 1}, {0, 3, 7});
  const KmeansResult result = run_from(points, matrix({1, 1}, {5}), 25, matrix({3}, {2, 1, 0}));
  EXPECT_EQ(values_of<float>(result.centers), std::vector<float>{1});
  EXPECT_EQ(values_of<int64_t>(result.labels), (std::vector<int64_t>{0, 0, 0}));
  EXPECT_EQ(result.inertia, 2 * 1 + 1 * 4);
}

TEST_F(Kmeans, GivesTiesToTheLowerCenter) {
  const KmeansResult result = run_from(matrix({3, 1}, {-1, 0, 1}), matrix({2, 1}, {1, -1}), 0);
  EXPECT_EQ(values_of<int64_t>(result.labels), (std::vector<int64_t>{1, 0, 0}));
  EXPECT_EQ(result.iterations, 0);
  EXPECT_FALSE(result.converged);
  EXPECT_EQ(result.inertia, 1);
}

TEST_F(Kmeans, EmptyClustersTakeTheFarthestPointsInOrder) {
  const Tensor points = matrix({4, 1}, {0, 1, 2, 10});
  const Tensor start = matrix({3, 1}, {1, 1000, 2000});
  const KmeansResult once = run_from(points, start, 1);
  EXPECT_EQ(values_of<float>(once.centers), (std::vector<float>{1.5, 10, 0}));
  EXPECT_EQ(once.reseeded, 2);
  EXPECT_EQ(values_of<int64_t>(once.labels), (std::vector<int64_t>{2, 0, 0, 1}));
  EXPECT_EQ(once.inertia, 0.5);
  // A point that is alone in its cluster is not taken from it.
  const KmeansResult alone = run_from(matrix({3, 1}, {0, 1, 50}), matrix({3, 1}, {0, 20, 1000}), 1);
  EXPECT_EQ(values_of<float>(alone.centers), (std::vector<float>{0, 50, 1}));
}

TEST_F(Kmeans, LeavesCentersWherePointsCoincide) {
  const Tensor points = matrix({4, 2}, {3, 4, 3, 4, 3, 4, 3, 4});
  for (const KmeansStart start : {KmeansStart::kRandom, KmeansStart::kPlusPlus}) {
    const KmeansResult result = run(points, {.k = 3, .start = start});
    EXPECT_EQ(values_of<float>(result.centers), (std::vector<float>{3, 4, 3, 4, 3, 4}));
    EXPECT_EQ(values_of<int64_t>(result.labels), (std::vector<int64_t>{0, 0, 0, 0}));
    EXPECT_EQ(result.inertia, 0);
    EXPECT_TRUE(result.converged);
    EXPECT_EQ(result.reseeded, 0);
  }
}

TEST_F(Kmeans, StopsWhenCentersMoveLessThanTheTolerance) {
  const Tensor points = blobs(500, 3, 1);
  KmeansOptions options{.k = 8, .iterations = 200};
  const KmeansResult exact = run(points, options);
  options.tolerance = 0.2;
  const KmeansResult loose = run(points, options);
  EXPECT_TRUE(exact.converged);
  EXPECT_EQ(exact.movement, 0);
  EXPECT_TRUE(loose.converged);
  EXPECT_LT(loose.iterations, exact.iterations);
  EXPECT_GT(loose.movement, 0);
  EXPECT_LE(loose.movement, 0.2);
}

TEST_F(Kmeans, InertiaNeverRises) {
  const Tensor points = blobs(700, 4, 2);
  KmeansOptions options{.k = 12, .iterations = 0, .start = KmeansStart::kRandom};
  double last = INFINITY;
  bool falls = false;
  for (; options.iterations < 10; ++options.iterations) {
    const KmeansResult result = run(points, options);
    EXPECT_LE(result.inertia, last * (1 + 1e-6));  // centers are rounded to f32
    falls = falls || result.inertia < 0.9 * last;
    last = result.inertia;
    // The labels and the inertia are those of the centers that are returned.
    const Tensor distances(host(), DType::kF64, {700, 1}, "d");
    const Tensor indices(host(), DType::kI64, {700, 1}, "i");
    knn_search(*device_, {points, result.centers, 1, distances, indices});
    EXPECT_EQ(values_of<int64_t>(result.labels), values_of<int64_t>(indices));
    double sum = 0;
    for (int64_t i = 0; i < 700; ++i) sum += distances.data<double>()[i];
    EXPECT_EQ(result.inertia, sum);
  }
  EXPECT_TRUE(falls);
}

/// As `points` of the script.
Tensor golden_points(int64_t n, int64_t d) {
  Tensor points(host(), DType::kF32, {n, d}, "points");
  for (int64_t i = 0; i < n * d; ++i)
    points.data<float>()[i] = static_cast<float>((i * i * 31 + i * 7919) % 1009 - 504) / 64;
  return points;
}

TEST_F(Kmeans, EqualsScikitLearnFromTheSameCenters) {
  std::map<std::string, std::vector<double>> golden;
  std::ifstream file(PANDA_SOURCE_DIR "/tests/golden/kernels/kmeans.txt");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key;
    words >> key;
    for (double value = 0; words >> value;) golden[key].push_back(value);
  }
  for (const std::string name : {"small", "many", "weighted"}) {
    const std::vector<double>& shape = golden.at(name + ".shape");
    const auto n = static_cast<int64_t>(shape.at(0));
    const Tensor points = golden_points(n, static_cast<int64_t>(shape.at(1)));
    Tensor weights;
    if (shape.at(3) != 0) {
      weights = Tensor(host(), DType::kF32, {n}, "weights");
      for (int64_t i = 0; i < n; ++i) weights.data<float>()[i] = static_cast<float>(i % 4 + 1) / 2;
    }
    const Tensor start = clone_to(points.view().rows(0, static_cast<int64_t>(shape.at(2))), host());
    const KmeansResult result = run_from(points, start, 300, weights);
    EXPECT_TRUE(result.converged) << name;
    const std::vector<int64_t> labels = values_of<int64_t>(result.labels);
    EXPECT_EQ(std::vector<double>(labels.begin(), labels.end()), golden.at(name + ".labels")) << name;
    // Ours are centers in f32: each term of the sum errs by no more than 2 |x - c| |c| 2^-24.
    EXPECT_NEAR(result.inertia, golden.at(name + ".inertia").at(0), 1e-5 * result.inertia) << name;
    EXPECT_GT(result.iterations, 2) << name;
  }
}

void expect_same_bits(const KmeansResult& a, const KmeansResult& b, const std::string& what) {
  EXPECT_EQ(values_of<int64_t>(a.labels), values_of<int64_t>(b.labels)) << what;
  EXPECT_EQ(
      std::memcmp(a.centers.data<float>(), b.centers.data<float>(), static_cast<size_t>(a.centers.bytes())),
      0)
      << what;
  EXPECT_EQ(a.inertia, b.inertia) << what;
  EXPECT_EQ(a.movement, b.movement) << what;
  EXPECT_EQ(a.iterations, b.iterations) << what;
  EXPECT_EQ(a.reseeded, b.reseeded) << what;
}

// Where labels, sums and sizes of clusters lie on the device: weights, parts and empty clusters at once.
TEST_F(Kmeans, GivesPointsToEmptyClustersInMemoryOfItsOwn) {
  const Tensor points = blobs(90, 7, 6);
  const Tensor weights(host(), DType::kF32, {90}, "weights");
  for (int64_t i = 0; i < 90; ++i) weights.data<float>()[i] = static_cast<float>(i % 4) / 2;
  const Tensor start = clone_to(points.view().rows(1, 7), host());
  std::fill_n(start.data<float>() + 4 * 7, 2 * 7, 1e4F);  // nearest to no point
  KmeansPoints source = KmeansPoints::of(points);
  source.weights = weights;
  source.part_bytes = 33 * 7 * 4;
  const KmeansOptions options{.k = 6, .iterations = 4, .initial_centers = start.view()};
  const std::unique_ptr<Device> simt = make_device({"simt", 1, ""});
  const KmeansResult result = kmeans(*simt, source, options);
  EXPECT_EQ(result.reseeded, 2);
  expect_same_bits(result, kmeans(*device_, source, options), "simt");
}

TEST_F(Kmeans, HasTheSameBitsForEveryDeviceThreadCountAndCut) {
  const Tensor points = blobs(900, 21, 3);
  Random random(4);
  const Tensor weights(host(), DType::kF32, {900}, "weights");
  for (int64_t i = 0; i < 900; ++i)
    weights.data<float>()[i] = i % 10 == 0 ? 0.0F : static_cast<float>(random.next_uniform(0.1, 3));
  for (const KmeansStart start : {KmeansStart::kRandom, KmeansStart::kPlusPlus}) {
    const KmeansOptions options{.k = 13, .iterations = 6, .start = start, .seed = 5};
    KmeansPoints source = KmeansPoints::of(points);
    source.weights = weights;
    const std::unique_ptr<Device> oracle = make_device({"reference", 1, ""});
    const KmeansResult expected = kmeans(*oracle, source, options);
    EXPECT_GT(expected.movement, 0);
    for (const std::string& isa : supported_instruction_sets()) {
      for (const int threads : {1, 3}) {
        const std::unique_ptr<Device> device = make_device({"cpu", threads, isa});
        expect_same_bits(kmeans(*device, source, options), expected, text("cpu ", isa, " ", threads));
      }
    }
    const std::unique_ptr<Device> simt = make_device({"simt", 1, ""});
    const Tensor few = clone_to(points.view().rows(0, 90), host());  // the emulator is slow
    const KmeansOptions short_run{.k = 5, .iterations = 2, .start = start};
    expect_same_bits(kmeans(*simt, KmeansPoints::of(few), short_run),
                     kmeans(*oracle, KmeansPoints::of(few), short_run), "simt");
    // Read in parts of 1 and of 7 rows, as from a file.
    source.read = [&](int64_t begin, int64_t end, Tensor& owner) -> ConstTensorView {
      owner = clone_to(points.view().rows(begin, end), host());
      return owner;
    };
    for (const int64_t rows : {1, 7}) {
      source.part_bytes = rows * 21 * 4;
      expect_same_bits(kmeans(*device_, source, options), expected, text("parts of ", rows));
    }
    // In pieces of 250 rows, read where they lie.
    source.part_bytes = 7 * 21 * 4;
    source.piece_rows = 250;
    source.read = [&](int64_t begin, int64_t end, Tensor&) -> ConstTensorView {
      EXPECT_LT(begin, end);
      EXPECT_EQ(begin / 250, (end - 1) / 250);
      return points.view().rows(begin, end);
    };
    expect_same_bits(kmeans(*device_, source, options), expected, "pieces");
  }
}

/// Whole numbers of up to 49 bits, of which 64-bit integers take the sums.
TEST(KmeansGrid, SumsAreThoseOfIntegersInAnyOrder) {
  const int64_t n = 3000;
  Random random(8);
  const Tensor points(host(), DType::kF32, {n, 1}, "points");
  int64_t expected = 0;  // in units of 2^-20
  for (int64_t i = 0; i < n; ++i) {
    const auto mantissa = static_cast<int64_t>(random.next_below(1 << 24)) - (1 << 23);
    const int64_t value = mantissa * (int64_t{1} << random.next_below(26));
    points.data<float>()[i] = std::ldexp(static_cast<float>(value), -20);
    expected += value;
  }
  const std::unique_ptr<Device> device = make_device({"cpu", 1, ""});
  const std::vector<float> largest = {std::ldexp(1.0F, 23 + 25 - 20)};
  const Tensor grid = kmeans_grid(largest, 1, n);
  for (const uint64_t seed : {1, 2, 3}) {
    const std::vector<int64_t> order = Random(seed).permutation(n);
    const Tensor mixed(host(), DType::kF32, {n, 1}, "points");
    for (int64_t i = 0; i < n; ++i)
      mixed.data<float>()[i] = points.data<float>()[order[static_cast<size_t>(i)]];
    const Tensor before(host(), DType::kI64, {n}, "before");
    const Tensor after(host(), DType::kI64, {n}, "after");
    std::fill_n(before.data<int64_t>(), n, int64_t{-1});
    std::fill_n(after.data<int64_t>(), n, int64_t{0});
    const Tensor sums(host(), DType::kF64, {2, 1, 1}, "sums");
    const Tensor counts(host(), DType::kI64, {1}, "counts");
    sums.data<double>()[0] = sums.data<double>()[1] = 0;
    counts.data<int64_t>()[0] = 0;
    kmeans_exchange(*device, {mixed, {}, before, after, grid, sums, counts});
    EXPECT_EQ(counts.data<int64_t>()[0], n);
    const double coarse = std::ldexp(sums.data<double>()[0], 20);
    const double fine = std::ldexp(sums.data<double>()[1], 20);
    EXPECT_EQ(static_cast<int64_t>(coarse) + static_cast<int64_t>(fine), expected);
    EXPECT_EQ(std::trunc(coarse), coarse);
    EXPECT_NE(fine, 0);  // or this test would not need two sums
  }
}

TEST(KmeansGrid, TakesColumnsOfZerosAndTheLargestAndSmallestNumbers) {
  const std::vector<float> largest = {0, std::numeric_limits<float>::max(),
                                      std::numeric_limits<float>::denorm_min()};
  const Tensor grid = kmeans_grid(largest, std::numeric_limits<float>::max(), int64_t{1} << 40);
  for (int64_t i = 0; i < grid.numel(); ++i) EXPECT_TRUE(std::isnormal(grid.data<double>()[i])) << i;
  EXPECT_EQ(message_of([&] { static_cast<void>(kmeans_grid(largest, 1, (int64_t{1} << 40) + 1)); }),
            "kmeans: 1099511627777 points, expected at most 1099511627776");
}

/// Centers that move at random: a point that is not searched again still has its nearest center, and many are
/// not searched.
TEST(KmeansBounds, SkipsNoPointWhoseNearestCenterChanges) {
  const int64_t n = 2000;
  const int64_t k = 12;
  Random random(9);
  std::vector<double> points(static_cast<size_t>(n));
  std::vector<double> centers(static_cast<size_t>(k));
  for (double& x : points) x = 100 * random.next_uniform();
  for (double& c : centers) c = 100 * random.next_uniform();
  KmeansBounds bounds(n);
  std::vector<int64_t> labels(static_cast<size_t>(n), -1);
  int64_t searched = 0;
  const int64_t updates = 20;
  for (int64_t update = 0; update < updates; ++update) {
    const auto open = bounds.open(0, n, labels.data());
    if (update == 0) {
      EXPECT_EQ(static_cast<int64_t>(open.size()), n);
    } else {
      searched += static_cast<int64_t>(open.size());
    }
    size_t next = 0;
    for (int64_t i = 0; i < n; ++i) {
      std::vector<std::pair<double, int64_t>> order;
      for (int64_t j = 0; j < k; ++j)
        order.emplace_back(std::abs(points[static_cast<size_t>(i)] - centers[static_cast<size_t>(j)]), j);
      std::partial_sort(order.begin(), order.begin() + 2, order.end());
      if (next == open.size() || open[next] != i) {
        EXPECT_EQ(labels[static_cast<size_t>(i)], order[0].second) << "point " << i << ", update " << update;
        continue;
      }
      ++next;
      labels[static_cast<size_t>(i)] = order[0].second;
      bounds.within()[i] = std::nextafter(static_cast<float>(order[0].first), INFINITY);
      bounds.beyond()[i] = std::nextafter(static_cast<float>(order[1].first), 0.0F);
    }
    std::vector<double> movements;
    for (double& c : centers) {
      const double step = random.next_normal() * (movements.size() == 3 ? 0.5 : 0.1);
      c += step;
      movements.push_back(std::abs(step));
    }
    bounds.move(movements);
  }
  EXPECT_LT(searched, n * (updates - 1) / 2);
  EXPECT_GT(searched, 0);
  bounds.forget(5);
  const auto open = bounds.open(0, n, labels.data());
  EXPECT_NE(std::find(open.begin(), open.end(), 5), open.end());
}

/// 40 updates of points in which few change their cluster in the end: the device that keeps bounds against
/// the one that searches all of them each time.
TEST_F(Kmeans, KeepsLabelsByBoundsAsASearchWould) {
  const Tensor points = blobs(4000, 33, 11);
  const KmeansOptions options{.k = 40, .iterations = 40, .seed = 2};
  const std::unique_ptr<Device> oracle = make_device({"reference", 1, ""});
  const KmeansResult expected = kmeans(*oracle, KmeansPoints::of(points), options);
  EXPECT_GT(expected.iterations, 10);
  for (const std::string& isa : supported_instruction_sets()) {
    const std::unique_ptr<Device> device = make_device({"cpu", 2, isa});
    expect_same_bits(kmeans(*device, KmeansPoints::of(points), options), expected, isa);
  }
}

TEST_F(Kmeans, RandomStartDrawsDifferentPointsOfPositiveWeight) {
  const Tensor points = matrix({5, 1}, {0, 1, 2, 3, 4});
  const Tensor weights = matrix({5}, {1, 0, 1, 1, 1});
  std::map<std::set<float>, int> pairs;
  for (uint64_t seed = 0; seed < 600; ++seed) {
    const KmeansResult result =
        run(points, {.k = 2, .iterations = 0, .start = KmeansStart::kRandom, .seed = seed}, weights);
    const std::vector<float> centers = values_of<float>(result.centers);
    ++pairs[{centers.begin(), centers.end()}];
  }
  EXPECT_EQ(pairs.size(), 6);  // of 0, 2, 3, 4
  // 100 each, standard deviation 9.1.
  for (const auto& [pair, count] : pairs) {
    EXPECT_EQ(pair.size(), 2);
    EXPECT_FALSE(pair.contains(1));
    EXPECT_NEAR(count, 100, 45);
  }
}

TEST_F(Kmeans, PlusPlusStartDrawsByWeightAndDistance) {
  const Tensor points = matrix({4, 1}, {0, 1, 2, 9});
  // The first is nearly always 0; the next 1 or 2, with weight times distance 1 : 4.
  const Tensor weights = matrix({4}, {1e6F, 1, 1, 0});
  int twos = 0;
  for (uint64_t seed = 0; seed < 500; ++seed) {
    const KmeansResult result = run(points, {.k = 2, .iterations = 0, .seed = seed}, weights);
    const std::vector<float> centers = values_of<float>(result.centers);
    ASSERT_EQ(centers[0], 0) << seed;
    ASSERT_TRUE(centers[1] == 1 || centers[1] == 2) << seed;
    twos += centers[1] == 2 ? 1 : 0;
  }
  EXPECT_NEAR(twos, 400, 45);  // standard deviation 8.9
}

/// k-means++ by its definition: every point is measured to every center, and sums are added from the start.
std::vector<float> plus_plus_by_definition(Device& device, const Tensor& points, const Tensor& weights,
                                           int64_t k, uint64_t seed) {
  const int64_t n = points.shape()[0];
  Random random(seed, 0x6b6d0002);
  std::vector<double> w(static_cast<size_t>(n), 1.0);
  for (size_t i = 0; weights.present() && i < w.size(); ++i) w[i] = weights.data<float>()[i];
  std::vector<double> nearest(static_cast<size_t>(n), INFINITY);
  std::vector<double> masses = w;
  std::vector<float> centers;
  for (int64_t j = 0; j < k; ++j) {
    if (std::count(masses.begin(), masses.end(), 0.0) == n) masses = w;
    double total = 0;
    for (const double mass : masses) total += mass;
    const double wanted = random.next_uniform() * total;
    double sum = 0;
    int64_t drawn = 0;
    for (size_t i = 0; i < masses.size(); ++i) {
      if (masses[i] == 0) continue;
      sum += masses[i];
      drawn = static_cast<int64_t>(i);
      if (sum > wanted) break;
    }
    const Tensor center = clone_to(points.view().rows(drawn, drawn + 1), host());
    for (const float x : values_of<float>(center)) centers.push_back(x);
    const Tensor distances(host(), DType::kF64, {n, 1}, "d");
    const Tensor indices(host(), DType::kI64, {n, 1}, "i");
    knn_search(device, {points, center, 1, distances, indices});
    for (size_t i = 0; i < masses.size(); ++i) {
      nearest[i] = std::min(nearest[i], distances.data<double>()[i]);
      masses[i] = w[i] * nearest[i];
    }
  }
  return centers;
}

TEST_F(Kmeans, PlusPlusStartSkipsNoPointThatCouldBeNearer) {
  Random random(6);
  const auto filled = [&](int64_t n, int64_t d, const std::function<double(int64_t)>& element) {
    Tensor points(host(), DType::kF32, {n, d}, "points");
    for (int64_t i = 0; i < n * d; ++i) points.data<float>()[i] = static_cast<float>(element(i));
    return points;
  };
  const auto normal = [&](int64_t) { return random.next_normal(); };
  std::map<std::string, Tensor> cases = {
      {"blobs", blobs(700, 21, 1)},
      {"far blobs of d=130", filled(400, 130, [&](int64_t i) { return 50 * (i / 130 % 7) + normal(i); })},
      {"a line of integers", filled(300, 1, [](int64_t i) { return i; })},  // centers twice as far: equality
      {"a small lattice", filled(500, 3, [&](int64_t) { return static_cast<double>(random.next_below(3)); })},
      {"huge", filled(200, 5, [&](int64_t i) { return 1e30 * normal(i); })},
      {"tiny", filled(200, 5, [&](int64_t i) { return 1e-39 * normal(i); })},
      {"one outlier", filled(200, 2, [&](int64_t i) { return i == 100 ? 1e20 : normal(i); })}};
  for (const auto& [name, points] : cases) {
    const int64_t n = points.shape()[0];
    const Tensor weights = filled(n, 1, [](int64_t i) { return i % 5; }).reshaped({n});
    for (const bool weighted : {false, true}) {
      const Tensor used = weighted ? weights : Tensor();
      for (const uint64_t seed : {0, 1}) {
        const KmeansResult result = run(points, {.k = 40, .iterations = 0, .seed = seed}, used);
        EXPECT_EQ(values_of<float>(result.centers), plus_plus_by_definition(*device_, points, used, 40, seed))
            << name << " " << weighted << " " << seed;
      }
    }
  }
}

TEST_F(Kmeans, NamesWhatIsWrong) {
  const Tensor points = matrix({3, 2}, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(message_of([&] { (void)run(points, {.k = 4}); }),
            "kmeans: k=4 with 3 points, expected 1 <= k <= 3");
  EXPECT_EQ(message_of([&] { (void)run(points, {.k = 0}); }),
            "kmeans: k=0 with 3 points, expected 1 <= k <= 3");
  EXPECT_EQ(message_of([&] {
              (void)run(points, {.k = 2}, matrix({3}, {1, 0, 0}));
            }),
            "kmeans: k=2 with 1 points of positive weight, expected 1 <= k <= 1");
  EXPECT_EQ(message_of([&] {
              (void)run(points, {.k = 2}, matrix({3}, {1, -2, 0}));
            }),
            "kmeans: weight 1 is -2, expected a finite number >= 0");
  EXPECT_EQ(message_of([&] {
              (void)run(points, {.k = 2}, matrix({2}, {1, 2}));
            }),
            "kmeans: weights is f32 2, expected 3");
  EXPECT_EQ(message_of([&] {
              (void)run_from(points, matrix({1, 3}, {1, 2, 3}));
            }),
            "kmeans: initial centers is f32 1x3, expected 1x2");
  EXPECT_EQ(message_of([&] {
              (void)run(matrix({2, 0}, {}), {.k = 1});
            }),
            "kmeans: points of d=0, expected d >= 1");
  EXPECT_EQ(message_of([&] {
              (void)run(matrix({3, 2}, {1, 2, 3, NAN, 5, 6}), {.k = 2});
            }),
            "kmeans: point 1 holds nan at component 1, expected finite numbers");
  EXPECT_EQ(message_of([&] {  // a point that is drawn as a center
              (void)run(matrix({1, 2}, {1, NAN}), {.k = 1, .start = KmeansStart::kRandom});
            }),
            "kmeans: point 0 holds nan at component 1, expected finite numbers");
  EXPECT_EQ(message_of([&] {
              (void)run_from(points, matrix({2, 2}, {1, 2, 3, INFINITY}));
            }),
            "kmeans: initial center 1 holds inf at component 1, expected finite numbers");
  EXPECT_EQ(message_of([&] {
              KmeansPoints source = KmeansPoints::of(points);
              source.read_weights = [](int64_t, int64_t, Tensor&) { return ConstTensorView(); };
              (void)kmeans(*device_, source, {.k = 2});
            }),
            "kmeans: weights that are read by parts, expected them in memory");
  EXPECT_EQ(message_of([&] { (void)kmeans_start_from_name("k++"); }),
            "start 'k++', expected kmeans++ or random");
}

TEST_F(Kmeans, StopsWhenInterrupted) {
  StopAtSecondReport stop;
  const Tensor points = blobs(200, 3, 9);
  EXPECT_THROW((void)kmeans(*device_, KmeansPoints::of(points), {.k = 5}, &stop), Interrupted);
  clear_interrupt();
  EXPECT_EQ(stop.reports, 2);
}

}  // namespace
}  // namespace panda::test
