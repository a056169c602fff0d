#include "data/synthetic_surface.h"

#include <algorithm>
#include <cmath>

namespace panda::data::synthetic {

float sine(float turns) {
  float t = turns - std::floor(turns + 0.5f);  // -0.5 .. 0.5
  if (t > 0.25f) t = 0.5f - t;
  if (t < -0.25f) t = -0.5f - t;
  const float x = t * 6.28318531f;
  const float x2 = x * x;
  // Taylor: the first term left out is x^13 / 13!, below 6e-8 for |x| <= pi / 2.
  return x * (1 - x2 / 6 * (1 - x2 / 20 * (1 - x2 / 42 * (1 - x2 / 72 * (1 - x2 / 110)))));
}

float smooth_step(float low, float high, float value) {
  const float t = std::clamp((value - low) / (high - low), 0.0f, 1.0f);
  return t * t * (3 - 2 * t);
}

float uniform(Random& random, float low, float high) {
  // 24 bits: exact in a float.
  return low + (high - low) * (static_cast<float>(random.next_u32() >> 8) / 16777216.0f);
}

float normal_like(Random& random) {
  float sum = 0;
  for (int i = 0; i < 4; ++i) sum += uniform(random, -1, 1);
  return sum * 0.8660254f;  // the sum's variance is 4/3
}

float length(float x, float y) {
  return std::sqrt(x * x + y * y);
}

Colour mix(const Colour& a, const Colour& b, float part) {
  return {mix(a.red, b.red, part), mix(a.green, b.green, part), mix(a.blue, b.blue, part)};
}

Colour scaled(const Colour& colour, float factor) {
  return {colour.red * factor, colour.green * factor, colour.blue * factor};
}

NoiseField::NoiseField(Random& random, int columns, int rows)
    : columns_(columns), rows_(rows), values_(static_cast<size_t>((columns + 3) * (rows + 3))) {
  // The B-spline keeps about 0.23 of the lattice's variance on average over the cell (0.479 along each axis).
  for (float& value : values_) value = normal_like(random) * 2.08f;
}

float NoiseField::at(float x, float y) const {
  const float u = std::clamp(x, 0.0f, 1.0f) * static_cast<float>(columns_);
  const float v = std::clamp(y, 0.0f, 1.0f) * static_cast<float>(rows_);
  const int column = std::min(static_cast<int>(u), columns_ - 1);
  const int row = std::min(static_cast<int>(v), rows_ - 1);
  const auto weights = [](float t, float* w) {
    const float s = 1 - t;
    w[0] = s * s * s / 6;
    w[1] = (4 - 6 * t * t + 3 * t * t * t) / 6;
    w[2] = (4 - 6 * s * s + 3 * s * s * s) / 6;
    w[3] = t * t * t / 6;
  };
  float wx[4];
  float wy[4];
  weights(u - static_cast<float>(column), wx);
  weights(v - static_cast<float>(row), wy);
  float sum = 0;
  for (int i = 0; i < 4; ++i) {
    const float* const line = values_.data() + (row + i) * (columns_ + 3) + column;
    sum += wy[i] * (wx[0] * line[0] + wx[1] * line[1] + wx[2] * line[2] + wx[3] * line[3]);
  }
  return sum;
}

FractalNoise::FractalNoise(Random& random, int cells, int octaves) {
  float variance = 0;
  float strength = 1;
  for (int octave = 0; octave < octaves; ++octave) {
    fields_.emplace_back(random, cells << octave, cells << octave);
    variance += strength * strength;
    strength /= 2;
  }
  scale_ = 1 / std::sqrt(variance);
}

float FractalNoise::at(float x, float y) const {
  float sum = 0;
  float strength = scale_;
  for (const NoiseField& field : fields_) {
    sum += strength * field.at(x, y);
    strength /= 2;
  }
  return sum;
}

Lamp draw_lamp(Random& random, const Random& camera) {
  Lamp lamp;
  const float direction = -0.36f + 0.04f * normal_like(random);  // upper left, a little different each time
  const float tilt = 0.62f + 0.03f * normal_like(random);
  lamp.x = tilt * cosine(direction);
  lamp.y = tilt * sine(direction);
  lamp.z = std::sqrt(std::max(0.1f, 1 - tilt * tilt));
  lamp.ambient = 0.34f + 0.03f * normal_like(random);
  lamp.gradient_x = 0.08f * normal_like(random);
  lamp.gradient_y = 0.08f * normal_like(random);
  lamp.exposure = 1 + 0.045f * normal_like(random);
  const float warmth = 0.012f * normal_like(random);
  lamp.tint = {1 + warmth, 1, 1 - warmth};
  lamp.camera = camera;
  return lamp;
}

namespace {

// Red, green and blue of every pixel in linear light.
std::vector<float> lit(const Surface& surface, const Lamp& lamp) {
  const int64_t n = surface.size;
  const auto pixels = static_cast<float>(n);
  std::vector<float> linear(static_cast<size_t>(n * n * 3));
  // Half way between lamp and camera (0, 0, 1).
  const float half_z = std::sqrt((1 + lamp.z) / 2);
  const float half_x = lamp.x / (2 * half_z);
  const float half_y = lamp.y / (2 * half_z);
  for (int64_t row = 0; row < n; ++row) {
    const int64_t above = std::max<int64_t>(row - 1, 0);
    const int64_t below = std::min(row + 1, n - 1);
    for (int64_t column = 0; column < n; ++column) {
      const int64_t left = std::max<int64_t>(column - 1, 0);
      const int64_t right = std::min(column + 1, n - 1);
      const Texel& texel = surface.at(row, column);
      const float slope_x = (surface.at(row, right).height - surface.at(row, left).height) * pixels /
                            static_cast<float>(right - left);
      const float slope_y = (surface.at(below, column).height - surface.at(above, column).height) * pixels /
                            static_cast<float>(below - above);
      const float normal_z = 1 / std::sqrt(1 + slope_x * slope_x + slope_y * slope_y);
      const float toward_lamp = std::max(0.0f, (lamp.z - slope_x * lamp.x - slope_y * lamp.y) * normal_z);
      const float toward_half = std::max(0.0f, (half_z - slope_x * half_x - slope_y * half_y) * normal_z);
      float highlight = toward_half * toward_half;
      for (int squaring = 0; squaring < 4; ++squaring) highlight *= highlight;  // to the 32nd power
      const float x = surface.coordinate(column) - 0.5f;
      const float y = surface.coordinate(row) - 0.5f;
      const float place = 1 + lamp.gradient_x * x + lamp.gradient_y * y - 0.25f * (x * x + y * y);
      const float light =
          lamp.exposure * place * (lamp.ambient + (1 - lamp.ambient) * toward_lamp / lamp.z * texel.light);
      const float shine = lamp.exposure * place * texel.gloss * highlight * texel.light;
      float* const out = linear.data() + (row * n + column) * 3;
      out[0] = lamp.tint.red * (texel.albedo.red * texel.albedo.red * light + shine);
      out[1] = lamp.tint.green * (texel.albedo.green * texel.albedo.green * light + shine);
      out[2] = lamp.tint.blue * (texel.albedo.blue * texel.albedo.blue * light + shine);
    }
  }
  return linear;
}

// 0.17, 0.66, 0.17 along both axes: a lens in focus.
std::vector<float> through_lens(const std::vector<float>& sharp, int64_t n) {
  std::vector<float> across(sharp.size());
  std::vector<float> blurred(sharp.size());
  const auto index = [n](int64_t row, int64_t column, int64_t channel) {
    return static_cast<size_t>((row * n + column) * 3 + channel);
  };
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t column = 0; column < n; ++column) {
      for (int64_t channel = 0; channel < 3; ++channel) {
        across[index(row, column, channel)] =
            0.66f * sharp[index(row, column, channel)] +
            0.17f * (sharp[index(row, std::max<int64_t>(column - 1, 0), channel)] +
                     sharp[index(row, std::min(column + 1, n - 1), channel)]);
      }
    }
  }
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t column = 0; column < n; ++column) {
      for (int64_t channel = 0; channel < 3; ++channel) {
        blurred[index(row, column, channel)] =
            0.66f * across[index(row, column, channel)] +
            0.17f * (across[index(std::max<int64_t>(row - 1, 0), column, channel)] +
                     across[index(std::min(row + 1, n - 1), column, channel)]);
      }
    }
  }
  return blurred;
}

}  // namespace

Image photograph(const Surface& surface, const Lamp& lamp) {
  const std::vector<float> linear = through_lens(lit(surface, lamp), surface.size);
  Image image(surface.size, surface.size, 3);
  Random noise = lamp.camera;
  for (size_t i = 0; i < linear.size(); ++i) {
    const float grain = lamp.noise * (uniform(noise, -1.7320508f, 1.7320508f));
    const float level = std::sqrt(std::max(0.0f, linear[i])) + grain;  // the display's gamma, as 2
    image.pixels[i] = static_cast<uint8_t>(std::clamp(level * 255.0f + 0.5f, 0.0f, 255.0f));
  }
  return image;
}

}  // namespace panda::data::synthetic
