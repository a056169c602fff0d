#include "anomaly/tiling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "anomaly/spade.h"
#include "kernels/device_registry.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/file.h"
#include "small_network.h"
#include "tests/support/compare.h"
#include "tests/support/temporary_directory.h"

namespace panda::anomaly {
namespace {

using test::TemporaryDirectory;

/// Dark noise; image i of an anomalous set has a bright square of 12 pixels around places[i].
class Boards final : public data::ImageSet {
 public:
  Boards(int64_t height, int64_t width, std::vector<std::pair<int64_t, int64_t>> places, int64_t count,
         uint64_t seed)
      : ImageSet(samples(places.empty() ? count : static_cast<int64_t>(places.size()), !places.empty())),
        height_(height),
        width_(width),
        places_(std::move(places)),
        seed_(seed) {}

  [[nodiscard]] data::Image load(int64_t index) const override {
    data::Image image(height_, width_, 3);
    Random random(seed_, static_cast<uint64_t>(index));
    for (uint8_t& pixel : image.pixels) pixel = static_cast<uint8_t>(random.next_below(60));
    if (places_.empty()) return image;
    const auto [row, column] = places_[static_cast<size_t>(index)];
    for (int64_t y = row - 6; y < row + 6; ++y)
      std::fill_n(image.row(y) + 3 * (column - 6), 36, uint8_t{250});
    return image;
  }

 private:
  static std::vector<data::Sample> samples(int64_t count, bool anomalous) {
    std::vector<data::Sample> list(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      list[static_cast<size_t>(i)].file = text("board ", i, ".png");
      list[static_cast<size_t>(i)].label = anomalous ? 1 : 0;
    }
    return list;
  }
  int64_t height_;
  int64_t width_;
  std::vector<std::pair<int64_t, int64_t>> places_;
  uint64_t seed_;
};

const FitManifest kManifest{"weights", "files", "0.1.0", "cpu", 0};

SpadeOptions whole_options(const Tiling& tiling) {
  SpadeOptions options;
  options.transform.resize_mode = data::ImageTransform::ResizeMode::kNone;
  options.transform.crop = 0;
  options.tiling = tiling;
  options.sigma = 1;
  options.image_rule = ImageRule::kMapMaximum;
  return options;
}

std::unique_ptr<Device> make(int threads = 2) {
  return kernels::make_device({"cpu", threads, ""});
}

std::vector<ImageScore> scores_of(const Detector& model, const data::ImageSet& images,
                                  const ExtractOptions& extract = {}) {
  std::vector<ImageScore> all;
  model.score_each(
      images, extract, [&all](const ImageScore& score) { all.push_back(score); }, nullptr);
  return all;
}

template <typename Action>
std::string failure_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Tiling, CoversEveryPixelAndEndsFlushWithTheBorder) {
  const std::vector<Window> expected = {{0, 0, 64, 64},  {0, 48, 64, 64},  {0, 66, 64, 64},
                                        {36, 0, 64, 64}, {36, 48, 64, 64}, {36, 66, 64, 64}};
  EXPECT_EQ(windows_of({64, 16}, 100, 130), expected);
  EXPECT_EQ(windows_of({64, 16}, 64, 112), (std::vector<Window>{{0, 0, 64, 64}, {0, 48, 64, 64}}));
  EXPECT_EQ(windows_of({64, 16}, 20, 64), (std::vector<Window>{{0, 0, 20, 64}}));
  EXPECT_EQ(windows_of({}, 300, 200), (std::vector<Window>{{0, 0, 300, 200}}));
  for (const int64_t n : {1, 31, 32, 33, 47, 48, 49, 63, 64, 65, 80, 200}) {
    std::vector<int> covered(static_cast<size_t>(n), 0);
    for (const Window& window : windows_of({32, 16}, 1, n)) {
      for (int64_t x = 0; x < window.width; ++x) ++covered.at(static_cast<size_t>(window.left + x));
    }
    EXPECT_GE(*std::min_element(covered.begin(), covered.end()), 1) << n;
  }
}

TEST(Tiling, RefusesWhatItCannotCut) {
  EXPECT_EQ(failure_of([] { Tiling{31, 0}.check(); }), "tiling: tiles of 31 pixels, expected at least 32");
  EXPECT_EQ(failure_of([] {
              Tiling{64, 33}.check();
            }),
            "tiling: an overlap of 33 of tiles of 64 pixels, expected 0 to 32");
  EXPECT_EQ(failure_of([] {
              Tiling{0, 1}.check();
            }),
            "tiling: an overlap of 1 of tiles of 0 pixels, expected 0 to 0");
  EXPECT_NE(failure_of([] {
              static_cast<void>(windows_of({32, 16}, 1 << 20, 1 << 20));
            }).find("expected at most 1048576"),
            std::string::npos);
}

TEST(WindowBlend, FadesLinearlyFromOneWindowToTheNext) {
  PictureGrid grid{1, 112, 16, windows_of({64, 16}, 1, 112), {}};
  WindowBlend blend(grid);
  blend.add(grid.windows[0], std::vector<double>(64, 2.0));
  blend.add(grid.windows[1], std::vector<double>(64, 10.0));
  const std::vector<double> map = blend.take();
  for (int64_t x = 0; x < 112; ++x) {
    // In the overlap, 48 to 63, the second window's share is (x - 48 + 1/2) / 16.
    const double share = std::clamp((static_cast<double>(x) - 47.5) / 16, 0.0, 1.0);
    EXPECT_DOUBLE_EQ(map[static_cast<size_t>(x)], 2 + 8 * share) << x;
  }
  EXPECT_EQ(grid.window_at(0, 55), 0U);
  EXPECT_EQ(grid.window_at(0, 56), 1U);
}

TEST(WindowBlend, GivesBackTheMapThatItsWindowsWereCutFrom) {
  for (const Tiling tiling : {Tiling{32, 0}, Tiling{32, 5}, Tiling{40, 20}, Tiling{}}) {
    const PictureGrid grid{75, 101, tiling.overlap, windows_of(tiling, 75, 101), {}};
    std::vector<double> expected(75 * 101);
    Random random(3, 0);
    for (double& value : expected) value = 1 + random.next_uniform();
    WindowBlend blend(grid);
    for (const Window& window : grid.windows) {
      std::vector<double> part;
      for (int64_t y = 0; y < window.height; ++y) {
        const auto row = expected.begin() + (window.top + y) * 101 + window.left;
        part.insert(part.end(), row, row + window.width);
      }
      blend.add(window, part);
    }
    // At most nine windows meet: nine products of three factors, eight additions, two sums of weights, a
    // division, each with a relative error of at most 2^-53, on positive terms.
    std::vector<double> tolerance;
    for (const double value : expected) tolerance.push_back(tiling.tile == 0 ? 0 : value * 24 * 0x1p-53);
    const auto result = test::compare_elementwise(blend.take(), expected, tolerance);
    EXPECT_TRUE(result) << result.reason;
  }
}

TEST(Tiling, GivesTheFeaturesOfOnePassAwayFromSeams) {
  // Layer 1 of the small network sees 27 pixels (stem 7 at stride 2, pooling 3 at stride 2, two 3 x 3 at
  // stride 4), so at most 16 beyond a grid cell: 4 cells.
  constexpr int64_t kReach = 4;
  const auto device = make();
  const auto weights = small_weights();
  nn::Resnet network(*device, small_config(), weights);
  const PyramidOptions options{{1}, false};
  const SpadeOptions whole = whole_options({});
  const Tensor picture = whole.transform.apply(Boards(96, 160, {{48, 64}}, 1, 5).load(0));
  const PictureGrid one = picture_grid(network.config(), options, {}, 96, 160);
  const PictureGrid tiles = picture_grid(network.config(), options, {64, 32}, 96, 160);
  ASSERT_EQ(tiles.windows.size(), 2U * 4U);
  const PyramidFeatures expected = extract_pictures(network, picture, one, options, false, 1);
  const PyramidFeatures actual = extract_pictures(network, picture, tiles, options, true, 3);
  const int64_t d = one.levels[0].channels;
  int64_t compared = 0;
  std::vector<double> values;
  std::vector<double> wanted;
  std::vector<double> tolerance;
  for (size_t t = 0; t < tiles.windows.size(); ++t) {
    const Window& window = tiles.windows[t];
    for (int64_t y = 0; y < 16; ++y) {
      for (int64_t x = 0; x < 16; ++x) {
        const bool inside = (window.top == 0 || y >= kReach) && (window.left == 0 || x >= kReach) &&
                            (window.top + 64 == 96 || y < 16 - kReach) &&
                            (window.left + 64 == 160 || x < 16 - kReach);
        if (!inside) continue;
        ++compared;
        const int64_t a = (static_cast<int64_t>(t) * 256 + y * 16 + x) * d;
        const int64_t b = ((window.top / 4 + y) * 40 + window.left / 4 + x) * d;
        for (int64_t c = 0; c < d; ++c) {
          values.push_back(actual.levels[0].data<float>()[a + c]);
          wanted.push_back(expected.levels[0].data<float>()[b + c]);
          // A convolution's algorithm may differ with the extents: f32 sums of at most 147 terms in four
          // layers, on activations of order one.
          tolerance.push_back(4 * 147 * 0x1p-24 * (1 + std::abs(wanted.back())));
        }
      }
    }
  }
  EXPECT_GT(compared, 8 * 64);
  const auto result = test::compare_elementwise(values, wanted, tolerance);
  EXPECT_TRUE(result) << result.reason;
  // Pooled: the mean over the windows.
  double sum = 0;
  for (const Window& window : tiles.windows) {
    Tensor cut(host(), DType::kF32, {1, 3, 64, 64}, "window");
    for (int64_t i = 0; i < 3 * 64 * 64; ++i) {
      const int64_t row = i / 4096 * 96 + window.top + i / 64 % 64;
      cut.data<float>()[i] = picture.data<float>()[row * 160 + window.left + i % 64];
    }
    sum += network.features(cut).data<float>()[5];
  }
  EXPECT_EQ(actual.pooled.data<float>()[5], static_cast<float>(sum / 8));
}

TEST(SpadeTiling, APictureThatFitsIntoOneTileHasTheBitsOfOnePass) {
  const auto device = make();
  const auto weights = small_weights();
  const Boards training(40, 56, {}, 4, 1);
  const Boards query(40, 56, {{20, 30}}, 1, 2);
  const Spade one = Spade::fit(*device, weights, training, whole_options({}));
  const Spade tiled = Spade::fit(*device, weights, training, whole_options({64, 16}));
  const std::vector<ImageScore> expected = scores_of(one, query);
  EXPECT_EQ(expected[0].map->height, 40);
  EXPECT_EQ(expected[0].map->width, 56);
  EXPECT_EQ(scores_of(tiled, query)[0].map->values, expected[0].map->values);
  // And that of the crop where there is nothing to cut off.
  SpadeOptions crop = whole_options({});
  crop.transform.crop = 40;
  const Boards square(40, 40, {}, 4, 1);
  const Boards square_query(40, 40, {{20, 30}}, 1, 2);
  EXPECT_EQ(scores_of(Spade::fit(*device, weights, square, whole_options({})), square_query)[0].map->values,
            scores_of(Spade::fit(*device, weights, square, crop), square_query)[0].map->values);
}

TEST(SpadeTiling, FindsADefectAcrossASeamAsOneInAMiddle) {
  const auto device = make();
  const auto weights = small_weights();
  SpadeOptions options = whole_options({64, 16});
  const Spade model = Spade::fit(*device, weights, Boards(112, 160, {}, 12, 1), options);
  // Tiles begin at rows 0, 48 and at columns 0, 48, 96: a corner where four meet, a seam, a middle.
  const std::vector<std::pair<int64_t, int64_t>> places = {{56, 56}, {56, 32}, {24, 80}};
  for (const ImageScore& score : scores_of(model, Boards(112, 160, places, 0, 2))) {
    const auto [row, column] = places[static_cast<size_t>(score.index)];
    EXPECT_EQ(score.map->height, 112);
    EXPECT_EQ(score.map->width, 160);
    EXPECT_GT(score.score, model.threshold()->value);
    EXPECT_LE(std::abs(score.nearest->row - row), 10) << row << ", " << column;
    EXPECT_LE(std::abs(score.nearest->column - column), 10) << row << ", " << column;
    EXPECT_TRUE(score.nearest->training_row >= 0 && score.nearest->training_row < 112);
    EXPECT_TRUE(score.nearest->training_column >= 0 && score.nearest->training_column < 160);
    // No step at the seam: the whole square is far above what is normal.
    for (int64_t y = row - 4; y < row + 4; ++y) {
      for (int64_t x = column - 4; x < column + 4; ++x)
        EXPECT_GT(score.map->values[static_cast<size_t>(y * 160 + x)], model.pixel_threshold()->value);
    }
  }
}

TEST(SpadeTiling, NamesTheTrainingPixelThatIsTheQueryItself) {
  const auto device = make();
  const Boards training(112, 160, {{56, 56}, {24, 80}, {90, 140}}, 0, 1);
  SpadeOptions options = whole_options({64, 16});
  options.calibration_images = 0;
  options.sigma = 0;
  const Spade model = Spade::fit(*device, small_weights(), training, options);
  for (const ImageScore& score : scores_of(model, training)) {
    EXPECT_EQ(score.score, 0);
    EXPECT_EQ(score.nearest->training_image, score.index);
    EXPECT_LE(std::abs(score.nearest->training_row - score.nearest->row), 4);
    EXPECT_LE(std::abs(score.nearest->training_column - score.nearest->column), 4);
  }
}

TEST(SpadeTiling, GivesTheSameBitsFromDiskAndForAnyThreadsAndBatch) {
  const auto weights = small_weights();
  const Boards training(70, 100, {}, 5, 1);
  const Boards queries(70, 100, {{30, 50}, {60, 90}}, 0, 2);
  // What is scored may have another size.
  const Boards other(90, 60, {{50, 30}}, 0, 2);
  const TemporaryDirectory folder;
  std::vector<uint8_t> bytes;
  std::vector<ImageScore> expected;
  std::vector<ImageScore> expected_other;
  for (const int threads : {1, 3}) {
    const auto device = make(threads);
    for (const int64_t budget : {int64_t{1} << 30, int64_t{5000}}) {
      SpadeOptions options = whole_options({32, 8});
      options.image_rule = ImageRule::kPooledKnn;
      options.nearest_images = 3;
      const Spade model = Spade::fit(*device, weights, training, options, {.batch_size = 2 * threads},
                                     {budget, folder.path()});
      EXPECT_EQ(model.gallery_in_memory(), budget > 5000);
      model.save(folder.path("model"), weights, kManifest);
      const auto loaded = load_detector(*device, folder.path("model"), {budget});
      EXPECT_NE(loaded->description().find("tiles of 32 pixels with an overlap of 8"), std::string::npos);
      const std::vector<ImageScore> actual = scores_of(*loaded, queries, {.batch_size = 5 - threads});
      const std::vector<ImageScore> actual_other = scores_of(*loaded, other);
      EXPECT_EQ(actual_other[0].map->height, 90);
      if (bytes.empty()) {
        bytes = read_file(folder.path("model"));
        expected = actual;
        expected_other = actual_other;
      }
      EXPECT_TRUE(bytes == read_file(folder.path("model")));
      EXPECT_EQ(actual_other[0].map->values, expected_other[0].map->values);
      for (size_t i = 0; i < 2; ++i) {
        EXPECT_EQ(actual[i].map->values, expected[i].map->values);
        EXPECT_EQ(actual[i].score, expected[i].score);
      }
    }
  }
}

TEST(SpadeTiling, RefusesTrainingImagesOfTwoSizes) {
  const auto device = make();
  const Boards small(40, 56, {}, 2, 1);
  const Boards large(40, 64, {}, 1, 1);
  class Both final : public data::ImageSet {
   public:
    Both(const Boards& first, const Boards& second)
        : ImageSet({first.sample(0), first.sample(1), second.sample(0)}), first_(first), second_(second) {}
    [[nodiscard]] data::Image load(int64_t index) const override {
      return index < 2 ? first_.load(index) : second_.load(0);
    }

   private:
    const Boards& first_;
    const Boards& second_;
  };
  EXPECT_EQ(
      failure_of([&] {
        static_cast<void>(Spade::fit(*device, small_weights(), Both(small, large), whole_options({32, 8})));
      }),
      "board 0.png: a picture of 64 x 40, but board 0.png makes one of 56 x 40; without a crop the "
      "training images share one size");
  SpadeOptions both = whole_options({32, 8});
  both.transform.crop = 32;
  EXPECT_NE(failure_of([&] {
              static_cast<void>(Spade::fit(*device, small_weights(), small, both));
            }).find("tiles of 32 pixels are for whole pictures, not for a crop of 32"),
            std::string::npos);
}

}  // namespace
}  // namespace panda::anomaly
