#include "tools/map_pictures.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "data/image_decode.h"
#include "data/image_write.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/file.h"
#include "tools/output.h"
#include "weights/npy.h"

namespace panda::tools {

namespace {

using Colour = std::array<uint8_t, 3>;

constexpr Colour kWhite = {255, 255, 255};
constexpr Colour kBlack = {0, 0, 0};
constexpr Colour kBox = {64, 224, 255};
/// Of the heat colour at the top of the scale; the picture always shows a little.
constexpr double kLargestOpacity = 0.75;

/// 0..1, 0 for what is below 0.
double share_of_scale(float score, const MapScale& scale) {
  return std::clamp(double{score} / scale.top, 0.0, 1.0);
}

void put(data::Image& image, int64_t y, int64_t x, const Colour& colour) {
  if (y < 0 || x < 0 || y >= image.height || x >= image.width) return;
  std::copy(colour.begin(), colour.end(), image.row(y) + 3 * x);
}

void check_sizes(const data::Image& picture, int64_t height, int64_t width) {
  PANDA_CHECK(picture.channels == 3 && picture.height == height && picture.width == width,
              "map picture: a picture of ", picture.width, " x ", picture.height, " with ", picture.channels,
              " channels for a map of ", width, " x ", height, ", expected RGB of that size");
}

/// Draws the border of the mask's parts: white on the part's own outermost pixels, black just outside.
void draw_outline(data::Image& image, const std::vector<uint8_t>& mask) {
  const auto inside = [&](int64_t y, int64_t x) {
    return y >= 0 && x >= 0 && y < image.height && x < image.width &&
           mask[static_cast<size_t>(y * image.width + x)] != 0;
  };
  for (int64_t y = 0; y < image.height; ++y) {
    for (int64_t x = 0; x < image.width; ++x) {
      const int around = inside(y - 1, x) + inside(y + 1, x) + inside(y, x - 1) + inside(y, x + 1);
      if (inside(y, x)) {
        if (around < 4) put(image, y, x, kWhite);
      } else if (around > 0) {
        put(image, y, x, kBlack);
      }
    }
  }
}

void draw_box(data::Image& image, const anomaly::Box& box) {
  constexpr int64_t kRoom = 3;  // pixels between the part and its box
  const int64_t top = std::max<int64_t>(0, box.top - kRoom);
  const int64_t left = std::max<int64_t>(0, box.left - kRoom);
  const int64_t bottom = std::min(image.height, box.bottom + kRoom) - 1;
  const int64_t right = std::min(image.width, box.right + kRoom) - 1;
  for (int64_t x = left; x <= right; ++x) {
    put(image, top, x, kBox);
    put(image, bottom, x, kBox);
  }
  for (int64_t y = top; y <= bottom; ++y) {
    put(image, y, left, kBox);
    put(image, y, right, kBox);
  }
}

/// The last part of a path without its extension, fit to be a file's name.
std::string stem_of(const std::string& file) {
  std::string name = file.substr(file.find_last_of('/') + 1);
  const size_t dot = name.find_last_of('.');
  if (dot != std::string::npos && dot > 0) name.resize(dot);
  return name.empty() ? "image" : name;
}

}  // namespace

std::optional<MapScale> fitted_map_scale(const anomaly::Detector& model) {
  if (!model.makes_maps() || !(model.map_scale() > 0)) return std::nullopt;
  MapScale scale{.top = model.map_scale(), .threshold = std::nullopt};
  if (const auto pixels = model.pixel_threshold()) scale.threshold = pixels->value;
  return scale;
}

Colour heat_colour(double t) {
  constexpr std::array<std::array<double, 3>, 7> kAnchors = {{{12, 8, 38},
                                                              {58, 16, 104},
                                                              {128, 30, 112},
                                                              {196, 50, 84},
                                                              {238, 104, 42},
                                                              {250, 176, 52},
                                                              {254, 250, 200}}};
  const double place = std::clamp(t, 0.0, 1.0) * (kAnchors.size() - 1);
  const auto low = std::min<size_t>(static_cast<size_t>(place), kAnchors.size() - 2);
  const double weight = place - static_cast<double>(low);
  Colour colour{};
  for (size_t c = 0; c < 3; ++c) {
    colour[c] =
        static_cast<uint8_t>(std::lround((1 - weight) * kAnchors[low][c] + weight * kAnchors[low + 1][c]));
  }
  return colour;
}

data::Image heat_picture(const anomaly::ScoreMap& map, const MapScale& scale) {
  data::Image image(map.height, map.width, 3);
  for (size_t i = 0; i < map.values.size(); ++i) {
    const Colour colour = heat_colour(share_of_scale(map.values[i], scale));
    std::copy(colour.begin(), colour.end(), image.pixels.begin() + static_cast<std::ptrdiff_t>(3 * i));
  }
  return image;
}

data::Image overlay_picture(const data::Image& picture, const anomaly::ScoreMap& map, const MapScale& scale) {
  check_sizes(picture, map.height, map.width);
  data::Image image = picture;
  for (size_t i = 0; i < map.values.size(); ++i) {
    const double t = share_of_scale(map.values[i], scale);
    const Colour colour = heat_colour(t);
    const double opacity = kLargestOpacity * t * t;  // what is normal stays a picture
    for (size_t c = 0; c < 3; ++c) {
      uint8_t& sample = image.pixels[3 * i + c];
      sample = static_cast<uint8_t>(std::lround((1 - opacity) * sample + opacity * colour[c]));
    }
  }
  if (!scale.threshold) return image;
  const std::vector<uint8_t> above = anomaly::above_threshold(map, *scale.threshold);
  draw_outline(image, above);
  for (const anomaly::Box& box : defect_boxes(map, *scale.threshold)) draw_box(image, box);
  return image;
}

data::Image outlined_picture(const data::Image& picture, const std::vector<uint8_t>& mask) {
  PANDA_CHECK(static_cast<int64_t>(mask.size()) == picture.height * picture.width, "map picture: a mask of ",
              mask.size(), " pixels for ", picture.width, " x ", picture.height);
  check_sizes(picture, picture.height, picture.width);
  data::Image image = picture;
  draw_outline(image, mask);
  return image;
}

std::vector<uint16_t> raw_samples(const anomaly::ScoreMap& map, const MapScale& scale) {
  std::vector<uint16_t> samples(map.values.size());
  for (size_t i = 0; i < samples.size(); ++i) {
    samples[i] = static_cast<uint16_t>(std::lround(65535 * share_of_scale(map.values[i], scale)));
  }
  return samples;
}

std::vector<anomaly::Box> defect_boxes(const anomaly::ScoreMap& map, double threshold) {
  return anomaly::connected_components(anomaly::above_threshold(map, threshold), map.height, map.width).boxes;
}

MapWriter::MapWriter(std::string directory, const MapScale& scale)
    : directory_(std::move(directory)), scale_(scale) {
  PANDA_CHECK(scale.top > 0 && std::isfinite(scale.top), "maps: a scale up to ", scale.top,
              ", expected one above 0");
  make_directories(directory_);
  const Json description = {
      {"top", scale.top},
      {"pixel_threshold", scale.threshold ? Json(*scale.threshold) : Json(nullptr)},
      {"raw_png", "score = sample / 65535 * top; scores above top are cut"},
      {"colours", "dark violet 0, red, orange, pale yellow top; the same for every image"}};
  AtomicFile file(join_path(directory_, "scale.json"));
  file.write(json_text(description));
  file.commit();
}

std::string MapWriter::write(const std::string& file, const std::string& folder, const data::Image& picture,
                             const anomaly::ScoreMap& map) {
  const std::string stem = stem_of(file);
  const std::string prefix = folder.empty() ? "" : stem_of(folder) + "/";
  std::string name = prefix + stem;
  for (int number = 2; std::binary_search(names_.begin(), names_.end(), name); ++number)
    name = text(prefix, stem, "-", number);
  names_.insert(std::lower_bound(names_.begin(), names_.end(), name), name);
  if (!prefix.empty()) make_directories(join_path(directory_, prefix));

  const std::string base = join_path(directory_, name);
  const Tensor scores = Tensor::from<float>({map.height, map.width}, map.values.data());
  weights::write_npy(base + ".npy", scores);
  data::write_bytes(base + "_raw.png", data::encode_png16(raw_samples(map, scale_), map.height, map.width));
  data::write_png(base + "_heat.png", heat_picture(map, scale_));
  data::write_png(base + "_overlay.png", overlay_picture(data::to_rgb(picture), map, scale_));
  return base + ".npy";
}

}  // namespace panda::tools
