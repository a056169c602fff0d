// Photographs of any shape, as a user gives them: fit spade --tile and --no-crop, then score, eval, report.

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/image_decode.h"
#include "data/image_write.h"
#include "kernels/tensor/random.h"
#include "nn/init.h"
#include "tests/cli/browser.h"
#include "tests/cli/expect.h"
#include "weights/npy.h"
#include "weights/safetensors.h"

namespace panda::test {
namespace {

constexpr int64_t kHeight = 112;
constexpr int64_t kWidth = 160;

class TilingCommand : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_ = new TemporaryDirectory;
    for (const char* folder : {"set/train/good", "set/test/good", "set/test/spot", "set/ground_truth/spot"})
      make_directories(shared_->path(folder));
    for (uint64_t i = 0; i < 8; ++i) write("set/train/good", i, false);
    for (uint64_t i = 0; i < 2; ++i) write("set/test/good", 20 + i, false);
    for (uint64_t i = 0; i < 2; ++i) write("set/test/spot", 30 + i, true);
    const nn::SeededResnetParameters seeded(nn::resnet_config("resnet18", 0.125), 5,
                                            nn::BatchNormInit::kRandomized);
    weights::SafetensorsWriter writer(shared_->path("w"), seeded.list());
    for (const TensorInfo& info : writer.order()) writer.write(seeded.load(info.name));
    writer.commit();
  }
  static void TearDownTestSuite() { delete shared_; }

  /// Dark noise; defects cross the seam at row 56 of tiles of 64 pixels that overlap by 16.
  static void write(const std::string& folder, uint64_t seed, bool anomalous) {
    data::Image image(kHeight, kWidth, 3);
    Random random(seed, 0);
    for (uint8_t& pixel : image.pixels) pixel = static_cast<uint8_t>(random.next_below(60));
    data::Image mask(kHeight, kWidth, 1);
    for (int64_t y = 50; anomalous && y < 62; ++y) {
      std::fill_n(image.row(y) + 3 * 40, 36, uint8_t{250});
      std::fill_n(mask.row(y) + 40, 12, uint8_t{255});
    }
    data::write_png(shared_->path(folder + "/" + std::to_string(seed) + ".png"), image);
    if (anomalous)
      data::write_png(shared_->path("set/ground_truth/spot/" + std::to_string(seed) + "_mask.png"), mask);
  }
  static std::string path(const std::string& name) { return shared_->path(name); }
  static Words fit(const std::string& method, const Words& more) {
    Words words = {"fit",     method,    "--data", path("set"), "--weights",
                   path("w"), "--force", "--out",  path("m")};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  static void expect_sizes(const Json& image, int64_t height, int64_t width) {
    const std::string map = image.at("map");
    EXPECT_EQ(weights::read_npy(map).shape(), (Shape{height, width}));
    for (const char* end : {"_raw.png", "_heat.png", "_overlay.png"}) {
      const data::Image picture = data::load_image(map.substr(0, map.size() - 4) + end);
      EXPECT_EQ(picture.height, height) << end;
      EXPECT_EQ(picture.width, width) << end;
    }
  }

 private:
  static TemporaryDirectory* shared_;
};
TemporaryDirectory* TilingCommand::shared_ = nullptr;

TEST_F(TilingCommand, TilesGiveMapsOfTheImagesOwnSize) {
  const Json fitted = json_of(fit("spade", {"--tile", "64", "--sigma", "1"}));
  EXPECT_EQ(fitted.at("tile"), 64);
  EXPECT_EQ(fitted.at("overlap"), 16);
  EXPECT_EQ(fitted.at("map_height"), kHeight);
  EXPECT_EQ(fitted.at("map_width"), kWidth);
  // Eight images of six tiles, at strides 4, 8 and 16.
  EXPECT_EQ(fitted.at("gallery_pixels"), 8 * 6 * (256 + 64 + 16));
  for (const Json& image :
       json_of({"score", path("m"), path("set/test/spot"), "--maps", path("maps"), "--explain"})) {
    expect_sizes(image, kHeight, kWidth);
    EXPECT_TRUE(image.at("row") >= 44 && image.at("row") < 68) << image;
    EXPECT_TRUE(image.at("column") >= 34 && image.at("column") < 58) << image;
  }
  const Json result = json_of({"eval", path("m"), "--data", path("set"), "--report", path("report.html")});
  EXPECT_GT(result.at("pixel_auroc").get<double>(), 0.99);
  EXPECT_GT(result.at("pro").get<double>(), 0.9);
  EXPECT_NE(content_of(path("report.html")).find("tiles of 64 pixels with an overlap of 16"),
            std::string::npos);
}

TEST_F(TilingCommand, ReportShowsWholePictures) {
  if (!has_browser()) GTEST_SKIP() << "no chromium here: the report is not opened in a browser";
  ASSERT_EQ(run_panda_command(fit("spade", {"--tile", "64"})).exit_code, 0);
  json_of({"eval", path("m"), "--data", path("set"), "--report", path("report.html")});
  // 2 anomalies with three pictures each, 2 normal ones with two.
  EXPECT_EQ(seen_in_browser(content_of(path("report.html"))), "pictures 10, broken 0, cropped 0, charts 4");
}

TEST_F(TilingCommand, WithoutACropMapsHaveThePicturesShape) {
  Json fitted = json_of(fit("spade", {"--no-crop", "--resize", "56", "--sigma", "1"}));
  EXPECT_TRUE(fitted.at("tile").is_null() && fitted.at("overlap").is_null());
  EXPECT_EQ(fitted.at("map_height"), 56);
  EXPECT_EQ(fitted.at("map_width"), 80);
  const Json scored = json_of({"score", path("m"), path("set/test/spot"), "--maps", path("small")});
  expect_sizes(scored.at(0), 56, 80);
  EXPECT_TRUE(json_of({"eval", path("m"), "--data", path("set")}).at("pro").is_number());
  fitted = json_of(fit("spade", {"--no-crop", "--resize", "0"}));
  EXPECT_EQ(fitted.at("map_width"), kWidth);
}

TEST_F(TilingCommand, ScoresAnImageOfAnotherSize) {
  ASSERT_EQ(run_panda_command(fit("spade", {"--tile", "64", "--overlap", "32"})).exit_code, 0);
  data::Image image(50, 210, 3);
  std::fill(image.pixels.begin(), image.pixels.end(), uint8_t{30});
  data::write_png(path("other.png"), image);
  expect_sizes(json_of({"score", path("m"), path("other.png"), "--maps", path("others")}).at(0), 50, 210);
}

TEST_F(TilingCommand, RefusesFlagsThatDoNotFitTogether) {
  expect_refused(fit("spade", {"--tile", "64", "--crop", "32"}), "--tile and --crop exclude each other");
  expect_refused(fit("spade", {"--no-crop", "--crop", "32"}), "--no-crop and --crop exclude each other");
  expect_refused(fit("spade", {"--tile", "64", "--overlap", "33"}),
                 "--overlap 33 is more than half of --tile 64");
  expect_refused(fit("spade", {"--overlap", "16"}), "--overlap is for --tile");
  expect_refused(fit("spade", {"--resize", "0"}), "--resize 0 (each image's own size) is for spade");
  expect_refused(fit("dn2", {"--tile", "64"}), "--tile is for spade, not for dn2");
  expect_refused(fit("spade", {"--tile", "31"}), "--tile");
}

TEST_F(TilingCommand, NamesATrainingImageOfAnotherSize) {
  make_directories(path("mixed/train/good"));
  make_directories(path("mixed/test/good"));
  data::write_png(path("mixed/train/good/a.png"), data::Image(64, 96, 3));
  data::write_png(path("mixed/train/good/b.png"), data::Image(64, 80, 3));
  data::write_png(path("mixed/test/good/c.png"), data::Image(64, 80, 3));
  Words words = fit("spade", {"--tile", "64"});
  words[3] = path("mixed");
  expect_refused(words, "b.png: a picture of 80 x 64, but ");
}

#ifndef __SANITIZE_ADDRESS__  // which reserves more addresses than any limit allows
TEST_F(TilingCommand, SaysSoWhenAPictureDoesNotFitIntoMemory) {
  make_directories(path("large/train/good"));
  make_directories(path("large/test/good"));
  const std::string file = path("large/train/good/a.png");
  data::write_png(file, data::Image(2400, 3000, 3));
  std::filesystem::copy(file, path("large/train/good/b.png"));
  std::filesystem::copy(file, path("large/test/good/c.png"));
  Words words = fit("spade", {"--no-crop", "--resize", "0", "--threads", "2"});
  words[3] = path("large");
  words[8] = path("large.panda");
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_AS, &before), 0);
  const rlimit small{rlim_t{400} << 20, before.rlim_max};
  ::setrlimit(RLIMIT_AS, &small);
  const Outcome outcome = run_panda_command(words);
  ::setrlimit(RLIMIT_AS, &before);
  EXPECT_EQ(outcome.exit_code, 3) << outcome.standard_error;
  EXPECT_EQ(outcome.error_lines(), 1) << outcome.standard_error;
  EXPECT_NE(outcome.standard_error.find("out of memory: cannot allocate "), std::string::npos)
      << outcome.standard_error;
  EXPECT_FALSE(path_exists(path("large.panda")));
}
#endif

}  // namespace
}  // namespace panda::test
