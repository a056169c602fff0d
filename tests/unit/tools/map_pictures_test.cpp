#include "tools/map_pictures.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "data/image_decode.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/file.h"
#include "tests/support/temporary_directory.h"
#include "weights/npy.h"

namespace panda::tools {
namespace {

anomaly::ScoreMap map_with_square() {
  anomaly::ScoreMap map{20, 30, std::vector<float>(600, 0.25F)};
  for (int64_t y = 5; y < 9; ++y) {
    for (int64_t x = 10; x < 16; ++x) map.values[static_cast<size_t>(y * 30 + x)] = 3;
  }
  return map;
}

double lightness(const std::array<uint8_t, 3>& colour) {
  return 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2];
}

TEST(MapPictures, ColoursRiseInLightness) {
  for (int i = 1; i <= 100; ++i) {
    EXPECT_GE(lightness(heat_colour(i / 100.0)), lightness(heat_colour((i - 1) / 100.0))) << i;
  }
  EXPECT_EQ(heat_colour(-1), heat_colour(0));
  EXPECT_EQ(heat_colour(2), heat_colour(1));
}

TEST(MapPictures, AScaleIsTheSameForEveryMap) {
  const MapScale scale{2, std::nullopt};
  anomaly::ScoreMap low{1, 2, {0.5F, 0.25F}};
  anomaly::ScoreMap high{1, 2, {0.5F, 100}};
  EXPECT_EQ(heat_picture(low, scale).pixels[0], heat_picture(high, scale).pixels[0]);
  EXPECT_EQ(raw_samples(low, scale), (std::vector<uint16_t>{16384, 8192}));
  EXPECT_EQ(raw_samples({1, 2, {-1, 100}}, scale), (std::vector<uint16_t>{0, 65535}));
}

TEST(MapPictures, OverlayOutlinesAndBoxesWhatIsAboveTheThreshold) {
  const anomaly::ScoreMap map = map_with_square();
  EXPECT_EQ(defect_boxes(map, 1), (std::vector<anomaly::Box>{{5, 10, 9, 16}}));
  const data::Image picture(20, 30, 3);
  const data::Image overlay = overlay_picture(picture, map, {4, 1.0});
  const auto pixel = [&](int64_t y, int64_t x) {
    return std::vector<int>(overlay.row(y) + 3 * x, overlay.row(y) + 3 * x + 3);
  };
  EXPECT_EQ(pixel(5, 10), (std::vector<int>{255, 255, 255}));  // its own border
  EXPECT_EQ(pixel(4, 12), (std::vector<int>{0, 0, 0}));        // just outside
  EXPECT_EQ(pixel(2, 7), pixel(11, 18));                       // corners of the box
  EXPECT_NE(pixel(2, 7), pixel(1, 7));
  const std::array<uint8_t, 3> colour = heat_colour(0.75);
  EXPECT_EQ(pixel(6, 12)[0], std::lround(0.75 * 0.75 * 0.75 * colour[0]));
  // Without a threshold nothing is drawn.
  const data::Image plain = overlay_picture(picture, map, {4, std::nullopt});
  EXPECT_NE(plain.row(5)[30], 255);
}

TEST(MapPictures, RefusesAPictureOfAnotherSize) {
  try {
    static_cast<void>(overlay_picture(data::Image(20, 20, 3), map_with_square(), {1, std::nullopt}));
    FAIL() << "no error";
  } catch (const InvalidArgument& error) {
    EXPECT_STREQ(
        error.what(),
        "map picture: a picture of 20 x 20 with 3 channels for a map of 30 x 20, expected RGB of that size");
  }
}

TEST(MapWriter, KeepsNamesApartAndStatesTheScale) {
  const test::TemporaryDirectory folder;
  const anomaly::ScoreMap map = map_with_square();
  MapWriter writer(folder.path("maps"), {4, 1.0});
  const data::Image gray(20, 30, 1);
  EXPECT_EQ(writer.write("a/001.png", "", gray, map), folder.path("maps/001.npy"));
  EXPECT_EQ(writer.write("b/001.png", "", gray, map), folder.path("maps/001-2.npy"));
  EXPECT_EQ(writer.write("set/test/cut/001.png", "cut", gray, map), folder.path("maps/cut/001.npy"));
  const Tensor stored = weights::read_npy(folder.path("maps/cut/001.npy"));
  EXPECT_EQ(std::vector<float>(stored.data<float>(), stored.data<float>() + 600), map.values);
  EXPECT_EQ(list_directory(folder.path("maps/cut")),
            (std::vector<std::string>{"001.npy", "001_heat.png", "001_overlay.png", "001_raw.png"}));
  const std::vector<uint8_t> bytes = read_file(folder.path("maps/scale.json"));
  const auto scale = nlohmann::json::parse(bytes.begin(), bytes.end());
  EXPECT_EQ(scale.at("top"), 4);
  EXPECT_EQ(scale.at("pixel_threshold"), 1);
}

}  // namespace
}  // namespace panda::tools
