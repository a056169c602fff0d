// Maps as a user gets them: fit spade, score and eval with maps, the report, streams.

#include <gtest/gtest.h>
#include <png.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "anomaly/pixel_metrics.h"
#include "data/dataset.h"
#include "data/image_decode.h"
#include "data/image_write.h"
#include "data/transforms.h"
#include "kernels/device_registry.h"
#include "nn/init.h"
#include "tests/cli/browser.h"
#include "tests/cli/expect.h"
#include "weights/npy.h"
#include "weights/safetensors.h"

namespace panda::test {
namespace {

namespace fs = std::filesystem;

class SpadeCommand : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_ = new TemporaryDirectory;
    ASSERT_EQ(run_panda_command({"synth", "--out", set(), "--count", "40", "--size", "48"}).exit_code, 0);
    const nn::SeededResnetParameters seeded(nn::resnet_config("resnet18", 0.125), 5,
                                            nn::BatchNormInit::kRandomized);
    weights::SafetensorsWriter writer(weights(), seeded.list());
    for (const TensorInfo& info : writer.order()) writer.write(seeded.load(info.name));
    writer.commit();
    const Outcome outcome = run_panda_command(fit(model()));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.standard_error;
  }
  static void TearDownTestSuite() { delete shared_; }

  static std::string set() { return shared_->path("set"); }
  static std::string weights() { return shared_->path("w.safetensors"); }
  static std::string model() { return shared_->path("model"); }
  static Words fit(const std::string& out, const Words& more = {}) {
    Words words = {"fit", "spade",    "--data", set(),    "--weights", weights(), "--out",
                   out,   "--resize", "40",     "--crop", "32",        "--sigma", "1"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

 private:
  static TemporaryDirectory* shared_;
};
TemporaryDirectory* SpadeCommand::shared_ = nullptr;

/// The samples of a 16-bit gray PNG, by libpng alone.
std::vector<uint16_t> samples_of(const std::string& path) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  EXPECT_NE(png_image_begin_read_from_file(&image, path.c_str()), 0) << path;
  EXPECT_EQ(image.format, PNG_FORMAT_LINEAR_Y) << path;
  std::vector<uint16_t> samples(static_cast<size_t>(image.width) * image.height);
  EXPECT_NE(png_image_finish_read(&image, nullptr, samples.data(), 0, nullptr), 0) << path;
  return samples;
}

struct Measured {
  double auroc = 0;
  double average_precision = 0;
  double f1 = 0;
};

/// From the definitions, on scores sorted once.
Measured measure(std::vector<std::pair<double, bool>> scored) {
  std::sort(scored.begin(), scored.end(), std::greater<>());
  const auto positives =
      std::count_if(scored.begin(), scored.end(), [](const auto& one) { return one.second; });
  const double negatives = static_cast<double>(scored.size()) - static_cast<double>(positives);
  Measured result;
  double found = 0;
  double alarms = 0;
  for (size_t i = 0; i < scored.size();) {
    double more_found = 0;
    double more_alarms = 0;
    const double score = scored[i].first;
    for (; i < scored.size() && scored[i].first == score; ++i)
      (scored[i].second ? more_found : more_alarms) += 1;
    result.auroc += more_alarms * (found + more_found / 2) / negatives / static_cast<double>(positives);
    found += more_found;
    alarms += more_alarms;
    result.average_precision += more_found / static_cast<double>(positives) * found / (found + alarms);
    result.f1 = std::max(result.f1, 2 * found / (found + alarms + static_cast<double>(positives)));
  }
  return result;
}

TEST_F(SpadeCommand, PrintsWhatItsOwnScoresAndMapsAmountTo) {
  const TemporaryDirectory folder;
  const Json result = json_of({"eval", model(), "--data", set(), "--maps", folder.path("maps")});
  data::ImageTransform transform;
  transform.resize = 40;
  transform.crop = 32;
  std::vector<std::pair<double, bool>> images;
  std::vector<std::pair<double, bool>> pixels;
  std::map<std::string, std::vector<std::pair<double, bool>>> kinds;
  for (const Json& image : result.at("per_image")) {
    const fs::path file = image.at("file").get<std::string>();
    const std::string kind = file.parent_path().filename();
    const bool anomalous = image.at("label") == 1;
    EXPECT_EQ(anomalous, kind != "good");
    images.emplace_back(image.at("score"), anomalous);
    kinds[kind].emplace_back(image.at("score"), anomalous);
    std::vector<uint8_t> mask(32 * 32);
    if (anomalous) {
      const std::string name = file.stem().string() + "_mask.png";
      mask = transform.mask(data::load_image(set() + "/ground_truth/" + kind + "/" + name)).pixels;
    }
    const Tensor map = weights::read_npy(image.at("map").get<std::string>());
    for (int64_t i = 0; i < map.numel(); ++i)
      pixels.emplace_back(map.data<float>()[i], mask[static_cast<size_t>(i)] != 0);
  }
  const auto expect = [&](const Measured& expected, const std::string& what) {
    EXPECT_NEAR(result.at(what + "_auroc").get<double>(), expected.auroc, 1e-12) << what;
    EXPECT_NEAR(result.at(what + "_average_precision").get<double>(), expected.average_precision, 1e-12)
        << what;
    EXPECT_NEAR(result.at(what + "_best_f1").at("f1").get<double>(), expected.f1, 1e-15) << what;
  };
  expect(measure(images), "image");
  expect(measure(pixels), "pixel");
  const double threshold = result.at("threshold").at("value");
  int64_t found = 0;
  for (const Json& kind : result.at("kinds")) {
    std::vector<std::pair<double, bool>> scores = kinds.at(kind.at("kind"));
    EXPECT_EQ(kind.at("images"), scores.size());
    const auto flagged =
        std::count_if(scores.begin(), scores.end(), [&](const auto& one) { return one.first > threshold; });
    EXPECT_EQ(kind.at("flagged"), flagged);
    if (kind.at("kind") == "good") {
      EXPECT_EQ(result.at("false_alarms"), flagged);
      continue;
    }
    found += flagged;
    scores.insert(scores.end(), kinds.at("good").begin(), kinds.at("good").end());
    EXPECT_NEAR(kind.at("image_auroc").get<double>(), measure(scores).auroc, 1e-12);
  }
  EXPECT_EQ(result.at("anomalies_found"), found);
}

TEST_F(SpadeCommand, StatesThePromiseForPixelsAndWhatCameOfIt) {
  const TemporaryDirectory folder;
  const Json result = json_of({"eval", model(), "--data", set(), "--maps", folder.path("maps")});
  const Json& threshold = result.at("pixel_threshold");
  const std::string meaning = threshold.at("meaning");
  EXPECT_EQ(meaning.rfind("at most 5 % of normal images are expected to have a pixel above ", 0), 0U)
      << meaning;
  int64_t marked = 0;
  for (const Json& image : result.at("per_image")) {
    const Tensor map = weights::read_npy(image.at("map").get<std::string>());
    const float largest = *std::max_element(map.data<float>(), map.data<float>() + map.numel());
    marked += image.at("label") == 0 && largest > threshold.at("value").get<double>() ? 1 : 0;
  }
  EXPECT_EQ(result.at("false_marks"), marked);
}

TEST_F(SpadeCommand, ScoresAsEachSwitchSays) {
  const TemporaryDirectory folder;
  const auto scored = [&](const Words& more) {
    Words words = fit(folder.path("m"), more);
    words.emplace_back("--force");
    EXPECT_EQ(run_panda_command(words).exit_code, 0);
    return json_of({"score", folder.path("m"), set() + "/test/good", "--maps", folder.path("maps"),
                    "--map-scale", "1"});  // which a model without a threshold needs
  };
  const auto map_of = [](const Json& image) {
    const Tensor map = weights::read_npy(image.at("map").get<std::string>());
    return std::vector<float>(map.data<float>(), map.data<float>() + map.numel());
  };
  const Json usual = scored({});
  const std::vector<float> usual_map = map_of(usual.at(0));
  // The image's score by the map's maximum.
  for (const Json& image : scored({"--image-score", "map-max"})) {
    const std::vector<float> map = map_of(image);
    EXPECT_EQ(image.at("score").get<float>(), *std::max_element(map.begin(), map.end()));
  }
  // Of one neighbour, the paper's mean distance is the root of the official code's sum of squares.
  const Json squares = scored({"--k", "1"});
  const Json roots = scored({"--k", "1", "--preset", "paper"});
  for (size_t i = 0; i < squares.size(); ++i) {
    const double root = roots.at(i).at("score");
    EXPECT_NEAR(root * root, squares.at(i).at("score").get<double>(), 1e-12 * root * root);
  }
  // Fewer pixels to choose from are never nearer.
  for (const char* gallery : {"nearest:2", "same-place"}) {
    const std::vector<float> map = map_of(scored({"--gallery", gallery}).at(0));
    EXPECT_NE(map, usual_map);
    for (size_t i = 0; i < map.size(); ++i) EXPECT_GE(map[i], usual_map[i]) << gallery;
  }
  EXPECT_EQ(map_of(scored({"--gallery", "nearest:24"}).at(0)), usual_map);
  for (const Words& words :
       {Words{"--combine", "concatenate"}, Words{"--pixel-k", "3"}, Words{"--pixel-score", "knn-sum-sq"},
        Words{"--sigma", "4"}, Words{"--layers", "2,3"}})
    EXPECT_NE(map_of(scored(words).at(0)), usual_map) << words[0];
}

TEST_F(SpadeCommand, MeasuresPixels) {
  const Json result = json_of({"eval", model(), "--data", set()});
  const double auroc = result.at("pixel_auroc");
  const double pro = result.at("pro");
  EXPECT_TRUE(auroc > 0 && auroc < 1 && pro > 0 && pro < 1) << auroc << " " << pro;
  // Two definitions of one thing.
  EXPECT_NEAR(result.at("pro_evenly_spaced").get<double>(), pro, 0.01);
  // The whole is the mean of its kinds, weighted by their regions.
  int64_t images = 0;
  int64_t regions = 0;
  double sum = 0;
  for (const Json& kind : result.at("kinds")) {
    images += kind.at("images").get<int64_t>();
    EXPECT_EQ(kind.at("pro").is_null(), kind.at("kind") == "good");
    if (kind.at("pro").is_null()) continue;
    regions += kind.at("regions").get<int64_t>();
    sum += kind.at("regions").get<double>() * kind.at("pro").get<double>();
  }
  EXPECT_NEAR(sum / static_cast<double>(regions), pro, 1e-14);
  EXPECT_EQ(images, result.at("n_test").get<int64_t>());
}

/// What eval printed of pixels, computed from the maps that it wrote, on the cpu device.
void expect_figures_of_the_maps(const Json& result, const std::string& set) {
  data::DatasetOptions options;
  options.kind = "mvtec";
  options.directory = set;
  const data::Dataset dataset = data::open_dataset(options);
  const data::ImageSet& images = *dataset.test;
  const data::ImageTransform transform{.resize = 40, .crop = 32};
  const auto cpu = kernels::make_device({"cpu", 1, ""});
  anomaly::PixelMetrics metrics(*cpu, {});
  ASSERT_EQ(images.size(), static_cast<int64_t>(result.at("per_image").size()));
  for (int64_t i = 0; i < images.size(); ++i) {
    const Json& image = result.at("per_image")[static_cast<size_t>(i)];
    ASSERT_EQ(image.at("file").get<std::string>(), images.sample(i).file);
    const Tensor map = weights::read_npy(image.at("map").get<std::string>());
    metrics.add({map.data<float>(), static_cast<size_t>(map.numel())},
                transform.mask(images.load_mask(i, 48, 48)).pixels, 32, 32);
  }
  const anomaly::PixelMetricsResult expected = metrics.finish();
  ASSERT_GT(expected.regions, 0);
  EXPECT_EQ(result.at("pixel_auroc").get<double>(), *expected.pixels.auroc);  // bit for bit, these all
  EXPECT_EQ(result.at("pro").get<double>(), *expected.pro);
  EXPECT_EQ(result.at("pro_evenly_spaced").get<double>(), *expected.pro_evenly_spaced);
  EXPECT_EQ(result.at("pixel_average_precision").get<double>(), *expected.pixels.average_precision);
  EXPECT_EQ(result.at("pixel_best_f1").at("f1").get<double>(), expected.pixels.best_f1->f1);
  EXPECT_EQ(result.at("pixel_best_f1").at("threshold").get<double>(), expected.pixels.best_f1->threshold);
}

TEST_F(SpadeCommand, MeasuresPixelsOnEveryDeviceAsOnTheCpu) {
  for (const std::string device : {"cpu", "reference", "simt"}) {
    SCOPED_TRACE(device);
    const TemporaryDirectory folder;
    const Json result =
        json_of({"eval", model(), "--data", set(), "--device", device, "--maps", folder.path("maps")});
    EXPECT_EQ(result.at("device").get<std::string>().substr(0, device.size()), device);
    expect_figures_of_the_maps(result, set());
  }
}

TEST_F(SpadeCommand, WritesMapsThatSayWhatTheyAre) {
  const TemporaryDirectory folder;
  const std::string maps = folder.path("maps");
  const Json scored = json_of({"score", model(), set() + "/test", "--maps", maps, "--explain"});
  std::ifstream scale_file(maps + "/scale.json");
  const Json scale = Json::parse(scale_file);
  EXPECT_EQ(scale.at("top").get<double>(), 2 * scale.at("pixel_threshold").get<double>());
  for (const Json& image : scored) {
    const std::string path = image.at("map");
    const Tensor map = weights::read_npy(path);
    ASSERT_EQ(map.shape(), (Shape{32, 32}));
    const auto* values = map.data<float>();
    const auto* largest = std::max_element(values, values + map.numel());
    EXPECT_EQ((largest - values) / 32, image.at("row").get<int64_t>());
    EXPECT_EQ((largest - values) % 32, image.at("column").get<int64_t>());
    EXPECT_LT(image.at("training_image").get<int64_t>(), 24);
    const std::string base = path.substr(0, path.size() - 4);
    for (const char* end : {"_raw.png", "_heat.png", "_overlay.png"}) {
      const data::Image picture = data::load_image(base + end);
      EXPECT_EQ(picture.height, 32) << base << end;
    }
    EXPECT_TRUE(fs::exists(set() + "/train/good/" + image.at("training_file").get<std::string>()));
    // The raw picture is the map on the stated scale.
    const std::vector<uint16_t> raw = samples_of(base + "_raw.png");
    ASSERT_EQ(static_cast<int64_t>(raw.size()), map.numel());
    const double top = scale.at("top");
    for (int64_t i = 0; i < map.numel(); ++i) {
      const double score = std::clamp(double{values[i]}, 0.0, top);
      EXPECT_NEAR(raw[static_cast<size_t>(i)] / 65535.0 * top, score, 0.501 / 65535 * top);
    }
  }
  // Names of different folders do not collide.
  EXPECT_EQ(scored.size() * 4 + 1, list_directory(maps).size());
}

TEST_F(SpadeCommand, WritesTheSameModelFromDiskAsFromMemory) {
  const TemporaryDirectory folder;
  ASSERT_EQ(run_panda_command(fit(folder.path("m"), {"--gallery-memory", "1"})).exit_code, 0);
  EXPECT_TRUE(content_of(folder.path("m")) == content_of(model()));
  EXPECT_EQ(json_of({"eval", model(), "--data", set(), "--gallery-memory", "1"}).at("pro"),
            json_of({"eval", model(), "--data", set()}).at("pro"));
}

TEST_F(SpadeCommand, FollowsItsFlags) {
  const TemporaryDirectory folder;
  const Json fitted =
      json_of(fit(folder.path("m"), {"--gallery", "nearest:5", "--combine", "concatenate", "--layers", "2,3",
                                     "--image-score", "map-max", "--hold-out", "4"}));
  EXPECT_EQ(fitted.at("gallery"), "nearest:5");
  EXPECT_EQ(fitted.at("gallery_pixels"), 20 * 16);
  EXPECT_EQ(fitted.at("threshold").at("false_alarm_rate"), 0.2);
  EXPECT_EQ(fitted.at("threshold").at("value"), fitted.at("pixel_threshold").at("value"));
  EXPECT_NE(fitted.at("pixel_threshold").at("meaning").get<std::string>().find("held out"),
            std::string::npos);
  EXPECT_TRUE(json_of({"eval", folder.path("m"), "--data", set()}).at("pro").is_number());
  expect_refused(fit(folder.path("n"), {"--gallery", "some"}),
                 "--gallery: expected all, nearest:K or same-place, got 'some'");
  expect_refused(fit(folder.path("n"), {"--gallery", "nearest:25"}),
                 "spade: 24 training images are fewer than the 25 that the options ask for");
  expect_refused(fit(folder.path("n"), {"--layers", "3,2"}), "rising numbers");
}

TEST_F(SpadeCommand, ComparesWithKmeansCentersWhenAsked) {
  const TemporaryDirectory folder;
  const Json fitted = json_of(fit(folder.path("m"), {"--clusters", "5"}));
  EXPECT_EQ(fitted.at("clusters"), 5);
  EXPECT_EQ(fitted.at("gallery_pixels"), 3 * 5);
  EXPECT_EQ(fitted.at("n_train"), 24);
  EXPECT_EQ(fitted.at("n_held_out"), 6);  // a quarter of the 24
  const std::string meaning = fitted.at("pixel_threshold").at("meaning");
  EXPECT_NE(meaning.find("held out of the fit"), std::string::npos) << meaning;
  const Json result = json_of({"eval", folder.path("m"), "--data", set()});
  EXPECT_TRUE(result.at("pixel_auroc").is_number() && result.at("pro").is_number());
  EXPECT_EQ(json_of({"score", folder.path("m"), set() + "/test"}).size(), 16U);
  expect_refused({"score", folder.path("m"), set() + "/test", "--explain"},
                 "--explain: the model compares with K-means centers");
  expect_refused(fit(folder.path("n"), {"--clusters", "5", "--gallery", "nearest:5"}),
                 "clusters=5 excludes a gallery of the 5 nearest images");
  expect_refused(fit(folder.path("n"), {"--clusters", "100"}), "100 clusters of the 72 pixels of 18 images");
  expect_refused(fit(folder.path("n"), {"--score", "kmeans", "--clusters", "5"}),
                 "--score kmeans is for dn2, not for spade");
}

TEST_F(SpadeCommand, SkipsBadImagesWhenAsked) {
  const TemporaryDirectory folder;
  fs::copy(set(), folder.path("set"), fs::copy_options::recursive);
  folder.write("set/test/good/001.png", "no picture");
  fs::resize_file(folder.path("set/train/good/005.png"), 100);
  expect_refused({"eval", model(), "--data", folder.path("set")}, "good/001.png: ");
  Outcome outcome =
      run_panda_command({"eval", model(), "--data", folder.path("set"), "--skip-bad", "-o", "json"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.error_lines(), 1);
  EXPECT_NE(outcome.standard_error.find("warning: left out: "), std::string::npos);
  EXPECT_EQ(Json::parse(outcome.standard_output).at("n_test"), 15);
  EXPECT_EQ(Json::parse(outcome.standard_output).at("n_left_out"), 1);
  Words words = fit(folder.path("m"), {"--skip-bad", "-o", "json"});
  words[3] = folder.path("set");
  outcome = run_panda_command(words);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.standard_error;
  EXPECT_NE(outcome.standard_error.find("005.png"), std::string::npos);
  EXPECT_EQ(Json::parse(outcome.standard_output).at("n_train"), 23);
  expect_refused({"score", model(), folder.path("set/test/good/001.png"), "--skip-bad", "-q"},
                 "none of 1 image can be read");
}

TEST_F(SpadeCommand, MeasuresWhatATestSplitOfOneClassCanGive) {
  const TemporaryDirectory folder;
  const auto without = [&](const char* name, bool normal) {
    const std::string copy = folder.path(name);
    fs::copy(set(), copy, fs::copy_options::recursive);
    for (const auto& kind : fs::directory_iterator(copy + "/test")) {
      if ((kind.path().filename() == "good") == normal) fs::remove_all(kind.path());
    }
    return run_panda_command({"eval", model(), "--data", copy, "-o", "json"});
  };
  for (const bool normal : {false, true}) {
    const Outcome outcome = without(normal ? "anomalies" : "normal", normal);
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_NE(
        outcome.standard_error.find(normal ? "the test split has no normal image: there is no ROCAUC"
                                           : "the test split has no anomalous image: there is no ROCAUC"),
        std::string::npos)
        << outcome.standard_error;
    const Json result = Json::parse(outcome.standard_output);
    EXPECT_TRUE(result.at("image_auroc").is_null());
    // Anomalous images have normal pixels.
    EXPECT_EQ(result.at("pro").is_null(), !normal);
    EXPECT_EQ(result.at("n_anomalous").get<int64_t>() == 0, !normal);
  }
}

TEST_F(SpadeCommand, NamesTheOneOfAThousandThatCannotBeRead) {
  const TemporaryDirectory folder;
  const std::string bad = folder.write("bad.png", "no picture");
  const auto run = [&](int64_t count, const Words& more) {
    RunOptions options;
    for (int64_t i = 0; i < count; ++i)
      options.standard_input +=
          (i == count / 2 ? bad : set() + "/test/good/00" + std::to_string(i % 6) + ".png") + "\n";
    Words words = {"score", model(), "-", "-o", "jsonl"};
    words.insert(words.end(), more.begin(), more.end());
    return run_panda_command(words, options);
  };
  const Outcome refused = run(65, {});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_EQ(refused.error_lines(), 1) << refused.standard_error;
  EXPECT_NE(refused.standard_error.find(bad), std::string::npos) << refused.standard_error;
  const Outcome outcome = run(1000, {"--skip-bad"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.error_lines(), 1) << outcome.standard_error;
  EXPECT_NE(outcome.standard_error.find("left out: " + bad), std::string::npos) << outcome.standard_error;
  EXPECT_EQ(std::count(outcome.standard_output.begin(), outcome.standard_output.end(), '\n'), 999);
#ifndef __SANITIZE_ADDRESS__  // which keeps freed memory for a while
  // Memory is that of a batch, not of a thousand images.
  const Outcome few = run(65, {"--skip-bad"});
  EXPECT_LT(outcome.peak_bytes, few.peak_bytes + (4 << 20));
#endif
}

TEST_F(SpadeCommand, RefusesMasksThatDoNotFit) {
  const TemporaryDirectory folder;
  fs::copy(set(), folder.path("set"), fs::copy_options::recursive);
  std::string mask;
  for (const auto& entry : fs::recursive_directory_iterator(folder.path("set/ground_truth"))) {
    if (entry.is_regular_file()) mask = entry.path();
  }
  data::Image small(48, 48, 1);
  small.pixels[5] = 1;
  data::write_png(mask, small);
  expect_refused({"eval", model(), "--data", folder.path("set")},
                 "the mask's largest value is 1, expected 255 (128 at least)");
  data::write_png(mask, data::Image(40, 48, 1));
  expect_refused({"eval", model(), "--data", folder.path("set")},
                 "the mask has 48 x 40 pixels, expected 48 x 48");

  data::Image photograph(48, 48, 1);
  for (size_t i = 0; i < photograph.pixels.size(); ++i)
    photograph.pixels[i] = static_cast<uint8_t>(i % 48 * 5);
  data::write_png(mask, photograph);
  expect_refused({"eval", model(), "--data", folder.path("set")},
                 "of the mask's 2304 pixels are neither near 0 nor near 235, expected two values");
  // Soft edges are no fault.
  data::Image soft(48, 48, 1);
  for (int64_t y = 10; y < 20; ++y) {
    for (int64_t x = 10; x < 20; ++x)
      soft.pixels[static_cast<size_t>(y * 48 + x)] = x == 10 || x == 19 ? 120 : 255;
  }
  data::write_png(mask, soft);
  json_of({"eval", model(), "--data", folder.path("set")});

  fs::remove_all(folder.path("set/ground_truth"));
  const Outcome outcome = run_panda_command({"eval", model(), "--data", folder.path("set"), "-o", "json"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_NE(outcome.standard_error.find("no masks"), std::string::npos);
  EXPECT_TRUE(Json::parse(outcome.standard_output).at("pro").is_null());
}

TEST_F(SpadeCommand, ReadsPathsAndPrintsLines) {
  const std::string good = set() + "/test/good/";
  RunOptions options;
  options.standard_input = good + "000.png\n\n" + good + "002.png\r\n" + good + "001.png";
  const Outcome outcome =
      run_panda_command({"score", model(), "-", "-o", "jsonl", "--batch-size", "2"}, options);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.standard_error;
  std::istringstream lines(outcome.standard_output);
  Words files;
  for (std::string line; std::getline(lines, line);) {
    const Json record = Json::parse(line);
    EXPECT_TRUE(record.at("score").is_number());
    files.push_back(record.at("file"));
  }
  EXPECT_EQ(files, (Words{good + "000.png", good + "002.png", good + "001.png"}));
  expect_refused({"score", model(), "-", good}, "stands alone");
  expect_refused({"score", model(), good, "--idle-exit", "1"}, "--idle-exit is for --watch");
}

TEST_F(SpadeCommand, WatchesAFolderThatFills) {
  const TemporaryDirectory folder;
  const std::string incoming = folder.path("incoming");
  fs::create_directory(incoming);
  fs::copy(set() + "/test/good/000.png", incoming + "/a.png");
  RunOptions options;
  options.while_running = [&](pid_t) {
    std::this_thread::sleep_for(std::chrono::milliseconds(900));
    folder.write("incoming/c.png", "no picture");
    // Written in two goes, the second after the first was tried.
    const std::string whole = content_of(set() + "/test/good/001.png");
    folder.write("incoming/later/b.png", whole.substr(0, whole.size() / 2));
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    folder.write("incoming/later/b.png", whole);
  };
  const Outcome outcome =
      run_panda_command({"score", model(), incoming, "--watch", "--idle-exit", "4", "-o", "jsonl"}, options);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.standard_error;
  Words files;
  std::istringstream lines(outcome.standard_output);
  for (std::string line; std::getline(lines, line);) files.push_back(Json::parse(line).at("file"));
  EXPECT_EQ(files, (Words{incoming + "/a.png", incoming + "/later/b.png"}));
  EXPECT_NE(outcome.standard_error.find("left out: " + incoming + "/c.png"), std::string::npos);
}

TEST_F(SpadeCommand, RefusesMapsOfAMethodWithoutThem) {
  const TemporaryDirectory folder;
  Words words = fit(folder.path("dn2"));
  words[1] = "dn2";
  ASSERT_EQ(run_panda_command(words).exit_code, 0);
  expect_refused({"score", folder.path("dn2"), set() + "/test/good", "--maps", folder.path("maps")},
                 "is a model of dn2, which makes no maps");
  expect_refused({"score", folder.path("dn2"), set() + "/test/good", "--explain"}, "has no pixels");
  EXPECT_FALSE(path_exists(folder.path("maps")));
}

/// The report of a run, with or without maps.
std::string report_of(const TemporaryDirectory& folder, const std::string& model, const std::string& set) {
  const Outcome outcome =
      run_panda_command({"eval", model, "--data", set, "--report", folder.path("r.html"), "-q"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.standard_error;
  return content_of(folder.path("r.html"));
}

TEST_F(SpadeCommand, ReportHoldsAllThatItShows) {
  const TemporaryDirectory folder;
  const std::string html = report_of(folder, model(), set());
  // Nothing is fetched: every address is inside the page (the SVG name space is a name and no address).
  for (size_t at = html.find("src=\""); at != std::string::npos; at = html.find("src=\"", at + 1))
    EXPECT_EQ(html.compare(at + 5, 23, "data:image/jpeg;base64,"), 0) << html.substr(at, 60);
  std::string without_names = html;
  for (const std::string name = "http://www.w3.org/2000/svg"; without_names.find(name) != std::string::npos;)
    without_names.erase(without_names.find(name), name.size());
  for (const char* outside : {"http://", "https://", "//cdn", "@import", "<script", "url("})
    EXPECT_EQ(without_names.find(outside), std::string::npos) << outside;
  for (const char* part : {"pixel ROCAUC", "PRO", "What the threshold means", "at most 5 % of normal images",
                           "By kind", "Normal images with the highest scores", "peak memory", "SHA-256"})
    EXPECT_NE(html.find(part), std::string::npos) << part;
  EXPECT_LT(html.size(), 5U << 20);
  // Again the same, but for times and memory.
  const TemporaryDirectory second;
  const std::string again = report_of(second, model(), set());
  EXPECT_EQ(html.substr(0, html.find("Time and memory")), again.substr(0, again.find("Time and memory")));
}

TEST_F(SpadeCommand, ReportOpensInABrowser) {
  if (!has_browser()) GTEST_SKIP() << "no chromium here: the report is not opened in a browser";
  const TemporaryDirectory folder;
  // 10 anomalies with three pictures each, 6 normal ones with two.
  EXPECT_EQ(seen_in_browser(report_of(folder, model(), set())), "pictures 42, broken 0, cropped 0, charts 4");
}

}  // namespace
}  // namespace panda::test
