#include "anomaly/spade.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>
#include <string>

#include "kernels/device_registry.h"
#include "kernels/kmeans.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/file.h"
#include "kernels/tensor/random.h"
#include "nn/init.h"
#include "tests/support/compare.h"
#include "tests/support/temporary_directory.h"

namespace panda::anomaly {
namespace {

using test::TemporaryDirectory;

constexpr int64_t kSize = 32;

/// Noise images; anomalies have a bright square at rows 8..16, columns 16..26.
class NoiseImages final : public data::ImageSet {
 public:
  NoiseImages(int64_t count, bool anomalous, uint64_t seed)
      : ImageSet(samples(count, anomalous)), seed_(seed) {}

  [[nodiscard]] data::Image load(int64_t index) const override {
    data::Image image(kSize, kSize, 3);
    Random random(seed_, static_cast<uint64_t>(index));
    for (uint8_t& pixel : image.pixels) pixel = static_cast<uint8_t>(random.next_below(90));
    if (sample(index).label == 0) return image;
    for (int64_t y = 8; y < 16; ++y) std::fill_n(image.row(y) + 48, 30, uint8_t{250});
    return image;
  }

 private:
  static std::vector<data::Sample> samples(int64_t count, bool anomalous) {
    std::vector<data::Sample> list(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      list[static_cast<size_t>(i)].file = text(anomalous ? "anomaly/" : "normal/", i, ".png");
      list[static_cast<size_t>(i)].label = anomalous ? 1 : 0;
    }
    return list;
  }
  uint64_t seed_;
};

nn::SeededResnetParameters small_weights() {
  return nn::SeededResnetParameters(nn::resnet_config("resnet18", 0.125), 3, nn::BatchNormInit::kRandomized);
}

SpadeOptions small_options() {
  SpadeOptions options;
  options.transform.resize = kSize;
  options.transform.crop = kSize;
  options.sigma = 1;
  return options;
}

std::unique_ptr<Device> make(const std::string& name = "cpu", int threads = 2) {
  return kernels::make_device({name, threads, ""});
}

const FitManifest kManifest{"weights", "files", "0.1.0", "cpu", 0};

std::vector<ImageScore> scores_of(const Spade& model, const data::ImageSet& images,
                                  const ExtractOptions& extract = {}) {
  std::vector<ImageScore> all;
  model.score_each(
      images, extract, [&all](const ImageScore& score) { all.push_back(score); }, nullptr);
  return all;
}

std::string failure_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

/// The map by the definition: every layer's grid against every pixel of the chosen training images.
std::vector<double> map_by_definition(nn::Resnet& network, const SpadeOptions& options,
                                      const data::ImageSet& training, const std::vector<int64_t>& chosen,
                                      const data::Image& image) {
  nn::ResnetRequest request;
  for (const int64_t layer : options.pyramid.layers) request.stages[static_cast<size_t>(layer - 1)] = true;
  const nn::ResnetResult own = network.forward(options.transform.apply(image), request);
  std::vector<double> sum(kSize * kSize, 0.0);
  std::vector<std::vector<Tensor>> gallery(4);
  for (const int64_t i : chosen) {
    const nn::ResnetResult features = network.forward(options.transform.apply(training.load(i)), request);
    for (const int64_t layer : options.pyramid.layers)
      gallery[static_cast<size_t>(layer - 1)].push_back(features.stages[static_cast<size_t>(layer - 1)]);
  }
  for (const int64_t layer : options.pyramid.layers) {
    const Tensor& grid = own.stages[static_cast<size_t>(layer - 1)];
    const int64_t channels = grid.shape()[1];
    const int64_t pixels = grid.shape()[2] * grid.shape()[3];
    std::vector<double> scores;
    for (int64_t p = 0; p < pixels; ++p) {
      std::vector<double> distances;
      for (const Tensor& other : gallery[static_cast<size_t>(layer - 1)]) {
        for (int64_t q = 0; q < pixels; ++q) {
          double distance = 0;
          for (int64_t c = 0; c < channels; ++c) {
            const double difference =
                double{grid.data<float>()[c * pixels + p]} - double{other.data<float>()[c * pixels + q]};
            distance += difference * difference;
          }
          distances.push_back(distance);
        }
      }
      std::sort(distances.begin(), distances.end());
      double score = 0;
      for (int64_t j = 0; j < options.pixel.k; ++j) {
        const double distance = distances[static_cast<size_t>(j)];
        score += options.pixel.rule == ScoreRule::kKnnMean
                     ? std::sqrt(distance) / static_cast<double>(options.pixel.k)
                     : distance;
      }
      scores.push_back(score);
    }
    add_interpolated(scores, grid.shape()[2], grid.shape()[3], kSize, kSize, sum);
  }
  gaussian_smooth(sum, kSize, kSize, options.sigma);
  return sum;
}

TEST(Spade, GivesTheMapOfTheDefinition) {
  const auto device = make();
  const auto weights = small_weights();
  nn::Resnet network(*device, nn::resnet_config("resnet18", 0.125), weights);
  const NoiseImages training(4, false, 1);
  const NoiseImages query(2, true, 2);
  for (const ScoreRule rule : {ScoreRule::kKnnMean, ScoreRule::kKnnSumSq}) {
    SpadeOptions options = small_options();
    options.pixel = {.rule = rule, .k = rule == ScoreRule::kKnnMean ? 1 : 3};
    if (rule == ScoreRule::kKnnSumSq) options.pyramid.layers = {2, 4};
    const Spade model = Spade::fit(*device, weights, training, options);
    for (const ImageScore& score : scores_of(model, query)) {
      const std::vector<double> expected =
          map_by_definition(network, options, training, {0, 1, 2, 3}, query.load(score.index));
      std::vector<double> tolerance;
      for (const double value : expected) tolerance.push_back(std::abs(value) * 0x1p-23);  // one f32 rounding
      const std::vector<double> actual(score.map->values.begin(), score.map->values.end());
      EXPECT_TRUE(test::compare_elementwise(actual, expected, tolerance))
          << test::compare_elementwise(actual, expected, tolerance).reason;
    }
  }
}

TEST(Spade, SearchesThePixelsOfTheNearestImagesAlone) {
  const auto device = make();
  const auto weights = small_weights();
  nn::Resnet network(*device, nn::resnet_config("resnet18", 0.125), weights);
  const NoiseImages training(6, false, 1);
  const NoiseImages query(1, true, 2);
  SpadeOptions options = small_options();
  options.nearest_images = 2;
  const Spade model = Spade::fit(*device, weights, training, options);
  const Tensor own = network.features(options.transform.apply(query.load(0)));
  std::vector<std::pair<double, int64_t>> order;
  for (int64_t i = 0; i < 6; ++i) {
    const Tensor other = network.features(options.transform.apply(training.load(i)));
    double distance = 0;
    for (int64_t j = 0; j < own.numel(); ++j)
      distance += std::pow(double{own.data<float>()[j]} - double{other.data<float>()[j]}, 2);
    order.emplace_back(distance, i);
  }
  std::sort(order.begin(), order.end());
  const std::vector<double> expected =
      map_by_definition(network, options, training, {order[0].second, order[1].second}, query.load(0));
  const std::vector<ImageScore> scores = scores_of(model, query);
  const std::vector<float>& map = scores[0].map->values;
  std::vector<double> tolerance;
  for (const double value : expected) tolerance.push_back(std::abs(value) * 0x1p-23);
  EXPECT_TRUE(test::compare_elementwise({map.begin(), map.end()}, expected, tolerance));
}

/// All training pixels of a layer, from a model that keeps them.
Tensor stacked_pixels(const FittedModelFile& file, int64_t layer, int64_t images) {
  std::vector<float> values;
  int64_t width = 0;
  for (int64_t i = 0; i < images; ++i) {
    const Tensor image = file.load(text("gallery/layer", layer, "/00000", i), DType::kF32, 2);
    width = image.shape()[1];
    values.insert(values.end(), image.data<float>(), image.data<float>() + image.numel());
  }
  return Tensor::from<float>({static_cast<int64_t>(values.size()) / width, width}, values.data());
}

TEST(Spade, WithClustersComparesWithCentersOfAllPixels) {
  const auto device = make();
  const auto weights = small_weights();
  const TemporaryDirectory folder;
  const NoiseImages training(5, false, 1);
  SpadeOptions options = small_options();
  Spade::fit(*device, weights, training, options).save(folder.path("all"), weights, kManifest);
  options.clusters = 7;
  options.seed = 3;
  const Spade model = Spade::fit(*device, weights, training, options);
  model.save(folder.path("centers"), weights, kManifest);
  EXPECT_EQ(model.gallery_pixels(), 3 * 7);
  EXPECT_FALSE(model.threshold().has_value());

  const FittedModelFile all(folder.path("all"));
  const FittedModelFile few(folder.path("centers"));
  const NoiseImages query(1, true, 2);
  nn::Resnet network(*device, nn::resnet_config("resnet18", 0.125), weights);
  const PyramidFeatures own =
      extract_pyramid(network, options.transform.apply(query.load(0)), options.pyramid, false);
  std::vector<double> expected(kSize * kSize, 0.0);
  for (size_t l = 0; l < 3; ++l) {
    const Tensor pixels = stacked_pixels(all, static_cast<int64_t>(l) + 1, 5);
    const Tensor centers = few.load(text("centers/layer", l + 1), DType::kF32, 2);
    const kernels::KmeansResult found =
        kernels::kmeans(*device, kernels::KmeansPoints::of(pixels), {.k = 7, .seed = 3});
    ASSERT_EQ(centers.shape(), found.centers.shape());
    for (int64_t i = 0; i < centers.numel(); ++i)
      EXPECT_EQ(centers.data<float>()[i], found.centers.data<float>()[i]) << "layer " << l + 1;
    const PyramidLevel& level = model.levels()[l];
    std::vector<double> grid;
    for (int64_t p = 0; p < level.pixels(); ++p) {
      double nearest = INFINITY;
      for (int64_t j = 0; j < 7; ++j) {
        double distance = 0;
        for (int64_t c = 0; c < level.channels; ++c) {
          const double difference = double{own.levels[l].data<float>()[p * level.channels + c]} -
                                    double{centers.data<float>()[j * level.channels + c]};
          distance += difference * difference;
        }
        nearest = std::min(nearest, distance);
      }
      grid.push_back(std::sqrt(nearest));
    }
    add_interpolated(grid, level.height, level.width, kSize, kSize, expected);
  }
  gaussian_smooth(expected, kSize, kSize, options.sigma);
  const std::vector<ImageScore> scores = scores_of(model, query);
  const std::vector<float>& map = scores[0].map->values;
  std::vector<double> tolerance;
  for (const double value : expected) tolerance.push_back(std::abs(value) * 0x1p-23);
  EXPECT_TRUE(test::compare_elementwise({map.begin(), map.end()}, expected, tolerance));
  EXPECT_FALSE(scores[0].nearest.has_value());
}

TEST(Spade, WithClustersGivesTheSameBitsFromDiskAndForAnyThreads) {
  const auto weights = small_weights();
  const NoiseImages training(8, false, 1);
  const NoiseImages queries(3, true, 2);
  const TemporaryDirectory folder;
  SpadeOptions options = small_options();
  options.clusters = 6;
  options.held_out_images = 2;
  std::vector<uint8_t> bytes;
  std::vector<ImageScore> expected;
  for (const int threads : {1, 3}) {
    const auto device = make("cpu", threads);
    for (const int64_t budget : {int64_t{1} << 30, int64_t{5000}}) {
      const Spade model = Spade::fit(*device, weights, training, options, {.batch_size = threads + 1},
                                     {budget, folder.path()});
      EXPECT_TRUE(model.gallery_in_memory());
      EXPECT_EQ(model.calibration_scores().size(), 2U);
      EXPECT_EQ(model.threshold_text(*model.threshold()).substr(0, 12), "at most 33.3");
      model.save(folder.path("model"), weights, kManifest);
      if (bytes.empty()) {
        bytes = read_file(folder.path("model"));
        expected = scores_of(model, queries);
      }
      EXPECT_TRUE(bytes == read_file(folder.path("model"))) << threads << " threads, budget " << budget;
      const auto loaded = load_detector(*device, folder.path("model"), {budget});
      std::vector<ImageScore> actual;
      loaded->score_each(
          queries, {.batch_size = 2}, [&](const ImageScore& score) { actual.push_back(score); }, nullptr);
      ASSERT_EQ(actual.size(), expected.size());
      for (size_t i = 0; i < actual.size(); ++i) {
        EXPECT_EQ(actual[i].map->values, expected[i].map->values);
        EXPECT_EQ(actual[i].score, expected[i].score);
      }
      EXPECT_EQ(loaded->threshold()->value, model.threshold()->value);
    }
  }
}

TEST(Spade, ConcatenatesLayersOnTheFirstGrid) {
  const auto device = make();
  const auto weights = small_weights();
  SpadeOptions options = small_options();
  options.pyramid.concatenate = true;
  const Spade model = Spade::fit(*device, weights, NoiseImages(3, false, 1), options);
  ASSERT_EQ(model.levels().size(), 1U);
  EXPECT_EQ(model.levels()[0], (PyramidLevel{1, 8, 8, 8 + 16 + 32}));

  // Rows: layer 1 as it is, then layers 2 and 3 interpolated.
  nn::Resnet network(*device, nn::resnet_config("resnet18", 0.125), weights);
  const Tensor input = options.transform.apply(NoiseImages(1, false, 1).load(0));
  const PyramidFeatures features = extract_pyramid(network, input, options.pyramid, false);
  nn::ResnetRequest request;
  request.stages = {true, true, true, false};
  const nn::ResnetResult stages = network.forward(input, request);
  const float* row = features.levels[0].data<float>() + (3 * 8 + 5) * 56;
  EXPECT_EQ(row[7], stages.stages[0].data<float>()[7 * 64 + 3 * 8 + 5]);
  const auto* plane = stages.stages[1].data<float>() + 2 * 16;  // channel 2, 4 x 4
  // (3 + .5) / 2 - .5 = 1.25, (5 + .5) / 2 - .5 = 2.25.
  const double expected = 0.75 * (0.75 * plane[1 * 4 + 2] + 0.25 * plane[1 * 4 + 3]) +
                          0.25 * (0.75 * plane[2 * 4 + 2] + 0.25 * plane[2 * 4 + 3]);
  EXPECT_FLOAT_EQ(row[8 + 2], static_cast<float>(expected));
}

TEST(Spade, FindsTheSquareAndSaysWhichTrainingPixelIsNearest) {
  const auto device = make();
  const auto weights = small_weights();
  const NoiseImages training(24, false, 1);
  SpadeOptions options = small_options();
  options.image_rule = ImageRule::kMapMaximum;
  const Spade model = Spade::fit(*device, weights, training, options);
  ASSERT_TRUE(model.threshold().has_value());
  for (const ImageScore& score : scores_of(model, NoiseImages(3, true, 2))) {
    EXPECT_GT(score.score, model.threshold()->value);
    EXPECT_EQ(score.score, double{map_maximum(*score.map)});
    EXPECT_TRUE(score.nearest->row >= 6 && score.nearest->row < 18) << score.nearest->row;
    EXPECT_TRUE(score.nearest->column >= 14 && score.nearest->column < 28) << score.nearest->column;
    EXPECT_TRUE(score.nearest->training_image >= 0 && score.nearest->training_image < 24);
  }
  int64_t above = 0;
  for (const ImageScore& score : scores_of(model, NoiseImages(20, false, 5)))
    above += score.score > model.threshold()->value ? 1 : 0;
  EXPECT_LE(above, 4);
}

TEST(Spade, LeavesOneOutAsARefitWithoutItWould) {
  const auto device = make();
  const auto weights = small_weights();
  const NoiseImages training(5, false, 1);
  SpadeOptions options = small_options();
  options.image_rule = ImageRule::kMapMaximum;
  const Spade model = Spade::fit(*device, weights, training, options);
  nn::Resnet network(*device, nn::resnet_config("resnet18", 0.125), weights);
  std::vector<double> expected;
  for (int64_t i = 0; i < 5; ++i) {
    std::vector<int64_t> others;
    for (int64_t j = 0; j < 5; ++j) {
      if (j != i) others.push_back(j);
    }
    const std::vector<double> map = map_by_definition(network, options, training, others, training.load(i));
    expected.push_back(*std::max_element(map.begin(), map.end()));
  }
  std::sort(expected.begin(), expected.end());
  std::vector<double> tolerance;
  for (const double value : expected) tolerance.push_back(value * 0x1p-23);
  EXPECT_TRUE(test::compare_elementwise(model.calibration_maxima(), expected, tolerance));
  EXPECT_EQ(model.calibration_scores(), model.calibration_maxima());
}

TEST(Spade, HoldsOutImagesThatTheGalleryNeverHas) {
  const auto device = make();
  SpadeOptions options = small_options();
  options.held_out_images = 4;
  options.nearest_images = 3;
  const Spade model = Spade::fit(*device, small_weights(), NoiseImages(10, false, 1), options);
  EXPECT_EQ(model.training_count(), 10);
  EXPECT_EQ(model.gallery_pixels(), 6 * (64 + 16 + 4));
  EXPECT_EQ(model.calibration_scores().size(), 4U);
  EXPECT_EQ(model.threshold()->false_alarm_rate, 0.2);
  EXPECT_EQ(model.threshold_text(*model.threshold()).substr(0, 12), "at most 20 %");
  EXPECT_NE(model.pixel_threshold_text(*model.pixel_threshold()).find("held out of the fit"),
            std::string::npos);
}

TEST(Spade, ComparesAtTheSamePlaceWhenAsked) {
  const auto device = make();
  const auto weights = small_weights();
  const test::TemporaryDirectory folder;
  SpadeOptions options = small_options();
  const Spade everywhere = Spade::fit(*device, weights, NoiseImages(10, false, 1), options);
  options.same_place = true;
  const Spade model = Spade::fit(*device, weights, NoiseImages(10, false, 1), options);
  EXPECT_NE(model.description().find("of the same place"), std::string::npos) << model.description();
  model.save(folder.path("m"), weights, {});
  const auto file = std::make_shared<FittedModelFile>(folder.path("m"));
  const NoiseImages images(3, true, 2);
  const std::vector<ImageScore> scores = scores_of(model, images);
  for (const int64_t gallery_bytes : {int64_t{1}, int64_t{1} << 30}) {
    const std::vector<ImageScore> loaded = scores_of(Spade::load(*device, file, {gallery_bytes}), images);
    for (size_t i = 0; i < scores.size(); ++i) EXPECT_EQ(loaded[i].map->values, scores[i].map->values);
  }
  const std::vector<ImageScore> nearer = scores_of(everywhere, images);
  for (size_t i = 0; i < scores.size(); ++i) {
    EXPECT_NE(scores[i].map->values, nearer[i].map->values);
    for (size_t p = 0; p < nearer[i].map->values.size(); ++p)
      EXPECT_LE(nearer[i].map->values[p], scores[i].map->values[p]);
    // A place keeps what it is compared with near itself: a cell of the coarsest layer at most.
    EXPECT_LE(std::abs(scores[i].nearest->row - scores[i].nearest->training_row), kSize / 2);
  }
  // Leaving one out: an image of the training set is farther from the others than from itself.
  EXPECT_GT(model.calibration_maxima().front(), 0);
  options.nearest_images = 3;
  EXPECT_THROW(static_cast<void>(Spade::fit(*device, weights, NoiseImages(10, false, 1), options)),
               InvalidArgument);
}

TEST(Spade, NamesTheTrainingImageOfAPixelAlsoWhereSomeAreHeldOut) {
  const auto device = make();
  const auto weights = small_weights();
  const test::TemporaryDirectory folder;
  const NoiseImages training(10, false, 1);
  SpadeOptions options = small_options();
  options.held_out_images = 4;
  Spade::fit(*device, weights, training, options).save(folder.path("m"), weights, {});
  const Spade model = Spade::load(*device, std::make_shared<FittedModelFile>(folder.path("m")));
  std::set<int64_t> held_out;
  for (const ImageScore& score : scores_of(model, training)) {
    const std::string name = model.training_file(score.nearest->training_image);
    // An image of the gallery finds itself.
    if (name != text(score.index, ".png")) held_out.insert(score.index);
  }
  EXPECT_EQ(held_out.size(), 4U);
  EXPECT_NE(held_out, (std::set<int64_t>{6, 7, 8, 9}));  // else places would name them as well
}

TEST(Spade, FromDiskGivesTheSameBits) {
  const auto device = make();
  const auto weights = small_weights();
  const NoiseImages training(7, false, 1);
  const NoiseImages queries(3, true, 2);
  const TemporaryDirectory folder;
  for (const int64_t nearest : {0, 3}) {
    SpadeOptions options = small_options();
    options.nearest_images = nearest;
    const Spade in_memory = Spade::fit(*device, weights, training, options);
    in_memory.save(folder.path("a"), weights, kManifest);
    // 16 KB: a few images of the largest level at a time.
    const Spade on_disk = Spade::fit(*device, weights, training, options, {}, {16 << 10, folder.path()});
    EXPECT_TRUE(in_memory.gallery_in_memory());
    EXPECT_FALSE(on_disk.gallery_in_memory());
    on_disk.save(folder.path("b"), weights, kManifest);
    EXPECT_EQ(read_file(folder.path("a")), read_file(folder.path("b")));

    const std::vector<ImageScore> expected = scores_of(in_memory, queries);
    const auto file = std::make_shared<const FittedModelFile>(folder.path("a"));
    for (const int64_t budget : {int64_t{1} << 30, int64_t{5000}, int64_t{1}}) {
      const Spade loaded = Spade::load(*device, file, {budget});
      EXPECT_EQ(loaded.gallery_in_memory(), budget == int64_t{1} << 30);
      EXPECT_EQ(loaded.threshold()->value, in_memory.threshold()->value);
      const std::vector<ImageScore> actual = scores_of(loaded, queries, {.batch_size = 2});
      ASSERT_EQ(actual.size(), expected.size());
      for (size_t i = 0; i < expected.size(); ++i) {
        EXPECT_EQ(actual[i].map->values, expected[i].map->values);
        EXPECT_EQ(actual[i].score, expected[i].score);
      }
    }
  }
}

TEST(Spade, GivesTheSameBitsForAnyThreadsAndBatch) {
  const auto weights = small_weights();
  const NoiseImages training(5, false, 1);
  const NoiseImages queries(5, true, 2);
  std::vector<ImageScore> expected;
  for (const int threads : {1, 3}) {
    const auto device = make("cpu", threads);
    const Spade model = Spade::fit(*device, weights, training, small_options(), {threads == 1 ? 2 : 32});
    for (const int64_t batch : {1, 4}) {
      const std::vector<ImageScore> scores = scores_of(model, queries, {.batch_size = batch});
      if (expected.empty()) expected = scores;
      for (size_t i = 0; i < scores.size(); ++i) EXPECT_EQ(scores[i].map->values, expected[i].map->values);
    }
  }
}

TEST(Spade, RefusesWhatItCannotDo) {
  const auto device = make();
  const auto weights = small_weights();
  const auto fit_error = [&](int64_t images, const std::function<void(SpadeOptions&)>& change) {
    SpadeOptions options = small_options();
    change(options);
    return failure_of(
        [&] { static_cast<void>(Spade::fit(*device, weights, NoiseImages(images, false, 1), options)); });
  };
  EXPECT_EQ(fit_error(3, [](SpadeOptions& o) { o.nearest_images = 50; }),
            "spade: 3 training images are fewer than the 50 that the options ask for");
  EXPECT_EQ(fit_error(5, [](SpadeOptions& o) { o.held_out_images = 4; }),
            "spade: 5 training images, 4 of them held out, are fewer than the 2 that the options ask for");
  EXPECT_EQ(fit_error(5,
                      [](SpadeOptions& o) {
                        o.pyramid.layers = {2, 1};
                      }),
            "pyramid: layer 1 at place 2, expected rising numbers from 1 to 4");
  EXPECT_EQ(
      fit_error(5,
                [](SpadeOptions& o) {
                  o.clusters = 9;
                  o.nearest_images = 3;
                }),
      "spade: centers are of the pixels of all images, so clusters=9 excludes a gallery of the 3 nearest "
      "images");
  EXPECT_EQ(fit_error(5,
                      [](SpadeOptions& o) {
                        o.clusters = 2;
                        o.pixel.k = 3;
                      }),
            "spade: 2 centers are fewer than the k=3 of pixels");
  EXPECT_EQ(fit_error(5, [](SpadeOptions& o) { o.clusters = 21; }),
            "spade: 21 clusters of the 20 pixels of 5 images at layer 3, expected no more than pixels");
  EXPECT_EQ(fit_error(5,
                      [](SpadeOptions& o) {
                        o.clusters = 2;
                        o.false_alarm_rate = 0.5;
                      }),
            "spade: with clusters there is a threshold only from images that are held out");
  EXPECT_EQ(fit_error(5, [](SpadeOptions& o) { o.pixel.rule = ScoreRule::kCenter; }),
            "spade: pixels have no center, expected a kNN score");
  EXPECT_EQ(fit_error(5, [](SpadeOptions& o) { o.false_alarm_rate = 0.01; }).substr(0, 64),
            "threshold: 5 normal images cannot promise 1 % false alarms: the ");
}

TEST(Spade, RefusesAFileWithoutAnImage) {
  const auto device = make();
  const auto weights = small_weights();
  const TemporaryDirectory folder;
  const Spade model = Spade::fit(*device, weights, NoiseImages(4, false, 1), small_options());
  model.save(folder.path("model"), weights, kManifest);
  const FittedModelFile whole(folder.path("model"));
  weights::Metadata fields;
  const weights::SafetensorsFile raw(folder.path("model"));
  for (const auto& [key, value] : raw.metadata()) fields[key] = value;
  TensorBundle tensors("cut");
  std::vector<std::string> names;
  for (const TensorInfo& info : raw.list()) {
    if (info.name != "gallery/layer2/000003") names.push_back(info.name);
  }
  tensors.add_from("", raw, names);
  write_fitted_model(folder.path("cut"), "spade", fields, tensors, kPixelModelVersion);
  for (const int64_t budget : {int64_t{1} << 30, int64_t{1}}) {
    EXPECT_EQ(failure_of([&] { static_cast<void>(load_detector(*device, folder.path("cut"), {budget})); }),
              folder.path("cut") + ": the model has no tensor 'gallery/layer2/000003'");
  }
}

}  // namespace
}  // namespace panda::anomaly
