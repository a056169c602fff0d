#include "anomaly/pixel_metrics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <sstream>

#include "anomaly/connected_components.h"
#include "kernels/device_registry.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/random.h"
#include "tests/support/messages.h"
#include "tests/support/temporary_directory.h"

namespace panda::anomaly {
namespace {

using test::message_of;

const std::string kFolder = std::string(PANDA_SOURCE_DIR) + "/tests/golden/metrics";

struct Map {
  int64_t kind = 0;
  int64_t height = 0;
  int64_t width = 0;
  std::vector<float> scores;
  std::vector<uint8_t> mask;
};

struct Case {
  PixelMetricsOptions options;
  std::vector<Map> maps;
  std::map<std::string, double> expected;
};

/// As tests/golden/metrics/README.md describes.
Case read_case(const std::string& path) {
  std::ifstream file(path);
  Case result;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string word;
    words >> word;
    if (word == "fpr_limit") {
      words >> result.options.fpr_limit;
    } else if (word == "evenly_spaced_thresholds") {
      words >> result.options.threshold_count;
    } else if (word == "map") {
      Map map;
      words >> map.kind >> map.height >> map.width;
      for (int64_t i = 0; i < map.height * map.width; ++i) {
        std::string number;
        file >> number;
        map.scores.push_back(std::strtof(number.c_str(), nullptr));
      }
      for (int64_t i = 0; i < map.height * map.width; ++i) {
        int value = 0;
        file >> value;
        map.mask.push_back(static_cast<uint8_t>(value));
      }
      file >> std::ws;
      result.maps.push_back(std::move(map));
    } else if (word == "expect") {
      std::string name;
      std::string value;
      words >> name >> value;
      result.expected[name] = std::strtod(value.c_str(), nullptr);
    }
  }
  return result;
}

/// The oracle, the cpu device with one thread and with an odd number, the kernels for GPUs on the emulator
/// and, where there is one, on a GPU.
struct NamedDevice {
  std::string name;
  std::unique_ptr<Device> device;
};
const std::vector<NamedDevice>& devices() {
  static const std::vector<NamedDevice> all = [] {
    std::vector<NamedDevice> list;
    list.push_back({"cpu", kernels::make_device({"cpu", 1, ""})});
    list.push_back({"cpu with 3 threads", kernels::make_device({"cpu", 3, ""})});
    list.push_back({"reference", kernels::make_device({"reference", 1, ""})});
    list.push_back({"simt", kernels::make_device({"simt", 1, ""})});
    for (const kernels::DeviceFacts& facts : kernels::list_devices()) {
      if (facts.name == "cuda" && facts.available)
        list.push_back({"cuda", kernels::make_device({"cuda", 1, ""})});
    }
    return list;
  }();
  return all;
}
Device& cpu() {
  return *devices().front().device;
}

PixelMetricsResult measure(const std::vector<Map>& maps, const PixelMetricsOptions& options,
                           int64_t kinds = 8, Device& device = cpu()) {
  PixelMetrics metrics(device, options, kinds);
  for (const Map& map : maps) metrics.add(map.scores, map.mask, map.height, map.width, map.kind);
  return metrics.finish();
}

std::map<std::string, double> values_of(const PixelMetricsResult& result) {
  std::map<std::string, double> values = {{"normal_pixels", static_cast<double>(result.pixels.normal)},
                                          {"anomalous_pixels", static_cast<double>(result.pixels.anomalous)},
                                          {"regions", static_cast<double>(result.regions)}};
  const auto put = [&values](const std::string& name, const std::optional<double>& value) {
    if (value) values[name] = *value;
  };
  put("pixel_auroc", result.pixels.auroc);
  put("average_precision", result.pixels.average_precision);
  put("pro", result.pro);
  put("pro_evenly_spaced", result.pro_evenly_spaced);
  if (result.pixels.best_f1) {
    values["best_f1"] = result.pixels.best_f1->f1;
    values["best_f1_threshold"] = result.pixels.best_f1->threshold;
  }
  for (size_t k = 0; k < result.kinds.size(); ++k) {
    put(text("pixel_auroc_of_kind_", k), result.kinds[k].auroc);
    put(text("pro_of_kind_", k), result.kinds[k].pro);
  }
  return values;
}

TEST(PixelMetrics, GivesTheExactValuesOfTheConformanceSetOnEveryDevice) {
  int cases = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    if (entry.path().extension() != ".txt") continue;
    const Case conformance = read_case(entry.path());
    for (const NamedDevice& on : devices()) {
      SCOPED_TRACE(entry.path().filename().string() + " on " + on.name);
      std::map<std::string, double> actual =
          values_of(measure(conformance.maps, conformance.options, 8, *on.device));
      if (conformance.expected.count("best_f1_threshold") == 0) actual.erase("best_f1_threshold");
      EXPECT_EQ(actual.size(), conformance.expected.size());
      for (const auto& [name, value] : conformance.expected) {
        ASSERT_EQ(actual.count(name), 1U) << name;
        EXPECT_EQ(actual[name], value) << name;  // bit for bit
      }
    }
    ++cases;
  }
  EXPECT_EQ(cases, 17);
}

/// The maps of random_maps.csv, as its README says.
class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) : state_(seed) {}
  int64_t below(uint64_t bound) {
    state_ += 0x9E3779B97F4A7C15U;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return static_cast<int64_t>((z ^ (z >> 31)) % bound);
  }

 private:
  uint64_t state_;
};

Map random_map(uint64_t seed) {
  SplitMix64 random(seed);
  Map map;
  map.height = 4 + random.below(29);
  map.width = 4 + random.below(29);
  const int64_t levels =
      std::array<int64_t, 4>{3, 17, 1000, int64_t{1} << 24}[static_cast<size_t>(random.below(4))];
  map.mask.resize(static_cast<size_t>(map.height * map.width));
  const int64_t rectangles = 1 + random.below(4);
  for (int64_t r = 0; r < rectangles; ++r) {
    const int64_t top = random.below(static_cast<uint64_t>(map.height));
    const int64_t left = random.below(static_cast<uint64_t>(map.width));
    const int64_t bottom = std::min(map.height, top + 1 + random.below(8));
    const int64_t right = std::min(map.width, left + 1 + random.below(8));
    for (int64_t y = top; y < bottom; ++y) {
      for (int64_t x = left; x < right; ++x) map.mask[static_cast<size_t>(y * map.width + x)] = 1;
    }
  }
  map.mask[0] = 0;
  const int64_t shift = random.below(static_cast<uint64_t>(levels));
  for (const uint8_t anomalous : map.mask) {
    const int64_t base = random.below(static_cast<uint64_t>(levels));
    const bool shifted = anomalous != 0 && random.below(2) == 1;
    map.scores.push_back(static_cast<float>(base + (shifted ? shift : 0)));
  }
  return map;
}

TEST(PixelMetrics, AgreesWithScikitLearnAndNumPyOnAThousandMaps) {
  std::ifstream file(kFolder + "/random_maps.csv");
  std::string line;
  std::getline(file, line);
  int maps = 0;
  double worst = 0;
  for (; std::getline(file, line); ++maps) {
    std::replace(line.begin(), line.end(), ',', ' ');
    std::istringstream words(line);
    uint64_t seed = 0;
    std::array<double, 4> expected{};
    words >> seed;
    for (double& value : expected) words >> value;
    const Map map = random_map(seed);
    const PixelMetricsResult result = measure({map}, {.threshold_count = 50}, 1);
    const std::array<std::optional<double>, 4> actual = {result.pixels.auroc, result.pixels.average_precision,
                                                         result.pro, result.pro_evenly_spaced};
    // Each of their sums has at most as many terms as there are pixels, of at most 1 together, each rounded a
    // few times.
    const double tolerance = 4 * static_cast<double>(map.scores.size()) * 0x1p-53 / 0.3;
    for (size_t i = 0; i < actual.size(); ++i) {
      ASSERT_TRUE(actual[i].has_value()) << seed;
      EXPECT_TRUE(std::abs(*actual[i] - expected[i]) <= tolerance)
          << "map " << seed << ", value " << i << ": " << *actual[i] << " against " << expected[i];
      worst = std::max(worst, std::abs(*actual[i] - expected[i]));
    }
  }
  EXPECT_EQ(maps, 1000);
  RecordProperty("largest_difference", std::to_string(worst));
}

/// The definitions of tests/golden/metrics/README.md for one map, read off: every threshold looks at every
/// pixel.
struct BruteForce {
  std::map<std::string, double> exact;    // integers and one division
  std::map<std::string, double> rounded;  // sums
  double term_count = 0;                  // of the longest sum

  BruteForce(const Map& map, const PixelMetricsOptions& options) : map_(map) {
    const Components components = connected_components(map.mask, map.height, map.width);
    regions_ = components;
    std::vector<double> normal;
    for (size_t i = 0; i < map.scores.size(); ++i) {
      thresholds_.insert(map.scores[i]);
      if (map.mask[i] == 0) normal.push_back(map.scores[i]);
    }
    std::sort(normal.begin(), normal.end());
    const auto n = static_cast<double>(normal.size());
    const auto p = static_cast<double>(map.scores.size()) - n;
    exact = {
        {"normal_pixels", n}, {"anomalous_pixels", p}, {"regions", static_cast<double>(components.count())}};
    if (n > 0 && p > 0) exact["pixel_auroc"] = exact["pixel_auroc_of_kind_0"] = twice_wins() / (2 * p * n);
    if (p > 0) add_precision(n, p);
    if (n == 0 || p == 0) return;
    std::vector<std::array<double, 2>> curve = {{0, 0}};
    for (auto t = thresholds_.rbegin(); t != thresholds_.rend(); ++t) {
      curve.push_back({flagged_normal(*t) / n, overlap([&](double score) { return score >= *t; })});
    }
    rounded["pro"] = rounded["pro_of_kind_0"] = area(curve, options.fpr_limit);
    std::vector<std::array<double, 2>> even;
    const double step = (n - 1) / static_cast<double>(options.threshold_count - 1);
    for (int64_t i = options.threshold_count - 1; i >= 0; --i) {
      const double at = i == options.threshold_count - 1 ? n - 1 : std::trunc(static_cast<double>(i) * step);
      const double t = normal[static_cast<size_t>(at)];
      even.push_back({1 - (at + 1) / n, overlap([&](double score) { return score > t; })});
    }
    even.push_back({1, 1});
    rounded["pro_evenly_spaced"] = area(even, options.fpr_limit);
    term_count = static_cast<double>(map.scores.size() + even.size());
  }

 private:
  [[nodiscard]] double twice_wins() const {
    int64_t twice = 0;
    for (size_t a = 0; a < map_.scores.size(); ++a) {
      if (map_.mask[a] == 0) continue;
      for (size_t b = 0; b < map_.scores.size(); ++b) {
        if (map_.mask[b] != 0) continue;
        twice += map_.scores[a] > map_.scores[b] ? 2 : map_.scores[a] == map_.scores[b] ? 1 : 0;
      }
    }
    return static_cast<double>(twice);
  }
  void add_precision(double n, double p) {
    double sum = 0;
    double found_before = 0;
    double best = -1;
    for (auto t = thresholds_.rbegin(); t != thresholds_.rend(); ++t) {
      const double alarms = flagged_normal(*t);
      double found = 0;
      for (size_t i = 0; i < map_.scores.size(); ++i) found += map_.mask[i] != 0 && map_.scores[i] >= *t;
      sum += (found - found_before) * found / (found + alarms);
      found_before = found;
      const double f1 = 2 * found / (found + alarms + p);
      if (f1 <= best) continue;
      best = f1;
      exact["best_f1"] = f1;
      const auto next = std::next(t);
      exact.erase("best_f1_threshold");
      if (next != thresholds_.rend()) exact["best_f1_threshold"] = *next;
    }
    rounded["average_precision"] = sum / p;
    term_count = n + p;
  }
  [[nodiscard]] double flagged_normal(double t) const {
    double count = 0;
    for (size_t i = 0; i < map_.scores.size(); ++i) count += map_.mask[i] == 0 && map_.scores[i] >= t;
    return count;
  }
  template <typename Flagged>
  [[nodiscard]] double overlap(const Flagged& flagged) const {
    double sum = 0;
    for (size_t i = 0; i < map_.scores.size(); ++i) {
      const int32_t label = regions_.labels[i];
      if (label != 0 && flagged(double{map_.scores[i]}))
        sum += 1 / static_cast<double>(regions_.sizes[static_cast<size_t>(label - 1)]);
    }
    return sum / static_cast<double>(regions_.count());
  }
  static double area(const std::vector<std::array<double, 2>>& curve, double limit) {
    double sum = 0;
    for (size_t i = 1; i < curve.size(); ++i) {
      const auto [x0, y0] = curve[i - 1];
      auto [x1, y1] = curve[i];
      if (x0 >= limit || x1 <= x0) continue;
      if (x1 > limit) {
        y1 = y0 + (y1 - y0) * (limit - x0) / (x1 - x0);
        x1 = limit;
      }
      sum += (x1 - x0) * (y0 + y1) / 2;
    }
    return sum / limit;
  }

  const Map& map_;
  Components regions_;
  std::set<double> thresholds_;
};

void expect_brute_force(const Map& map, const PixelMetricsOptions& options, bool emulated = true) {
  const BruteForce expected(map, options);
  const double tolerance = 8 * expected.term_count * 0x1p-53 / options.fpr_limit;
  std::map<std::string, double> first;
  for (const NamedDevice& on : devices()) {
    if (on.name == "simt" && !emulated) continue;
    SCOPED_TRACE("on " + on.name);
    const std::map<std::string, double> actual = values_of(measure({map}, options, 1, *on.device));
    if (first.empty()) first = actual;
    EXPECT_EQ(actual, first);  // bit for bit
    for (const auto& [name, value] : expected.exact) {
      ASSERT_EQ(actual.count(name), 1U) << name;
      EXPECT_EQ(actual.at(name), value) << name;
    }
    for (const auto& [name, value] : expected.rounded) {
      ASSERT_EQ(actual.count(name), 1U) << name;
      EXPECT_TRUE(std::abs(actual.at(name) - value) <= tolerance)
          << name << ": " << actual.at(name) << " against " << value;
    }
  }
}

// The emulator takes a hundred of them one by one (10 ms each) and all of them together.
TEST(PixelMetrics, AgreesWithBruteForceOnAThousandMaps) {
#ifdef __SANITIZE_ADDRESS__  // looks at every pixel of every threshold, and is an order slower
  constexpr uint64_t kStep = 5;
#else
  constexpr uint64_t kStep = 1;
#endif
  for (uint64_t seed = 0; seed < 1000 && !testing::Test::HasFailure(); seed += kStep) {
    SCOPED_TRACE(seed);
    expect_brute_force(random_map(seed + 5000), {.threshold_count = 50}, seed % 10 == 0);
  }
}

TEST(PixelMetrics, GivesTheSameBitsOnEveryDeviceForAThousandMaps) {
  std::vector<Map> maps;
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    maps.push_back(random_map(seed));
    maps.back().kind = static_cast<int64_t>(seed % 5);
  }
  const std::map<std::string, double> expected = values_of(measure(maps, {}));
  EXPECT_EQ(expected.count("pro_of_kind_4"), 1U);
  for (const NamedDevice& on : devices()) {
    SCOPED_TRACE("on " + on.name);
    EXPECT_EQ(values_of(measure(maps, {}, 8, *on.device)), expected);
  }
}

TEST(PixelMetrics, AgreesWithBruteForceOnSpecialScoresOnEveryDevice) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kLeast = std::numeric_limits<float>::denorm_min();
  constexpr float kLargest = std::numeric_limits<float>::max();
  const std::vector<float> special = {0.0F,       -0.0F,     kLeast,   -kLeast,   3 * kLeast,
                                      -kInfinity, kInfinity, kLargest, -kLargest, 0x1p-126F,
                                      -0x1p-126F, 1.0F,      -1.0F};
  Random random(5);
  const auto draw = [&](size_t values, int64_t percent) {
    Map map{0, 9, 11, {}, {}};
    for (int64_t i = 0; i < map.height * map.width; ++i) {
      map.scores.push_back(special[static_cast<size_t>(random.next_below(static_cast<int64_t>(values)))]);
      map.mask.push_back(random.next_below(100) < percent ? 1 : 0);
    }
    return map;
  };
  for (const int64_t percent : {0, 5, 50, 100}) {
    for (const size_t values : {size_t{1}, size_t{2}, size_t{5}, special.size()}) {
      SCOPED_TRACE(text(percent, " % anomalous, ", values, " scores"));
      expect_brute_force(draw(values, percent), {.threshold_count = 7});
      expect_brute_force(draw(values, percent), {.fpr_limit = 1, .threshold_count = 200});
    }
  }
  for (const uint8_t anomalous : {uint8_t{0}, uint8_t{1}}) {
    SCOPED_TRACE(text("one pixel, ", int{anomalous}));
    expect_brute_force({0, 1, 1, {kInfinity}, {anomalous}}, {});
  }
}

/// 64 KiB hold 8192 normal pixels, or 4096 anomalous ones, and space to sort them.
TEST(PixelMetrics, DoesNotChangeWhereARunEndsOnAnyDevice) {
  const test::TemporaryDirectory folder;
  PixelMetricsOptions small;
  small.memory_bytes = 1;
  small.scratch_directory = folder.path();
  Random random(9);
  const auto pixels = [&](int64_t normal, int64_t anomalous) {
    Map map{0, 1, normal + anomalous, {}, {}};
    for (int64_t i = 0; i < map.width; ++i) {
      map.scores.push_back(static_cast<float>(random.next_below(1000)) +
                           (i < normal ? 0.0F : 300.5F * (i % 2)));
      map.mask.push_back(i < normal ? 0 : 1);
    }
    return map;
  };
  const std::vector<std::array<int64_t, 2>> sizes = {
      {8191, 4095}, {8192, 4096}, {8193, 4097}, {16384, 1}, {16385, 8193}};
  for (const auto& [normal, anomalous] : sizes) {
    SCOPED_TRACE(text(normal, " normal, ", anomalous, " anomalous"));
    const Map map = pixels(normal, anomalous);
    const std::map<std::string, double> expected = values_of(measure({map}, {}));
    EXPECT_GT(expected.at("pixel_auroc"), 0);
    for (const NamedDevice& on : devices()) {
      SCOPED_TRACE("on " + on.name);
      EXPECT_EQ(values_of(measure({map}, {}, 8, *on.device)), expected);
      EXPECT_EQ(values_of(measure({map}, small, 8, *on.device)), expected);
    }
  }
}

TEST(PixelMetrics, SortsOnItsDevice) {
  const auto simt = kernels::make_device({"simt", 1, ""});
  const Map map = random_map(1);
  PixelMetrics metrics(*simt, {});
  metrics.add(map.scores, map.mask, map.height, map.width);
  EXPECT_EQ(simt->memory_report().peak_bytes, 0);
  static_cast<void>(metrics.finish());
  // The normal pixels' keys, and as much again to sort them.
  int64_t normal = 0;
  for (const uint8_t anomalous : map.mask) normal += anomalous == 0 ? 1 : 0;
  EXPECT_GE(simt->memory_report().peak_bytes, 2 * 4 * normal);
  EXPECT_EQ(simt->memory_report().bytes_in_use, 0);
}

TEST(PixelMetrics, DoesNotDependOnTheMemoryBudgetOrTheOrderOfImages) {
  std::vector<Map> maps;
  for (uint64_t seed = 0; seed < 150; ++seed) maps.push_back(random_map(seed));
  const test::TemporaryDirectory folder;
  const std::map<std::string, double> expected = values_of(measure(maps, {}));
  PixelMetricsOptions small;
  small.memory_bytes = 1;  // becomes 64 KiB: 8,192 normal pixels of about 50,000
  small.scratch_directory = folder.path();
  EXPECT_EQ(values_of(measure(maps, small)), expected);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  std::reverse(maps.begin(), maps.end());
  const std::map<std::string, double> reversed = values_of(measure(maps, {}));
  for (const auto& [name, value] : expected)
    EXPECT_NEAR(reversed.at(name), value, 1e-15 * std::abs(value)) << name;
  EXPECT_GT(expected.at("pro"), 0.1);
}

TEST(PixelMetrics, DoesNotChangeUnderARisingFunction) {
  Map map = random_map(6);
  const std::map<std::string, double> expected = values_of(measure({map}, {}));
  for (float& score : map.scores) score = -1 / (1 + score);
  std::map<std::string, double> actual = values_of(measure({map}, {}));
  actual["best_f1_threshold"] = expected.at("best_f1_threshold");
  EXPECT_EQ(actual, expected);
}

TEST(PixelMetrics, CurveEndsAtTheLimitAndHoldsTheArea) {
  std::vector<Map> maps;
  for (uint64_t seed = 20; seed < 30; ++seed) maps.push_back(random_map(seed));
  const PixelMetricsResult result = measure(maps, {});
  ASSERT_GE(result.pro_curve.size(), 3U);
  EXPECT_EQ(result.pro_curve.back().x, 0.3);
  double area = 0;
  for (size_t i = 1; i < result.pro_curve.size(); ++i) {
    const CurvePoint& a = result.pro_curve[i - 1];
    const CurvePoint& b = result.pro_curve[i];
    EXPECT_LE(a.x, b.x);
    EXPECT_LE(a.y, b.y);
    area += (b.x - a.x) * (a.y + b.y) / 2;
  }
  // Points nearer than 1/512 of the limit in both directions are left out.
  EXPECT_NEAR(area / 0.3, *result.pro, 1.0 / 512);
}

class Reports : public Progress {
 public:
  explicit Reports(size_t stop_at) : stop_at_(stop_at) {}
  ~Reports() override { clear_interrupt(); }
  void update(const char* stage, int64_t done, int64_t total) override {
    EXPECT_STREQ(stage, "ranking pixels");
    EXPECT_EQ(total, kPixels);
    all.push_back(done);
    if (all.size() == stop_at_) request_interrupt();
  }

  static constexpr int64_t kPixels = int64_t{2000} * 2000;
  std::vector<int64_t> all;

 private:
  size_t stop_at_;
};

TEST(PixelMetrics, ReportsAndStopsAlsoWhereFewPixelsAreAnomalous) {
  const auto ranked = [](Reports& reports) {
    Map map{0, 2000, 2000, {}, {}};
    for (int64_t i = 0; i < Reports::kPixels; ++i) {
      map.scores.push_back(static_cast<float>(i));
      map.mask.push_back(i % 100000 == 0 ? 1 : 0);
    }
    PixelMetrics metrics(cpu(), {});
    metrics.add(map.scores, map.mask, map.height, map.width);
    static_cast<void>(metrics.finish(&reports));
  };
  Reports to_the_end(100);
  ranked(to_the_end);
  ASSERT_EQ(to_the_end.all.size(), 5U);  // at the start, about every 2^20 pixels, at the end
  for (size_t i = 1; i < 4; ++i) EXPECT_LE(to_the_end.all[i] - to_the_end.all[i - 1], (1 << 20) + 100000);
  EXPECT_EQ(to_the_end.all.back(), Reports::kPixels);
  Reports stopped(2);
  EXPECT_THROW(ranked(stopped), Interrupted);
  EXPECT_EQ(stopped.all.size(), 2U);
}

TEST(PixelMetrics, RefusesBadInput) {
  const std::vector<uint8_t> mask(6, 0);
  PixelMetrics metrics(cpu(), {}, 2);
  metrics.add(std::vector<float>(6, 1.0F), mask, 2, 3, 1);
  EXPECT_EQ(message_of([&] { metrics.add(std::vector<float>(5), mask, 2, 3); }),
            "pixel metrics: image 1 has 5 scores and 6 mask pixels, expected 2 x 3");
  EXPECT_EQ(message_of([&] { metrics.add(std::vector<float>(6), mask, 2, 3, 2); }),
            "pixel metrics: image 1 is of kind 2, expected 0 to 1");
  EXPECT_EQ(message_of([&] {
              metrics.add(std::vector<float>{0, 0, 0, 0, NAN, 0}, mask, 2, 3);
            }),
            "pixel metrics: the score of image 1 at row 1, column 1 is not a number");
  EXPECT_EQ(message_of([] { PixelMetrics(cpu(), {.fpr_limit = 1.5}); }),
            "pixel metrics: a limit of 1.5 for the false-positive rate, expected one above 0 and at most 1");
  EXPECT_EQ(message_of([] { PixelMetrics(cpu(), {.threshold_count = 1}); }),
            "pixel metrics: 1 thresholds, expected at least 2");
}

TEST(Ranking, GivesTheSameAsOfPixels) {
  const Map map = random_map(3);
  const Ranking pixels = measure({map}, {}).pixels;
  const Ranking scores = rank_scores(std::vector<double>(map.scores.begin(), map.scores.end()), map.mask);
  EXPECT_EQ(scores.auroc, pixels.auroc);
  EXPECT_EQ(scores.average_precision, pixels.average_precision);
  EXPECT_EQ(scores.best_f1->threshold, pixels.best_f1->threshold);
  EXPECT_EQ(scores.best_f1->f1, pixels.best_f1->f1);
  // Of scores that only normal pixels have, pixels' curves hold the two ends: the same lines.
  const auto area_under = [](const std::vector<CurvePoint>& roc) {
    double area = 0;
    for (size_t i = 1; i < roc.size(); ++i) area += (roc[i].x - roc[i - 1].x) * (roc[i].y + roc[i - 1].y) / 2;
    return area;
  };
  EXPECT_LE(pixels.roc.size(), scores.roc.size());
  EXPECT_EQ(pixels.roc.back().x, 1);
  EXPECT_EQ(pixels.roc.back().score, scores.roc.back().score);
  EXPECT_NEAR(area_under(pixels.roc), *scores.auroc, 1e-12);
  EXPECT_NEAR(area_under(scores.roc), *scores.auroc, 1e-12);
}

}  // namespace
}  // namespace panda::anomaly
