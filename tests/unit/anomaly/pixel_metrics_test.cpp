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
#include <sstream>

#include "anomaly/connected_components.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/random.h"
#include "tests/support/temporary_directory.h"

namespace panda::anomaly {
namespace {

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

PixelMetricsResult measure(const std::vector<Map>& maps, const PixelMetricsOptions& options,
                           int64_t kinds = 8) {
  PixelMetrics metrics(options, kinds);
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

TEST(PixelMetrics, GivesTheExactValuesOfTheConformanceSet) {
  int cases = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    if (entry.path().extension() != ".txt") continue;
    SCOPED_TRACE(entry.path().filename().string());
    const Case conformance = read_case(entry.path());
    std::map<std::string, double> actual = values_of(measure(conformance.maps, conformance.options));
    if (conformance.expected.count("best_f1_threshold") == 0) actual.erase("best_f1_threshold");
    EXPECT_EQ(actual.size(), conformance.expected.size());
    for (const auto& [name, value] : conformance.expected) {
      ASSERT_EQ(actual.count(name), 1U) << name;
      EXPECT_EQ(actual[name], value) << name;  // bit for bit
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

TEST(PixelMetrics, DoesNotDependOnTheMemoryBudgetOrTheOrderOfImages) {
  std::vector<Map> maps;
  for (uint64_t seed = 0; seed < 150; ++seed) maps.push_back(random_map(seed));
  const test::TemporaryDirectory folder;
  const std::map<std::string, double> expected = values_of(measure(maps, {}));
  PixelMetricsOptions small;
  small.memory_bytes = 1;  // becomes 64 KiB: 8,192 records of about 50,000
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

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "no error";
}

TEST(PixelMetrics, RefusesBadInput) {
  const std::vector<uint8_t> mask(6, 0);
  PixelMetrics metrics({}, 2);
  metrics.add(std::vector<float>(6, 1.0F), mask, 2, 3, 1);
  EXPECT_EQ(message_of([&] { metrics.add(std::vector<float>(5), mask, 2, 3); }),
            "pixel metrics: image 1 has 5 scores and 6 mask pixels, expected 2 x 3");
  EXPECT_EQ(message_of([&] { metrics.add(std::vector<float>(6), mask, 2, 3, 2); }),
            "pixel metrics: image 1 is of kind 2, expected 0 to 1");
  EXPECT_EQ(message_of([&] {
              metrics.add(std::vector<float>{0, 0, 0, 0, NAN, 0}, mask, 2, 3);
            }),
            "pixel metrics: the score of image 1 at row 1, column 1 is not a number");
  EXPECT_EQ(message_of([] { PixelMetrics({.fpr_limit = 1.5}); }),
            "pixel metrics: a limit of 1.5 for the false-positive rate, expected one above 0 and at most 1");
  EXPECT_EQ(message_of([] { PixelMetrics({.threshold_count = 1}); }),
            "pixel metrics: 1 thresholds, expected at least 2");
}

TEST(Components, AgreeWithFloodFill) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Random random(seed);
    const int64_t height = 1 + random.next_below(20);
    const int64_t width = 1 + random.next_below(20);
    std::vector<uint8_t> mask(static_cast<size_t>(height * width));
    for (uint8_t& pixel : mask) pixel = random.next_below(100) < 40 ? 255 : 0;
    std::vector<int32_t> expected(mask.size(), 0);
    std::vector<Box> boxes;
    int32_t count = 0;
    for (size_t start = 0; start < mask.size(); ++start) {
      if (mask[start] == 0 || expected[start] != 0) continue;
      expected[start] = ++count;
      std::vector<size_t> open = {start};
      Box box{height, width, 0, 0};
      while (!open.empty()) {
        const auto y = static_cast<int64_t>(open.back()) / width;
        const auto x = static_cast<int64_t>(open.back()) % width;
        open.pop_back();
        box = {std::min(box.top, y), std::min(box.left, x), std::max(box.bottom, y + 1),
               std::max(box.right, x + 1)};
        for (int64_t ny = std::max<int64_t>(0, y - 1); ny <= std::min(height - 1, y + 1); ++ny) {
          for (int64_t nx = std::max<int64_t>(0, x - 1); nx <= std::min(width - 1, x + 1); ++nx) {
            const auto at = static_cast<size_t>(ny * width + nx);
            if (mask[at] == 0 || expected[at] != 0) continue;
            expected[at] = count;
            open.push_back(at);
          }
        }
      }
      boxes.push_back(box);
    }
    const Components components = connected_components(mask, height, width);
    EXPECT_EQ(components.labels, expected) << seed;
    EXPECT_EQ(components.boxes, boxes) << seed;
    EXPECT_EQ(components.count(), count);
  }
}

TEST(Ranking, GivesTheSameAsOfPixels) {
  const Map map = random_map(3);
  const Ranking pixels = measure({map}, {}).pixels;
  const Ranking scores = rank_scores(std::vector<double>(map.scores.begin(), map.scores.end()), map.mask);
  EXPECT_EQ(scores.auroc, pixels.auroc);
  EXPECT_EQ(scores.average_precision, pixels.average_precision);
  EXPECT_EQ(scores.best_f1->threshold, pixels.best_f1->threshold);
  EXPECT_EQ(scores.roc.size(), pixels.roc.size());
}

TEST(Ranking, NamesAThresholdThatFlagsExactlyTheBest) {
  const std::vector<double> scores = {1, 2, 3, 4, 5};
  const Ranking ranking = rank_scores(scores, std::vector<uint8_t>{0, 0, 1, 0, 1});
  // At >= 3: tp 2, fp 1, F1 = 4/5.
  EXPECT_EQ(ranking.best_f1->f1, 0.8);
  EXPECT_EQ(ranking.best_f1->threshold, 2);
  const Ranking all = rank_scores(std::vector<double>{3, 3}, std::vector<uint8_t>{0, 1});
  EXPECT_LT(all.best_f1->threshold, 3);
  EXPECT_EQ(all.roc.back().x, 1);
}

}  // namespace
}  // namespace panda::anomaly
