// Textures: a weave, brushed metal, leather.

#include <algorithm>
#include <cmath>

#include "data/synthetic_designs.h"

namespace panda::data::synthetic {

Vec2 Warp::source_of(Vec2 point) const {
  if (radius <= 0) return point;
  const float dx = (point.x - centre.x) / radius;
  const float dy = (point.y - centre.y) / radius;
  const float inside = 1 - (dx * dx + dy * dy);
  if (inside <= 0) return point;
  const float part = inside * inside;
  return {point.x - part * shift.x, point.y - part * shift.y};
}

namespace {

// Turns the picture's coordinates into those of the sheet: rotation about the centre, then a shift.
struct Pose {
  float cos_angle = 1;
  float sin_angle = 0;
  float shift_x = 0;
  float shift_y = 0;
  [[nodiscard]] Vec2 sheet(Vec2 point) const {
    const float x = point.x - 0.5f;
    const float y = point.y - 0.5f;
    return {cos_angle * x - sin_angle * y + shift_x, sin_angle * x + cos_angle * y + shift_y};
  }
};

Pose draw_pose(Random& random, float angle_turns, float shift) {
  Pose pose;
  const float angle = angle_turns * normal_like(random);
  pose.cos_angle = cosine(angle);
  pose.sin_angle = sine(angle);
  pose.shift_x = uniform(random, 0, shift);
  pose.shift_y = uniform(random, 0, shift);
  return pose;
}

// Two sets of threads, over and under each other.
class Weave : public Design {
 public:
  explicit Weave(uint64_t seed) {
    Random random(seed, 10);
    twill_ = random.next_below(2) == 1;
    static constexpr Colour kWarps[] = {
        {0.30f, 0.38f, 0.52f}, {0.62f, 0.55f, 0.44f}, {0.42f, 0.48f, 0.40f}, {0.52f, 0.34f, 0.33f}};
    static constexpr Colour kWefts[] = {
        {0.70f, 0.72f, 0.74f}, {0.78f, 0.73f, 0.63f}, {0.66f, 0.67f, 0.58f}, {0.72f, 0.62f, 0.58f}};
    const auto palette = static_cast<size_t>(random.next_below(4));
    warp_ = kWarps[palette];
    weft_ = kWefts[palette];
    threads_ = uniform(random, 27, 33);
  }
  std::string name() const override { return twill_ ? "twill weave" : "plain weave"; }
  std::vector<std::string> defect_kinds() const override {
    return {"bent", "contamination", "hole", "scratch", "stain"};
  }

  Surface draw(int64_t size, Random random, const Alteration& alteration) const override {
    Surface surface(size);
    const Pose pose = draw_pose(random, 0.005f, 1);
    const float pitch = threads_ * (1 + 0.01f * normal_like(random));
    const FractalNoise wander_x(random, 3, 2);
    const FractalNoise wander_y(random, 3, 2);
    const FractalNoise fibres(random, 64, 2);
    const FractalNoise shade(random, 3, 3);
    constexpr int kThreads = 256;  // more than a picture shows, with its shift and rotation
    std::vector<float> warp_tone(kThreads);
    std::vector<float> weft_tone(kThreads);
    for (float& tone : warp_tone) tone = 1 + 0.045f * normal_like(random);
    for (float& tone : weft_tone) tone = 1 + 0.045f * normal_like(random);
    for (int64_t row = 0; row < size; ++row) {
      for (int64_t column = 0; column < size; ++column) {
        const Vec2 here{surface.coordinate(column), surface.coordinate(row)};
        const Vec2 source = alteration.warp.source_of(here);
        const Vec2 sheet = pose.sheet(source);
        const float u = (sheet.x + 2) * pitch + 0.16f * wander_x.at(source.x, source.y);
        const float v = (sheet.y + 2) * pitch + 0.16f * wander_y.at(source.x, source.y);
        const Crossing crossing = cross(u, v);
        const float tone = crossing.warp_on_top ? warp_tone[static_cast<size_t>(crossing.thread) % kThreads]
                                                : weft_tone[static_cast<size_t>(crossing.thread) % kThreads];
        Texel& texel = surface.at(row, column);
        texel.height = crossing.height * 0.42f / pitch + 0.0004f * fibres.at(source.x, source.y);
        const float light =
            tone * (1 + 0.03f * fibres.at(source.x, source.y) + 0.025f * shade.at(source.x, source.y));
        // Deep between the threads less light arrives.
        const float depth = smooth_step(-0.7f, 0.6f, crossing.height);
        texel.albedo = scaled(crossing.warp_on_top ? warp_ : weft_, light * mix(0.45f, 1.0f, depth));
        texel.gloss = 0.03f;
      }
    }
    return surface;
  }

 private:
  struct Crossing {
    float height = 0;  // in threads
    bool warp_on_top = false;
    int thread = 0;
  };

  // +1 where the warp thread passes over the weft thread, else -1.
  [[nodiscard]] float over(int warp, int weft) const {
    if (twill_) return ((warp + weft) & 3) < 2 ? 1.0f : -1.0f;
    return ((warp + weft) & 1) == 0 ? 1.0f : -1.0f;
  }

  [[nodiscard]] Crossing cross(float u, float v) const {
    const int i = static_cast<int>(u);  // u, v > 0
    const int j = static_cast<int>(v);
    const float across_warp = (u - static_cast<float>(i) - 0.5f) / 0.48f;
    const float across_weft = (v - static_cast<float>(j) - 0.5f) / 0.48f;
    // Heights of the two threads' centre lines, gliding from one crossing to the next.
    const int v_before = static_cast<int>(v - 0.5f);
    const int u_before = static_cast<int>(u - 0.5f);
    const float along_warp = smooth_step(0.15f, 0.85f, v - 0.5f - static_cast<float>(v_before));
    const float along_weft = smooth_step(0.15f, 0.85f, u - 0.5f - static_cast<float>(u_before));
    const float warp_centre = mix(over(i, v_before), over(i, v_before + 1), along_warp);
    const float weft_centre = -mix(over(u_before, j), over(u_before + 1, j), along_weft);
    const auto round = [](float across) { return std::sqrt(std::max(0.0f, 1 - across * across)); };
    constexpr float kLift = 0.35f;
    const float gap = -1.2f;
    const float warp_height =
        across_warp * across_warp < 1 ? kLift * warp_centre + 0.55f * round(across_warp) : gap;
    const float weft_height =
        across_weft * across_weft < 1 ? kLift * weft_centre + 0.55f * round(across_weft) : gap;
    const bool warp_on_top = warp_height > weft_height;
    return {std::max({warp_height, weft_height, -0.7f}), warp_on_top, warp_on_top ? i : j};
  }

  bool twill_ = false;
  Colour warp_;
  Colour weft_;
  float threads_ = 30;
};

class BrushedMetal : public Design {
 public:
  explicit BrushedMetal(uint64_t seed) {
    Random random(seed, 10);
    static constexpr Colour kMetals[] = {
        {0.66f, 0.67f, 0.69f}, {0.74f, 0.66f, 0.52f}, {0.72f, 0.55f, 0.46f}, {0.56f, 0.58f, 0.62f}};
    metal_ = kMetals[random.next_below(4)];
  }
  std::string name() const override { return "brushed metal"; }
  std::vector<std::string> defect_kinds() const override {
    return {"contamination", "dent", "hole", "scratch", "stain"};
  }

  Surface draw(int64_t size, Random random, const Alteration& alteration) const override {
    Surface surface(size);
    const Pose pose = draw_pose(random, 0.003f, 0);
    // Grooves are long and thin: few cells along the brush, many across it.
    const NoiseField fine(random, 5, 230);
    const NoiseField medium(random, 3, 110);
    const NoiseField coarse(random, 2, 30);
    const FractalNoise stray(random, 5, 2);
    const FractalNoise mottle(random, 4, 3);
    const float band = uniform(random, 0.3f, 0.7f);
    for (int64_t row = 0; row < size; ++row) {
      for (int64_t column = 0; column < size; ++column) {
        const Vec2 source = alteration.warp.source_of({surface.coordinate(column), surface.coordinate(row)});
        const Vec2 sheet = pose.sheet(source);
        const float x = sheet.x + 0.5f;
        const float y = sheet.y + 0.5f;
        const float groove = 0.55f * fine.at(x, y) + 0.4f * medium.at(x, y) + 0.25f * coarse.at(x, y);
        Texel& texel = surface.at(row, column);
        texel.height = 0.00022f * groove;
        // A broad highlight across the brush, as a lamp above a sheet gives it.
        const float distance = (x - band) + 0.02f * stray.at(x, y);
        const float sheen = 1 / (1 + 9 * distance * distance);
        const float light = 0.80f + 0.28f * sheen + 0.045f * groove + 0.012f * mottle.at(x, y);
        texel.albedo = scaled(metal_, light);
        texel.gloss = 0.10f;
      }
    }
    return surface;
  }

 private:
  Colour metal_;
};

// Grains of different size with creases between them: the cells of scattered points.
class Leather : public Design {
 public:
  explicit Leather(uint64_t seed) {
    Random random(seed, 10);
    static constexpr Colour kHides[] = {
        {0.45f, 0.27f, 0.18f}, {0.30f, 0.22f, 0.19f}, {0.55f, 0.40f, 0.27f}, {0.24f, 0.27f, 0.32f}};
    hide_ = kHides[random.next_below(4)];
    cells_ = 24 + static_cast<int>(random.next_below(8));
  }
  std::string name() const override { return "leather"; }
  std::vector<std::string> defect_kinds() const override {
    return {"contamination", "crack", "hole", "scratch", "stain"};
  }

  Surface draw(int64_t size, Random random, const Alteration& alteration) const override {
    Surface surface(size);
    const Pose pose = draw_pose(random, 0.03f, 0);
    const Scatter points = scatter(random);
    const FractalNoise wander_x(random, 6, 2);
    const FractalNoise wander_y(random, 6, 2);
    const FractalNoise pores(random, 70, 2);
    const FractalNoise relief(random, 3, 3);
    const FractalNoise dye(random, 4, 3);
    for (int64_t row = 0; row < size; ++row) {
      for (int64_t column = 0; column < size; ++column) {
        const Vec2 source = alteration.warp.source_of({surface.coordinate(column), surface.coordinate(row)});
        const Vec2 sheet = pose.sheet(source);
        const auto cells = static_cast<float>(cells_);
        const float crease =
            points.crease((sheet.x + 1.2f) * cells + 0.35f * wander_x.at(source.x, source.y),
                          (sheet.y + 1.2f) * cells + 0.35f * wander_y.at(source.x, source.y));
        const float pore = pores.at(source.x, source.y);
        const float grain = smooth_step(0.0f, 0.42f, crease);
        Texel& texel = surface.at(row, column);
        texel.height = 0.006f * grain + 0.0006f * pore + 0.004f * relief.at(source.x, source.y);
        texel.albedo =
            scaled(hide_, (0.70f + 0.30f * grain) * (1 + 0.035f * dye.at(source.x, source.y) + 0.02f * pore));
        texel.gloss = 0.08f;
      }
    }
    return surface;
  }

 private:
  // One point at a random place in each cell of a grid.
  struct Scatter {
    int columns = 0;
    std::vector<Vec2> points;
    // Distance to the second nearest point less that to the nearest: 0 on a crease, about 1 at a grain's
    // heart.
    [[nodiscard]] float crease(float x, float y) const {
      const int column = static_cast<int>(x);
      const int row = static_cast<int>(y);
      float nearest = 1e9f;
      float second = 1e9f;
      for (int i = row - 1; i <= row + 1; ++i) {
        for (int j = column - 1; j <= column + 1; ++j) {
          const int cell = std::clamp(i, 0, columns - 1) * columns + std::clamp(j, 0, columns - 1);
          const Vec2& point = points[static_cast<size_t>(cell)];
          const float dx = static_cast<float>(j) + point.x - x;
          const float dy = static_cast<float>(i) + point.y - y;
          const float squared = dx * dx + dy * dy;
          if (squared < nearest) {
            second = nearest;
            nearest = squared;
          } else if (squared < second) {
            second = squared;
          }
        }
      }
      return std::sqrt(second) - std::sqrt(nearest);
    }
  };

  [[nodiscard]] Scatter scatter(Random& random) const {
    Scatter result;
    result.columns = cells_ * 5 / 2;  // the sheet reaches from -1.2 to 1.2, as far as any rotation needs
    result.points.resize(static_cast<size_t>(result.columns * result.columns));
    for (Vec2& point : result.points) {
      point.x = uniform(random, 0.05f, 0.95f);
      point.y = uniform(random, 0.05f, 0.95f);
    }
    return result;
  }

  Colour hide_;
  int cells_ = 28;
};

}  // namespace

std::unique_ptr<Design> make_texture_design(uint64_t seed) {
  switch (seed % 3) {
    case 0:
      return std::make_unique<Weave>(seed);
    case 1:
      return std::make_unique<BrushedMetal>(seed);
    default:
      return std::make_unique<Leather>(seed);
  }
}

std::unique_ptr<Design> make_design(SyntheticKind kind, uint64_t seed) {
  return kind == SyntheticKind::kTexture ? make_texture_design(seed) : make_object_design(seed);
}

}  // namespace panda::data::synthetic
