// What synthetic pictures are drawn from: a height field with colours under a lamp. Used by
// data/synthetic*.cpp only.
//
// Lengths are in units of the picture's size (0..1), so that a picture looks the same at any size; angles are
// in turns.
#pragma once

#include <cstdint>
#include <vector>

#include "data/image.h"
#include "kernels/tensor/random.h"

namespace panda::data::synthetic {

/// sin and cos of 2 pi `turns`, from +, -, * alone: the same bits on every machine (error below 1e-6).
[[nodiscard]] float sine(float turns);
[[nodiscard]] inline float cosine(float turns) {
  return sine(turns + 0.25f);
}
/// 0 below `low`, 1 above `high`, smooth between.
[[nodiscard]] float smooth_step(float low, float high, float value);
[[nodiscard]] inline float mix(float a, float b, float part) {
  return a + (b - a) * part;
}
/// About standard normal: the sum of four uniform numbers, scaled; never beyond 3.5.
[[nodiscard]] float normal_like(Random& random);
[[nodiscard]] float uniform(Random& random, float low, float high);

struct Vec2 {
  float x = 0;
  float y = 0;
};
[[nodiscard]] float length(float x, float y);

struct Colour {
  float red = 0;
  float green = 0;
  float blue = 0;
};
[[nodiscard]] Colour mix(const Colour& a, const Colour& b, float part);
[[nodiscard]] Colour scaled(const Colour& colour, float factor);

/// Band-limited noise over the unit square: random values on a lattice, interpolated by the cubic B-spline.
/// About standard normal.
class NoiseField {
 public:
  /// `columns` x `rows` lattice cells on the unit square.
  NoiseField(Random& random, int columns, int rows);
  [[nodiscard]] float at(float x, float y) const;

 private:
  int columns_;
  int rows_;
  std::vector<float> values_;  // (rows + 3) x (columns + 3)
};

/// Several noise fields, each with twice the frequency and half the strength of the one before. About
/// standard normal.
class FractalNoise {
 public:
  FractalNoise(Random& random, int cells, int octaves);
  [[nodiscard]] float at(float x, float y) const;

 private:
  std::vector<NoiseField> fields_;
  float scale_ = 1;
};

struct Texel {
  float height = 0;  ///< towards the camera, in units of the picture's size
  Colour albedo;     ///< as a display shows it (gamma encoded), 0..1
  float gloss = 0;   ///< strength of the highlight
  float light = 1;   ///< how much light arrives: 0 in full shadow
  float part = 1;    ///< 1 on the thing that is inspected, 0 on what lies behind it
};

struct Surface {
  explicit Surface(int64_t pixels) : size(pixels), texels(static_cast<size_t>(pixels * pixels)) {}
  int64_t size;
  std::vector<Texel> texels;

  [[nodiscard]] Texel& at(int64_t row, int64_t column) {
    return texels[static_cast<size_t>(row * size + column)];
  }
  [[nodiscard]] const Texel& at(int64_t row, int64_t column) const {
    return texels[static_cast<size_t>(row * size + column)];
  }
  /// The centre of a pixel in units of the picture's size.
  [[nodiscard]] float coordinate(int64_t pixel) const {
    return (static_cast<float>(pixel) + 0.5f) / static_cast<float>(size);
  }
};

/// How one picture is lit and taken.
struct Lamp {
  float x = -0.4f;  ///< direction to the lamp, of length 1 with z
  float y = -0.5f;
  float z = 0.77f;
  float ambient = 0.35f;
  float gradient_x = 0;  ///< change of brightness across the picture
  float gradient_y = 0;
  float exposure = 1;
  Colour tint{1, 1, 1};
  Random camera{0};      ///< where the camera's noise comes from
  float noise = 0.008f;  ///< standard deviation of it, of the full scale
};

/// The variation of lamp and camera between pictures.
[[nodiscard]] Lamp draw_lamp(Random& random, const Random& camera);

/// The picture that the camera takes: diffuse light and a highlight by the slope of the height field, a
/// slight blur of the lens, noise, 8 bits.
[[nodiscard]] Image photograph(const Surface& surface, const Lamp& lamp);

}  // namespace panda::data::synthetic
