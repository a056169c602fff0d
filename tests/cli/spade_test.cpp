// Maps as a user gets them: fit spade, score and eval with maps, the report, streams.

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "data/image_decode.h"
#include "data/image_write.h"
#include "nn/init.h"
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
    // The raw picture is the map on the stated scale; 16 bits are read back as 8.
    const data::Image raw = data::load_image(base + "_raw.png");
    for (int64_t i = 0; i < map.numel(); i += 7) {
      const double expected = std::clamp(255.0 * values[i] / scale.at("top").get<double>(), 0.0, 255.0);
      EXPECT_NEAR(raw.pixels[static_cast<size_t>(i)], expected, 0.51);
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
  if (std::system("command -v chromium >/dev/null 2>&1") != 0)
    GTEST_SKIP() << "no chromium here: the report is not opened in a browser";
  const TemporaryDirectory folder;
  std::string html = report_of(folder, model(), set());
  const std::string end = "</body>";
  html.insert(html.find(end),
              "<script>onload=()=>{const all=[...document.images];"
              "document.title='pictures '+all.length+', broken '+all.filter(i=>!i.naturalWidth).length+"
              "', charts '+[...document.querySelectorAll('.panel "
              "svg')].filter(s=>s.getBoundingClientRect().height>50).length}"
              "</script>");
  folder.write("test.html", html);
  const std::string command =
      "timeout 120 chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage "
      "--user-data-dir=" +
      folder.path("profile") + " --enable-logging=stderr --dump-dom file://" + folder.path("test.html") +
      " >" + folder.path("dom") + " 2>" + folder.path("log");
  ASSERT_EQ(std::system(command.c_str()), 0) << content_of(folder.path("log"));
  const std::string dom = content_of(folder.path("dom"));
  const size_t title = dom.find("<title>pictures ");
  ASSERT_NE(title, std::string::npos) << dom.substr(0, 300);
  // 10 anomalies with three pictures each in two sheets, 6 normal ones with two.
  EXPECT_EQ(dom.substr(title + 7, dom.find("</title>") - title - 7), "pictures 72, broken 0, charts 4");
  EXPECT_EQ(content_of(folder.path("log")).find("CONSOLE"), std::string::npos)
      << content_of(folder.path("log"));
}

}  // namespace
}  // namespace panda::test
