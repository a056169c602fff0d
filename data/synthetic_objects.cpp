// Objects on a table: a gasket, a nut, a capsule. Each is a signed distance (negative inside, in units of the
// picture's size) with a profile over it.

#include <algorithm>
#include <cmath>

#include "data/synthetic_designs.h"

namespace panda::data::synthetic {

namespace {

// Place, rotation and size of an object in its picture.
struct ObjectPose {
  Vec2 centre{0.5f, 0.5f};
  float cos_angle = 1;
  float sin_angle = 0;
  float scale = 1;
  [[nodiscard]] Vec2 local(Vec2 point) const {
    const float x = (point.x - centre.x) / scale;
    const float y = (point.y - centre.y) / scale;
    return {cos_angle * x + sin_angle * y, cos_angle * y - sin_angle * x};
  }
};

ObjectPose draw_pose(Random& random, float angle_turns) {
  ObjectPose pose;
  pose.centre.x += 0.012f * normal_like(random);
  pose.centre.y += 0.012f * normal_like(random);
  const float angle = uniform(random, -angle_turns, angle_turns);
  pose.cos_angle = cosine(angle);
  pose.sin_angle = sine(angle);
  pose.scale = 1 + 0.012f * normal_like(random);
  return pose;
}

// An object: subclasses give its outline, profile and colours; this class gives table, shadow and edge.
class ObjectDesign : public Design {
 public:
  std::vector<std::string> defect_kinds() const override {
    return {"bent", "contamination", "crack", "missing_part", "scratch"};
  }

  Surface draw(int64_t size, Random random, const Alteration& alteration) const override {
    Surface surface(size);
    const ObjectPose pose = draw_pose(random, pose_turns());
    const FractalNoise table_grain(random, 48, 3);
    const FractalNoise table_shade(random, 2, 2);
    const FractalNoise grain(random, 80, 2);
    const FractalNoise tone(random, 4, 3);
    const float edge = 1.0f / static_cast<float>(size);
    const auto distance_at = [&](Vec2 point) {
      const Vec2 source = alteration.warp.source_of(point);
      float distance = outline(pose.local(source)) * pose.scale;
      if (alteration.bite.radius > 0) {
        const float bite = length(source.x - alteration.bite.centre.x, source.y - alteration.bite.centre.y);
        // A broken edge is not smooth.
        const float ragged = 0.006f * grain.at(source.x, source.y);
        distance = std::max(distance, alteration.bite.radius + ragged - bite);
      }
      return distance;
    };
    for (int64_t row = 0; row < size; ++row) {
      for (int64_t column = 0; column < size; ++column) {
        const Vec2 here{surface.coordinate(column), surface.coordinate(row)};
        const float distance = distance_at(here);
        const float inside = smooth_step(edge, -edge, distance);
        Texel table;
        table.albedo = scaled(
            table_, 1 + 0.012f * table_grain.at(here.x, here.y) + 0.02f * table_shade.at(here.x, here.y));
        table.part = 0;
        // The shadow falls away from the lamp (upper left), soft at its border, darkest where the object
        // touches.
        const float shadow = smooth_step(0.02f, -0.02f, distance_at({here.x - 0.016f, here.y - 0.018f}));
        const float contact = smooth_step(0.018f, 0.0f, distance);
        table.albedo = scaled(table.albedo, (1 - 0.34f * shadow) * (1 - 0.22f * contact));
        Texel object;
        if (inside > 0) {
          const Vec2 source = alteration.warp.source_of(here);
          object = body(pose.local(source), std::max(0.0f, -distance) / pose.scale);
          object.height += 0.0003f * grain.at(source.x, source.y);
          object.albedo = scaled(
              object.albedo, 1 + 0.02f * grain.at(source.x, source.y) + 0.02f * tone.at(source.x, source.y));
        }
        Texel& texel = surface.at(row, column);
        texel.height = mix(table.height, object.height, inside);
        texel.albedo = mix(table.albedo, object.albedo, inside);
        texel.gloss = mix(table.gloss, object.gloss, inside);
        texel.part = inside;
      }
    }
    return surface;
  }

 protected:
  explicit ObjectDesign(Random& random) {
    static constexpr Colour kTables[] = {
        {0.80f, 0.80f, 0.79f}, {0.70f, 0.74f, 0.78f}, {0.78f, 0.75f, 0.70f}, {0.66f, 0.68f, 0.66f}};
    table_ = kTables[random.next_below(4)];
  }
  /// How far the object may be turned.
  [[nodiscard]] virtual float pose_turns() const = 0;
  [[nodiscard]] virtual float outline(Vec2 point) const = 0;
  /// The object's surface at a point `depth` inside its outline.
  [[nodiscard]] virtual Texel body(Vec2 point, float depth) const = 0;

 private:
  Colour table_;
};

// A flat ring with bolt holes.
class Gasket : public ObjectDesign {
 public:
  explicit Gasket(Random random) : ObjectDesign(random) {
    static constexpr Colour kRubbers[] = {
        {0.22f, 0.23f, 0.25f}, {0.20f, 0.33f, 0.30f}, {0.46f, 0.20f, 0.17f}, {0.20f, 0.26f, 0.42f}};
    rubber_ = kRubbers[random.next_below(4)];
    holes_ = 5 + static_cast<int>(random.next_below(4));
    for (int hole = 0; hole < holes_; ++hole) {
      const float turns = static_cast<float>(hole) / static_cast<float>(holes_);
      centres_.push_back({kHoleCircle * cosine(turns), kHoleCircle * sine(turns)});
    }
  }
  std::string name() const override { return "gasket"; }

 private:
  float pose_turns() const override { return 0.5f; }
  float outline(Vec2 point) const override {
    const float radius = length(point.x, point.y);
    float distance = std::max(radius - kOuter, kInner - radius);
    for (const Vec2& centre : centres_) {
      distance = std::max(distance, kHole - length(point.x - centre.x, point.y - centre.y));
    }
    return distance;
  }
  Texel body(Vec2 point, float depth) const override {
    Texel texel;
    const float radius = length(point.x, point.y);
    const float bevel = std::min(depth, 0.012f) / 0.012f;
    // Two raised beads run round, as on a real flange gasket.
    const float outer_bead = (radius - 0.345f) / 0.008f;
    const float inner_bead = (radius - 0.215f) / 0.008f;
    const float beads = 1 / (1 + outer_bead * outer_bead * outer_bead * outer_bead) +
                        1 / (1 + inner_bead * inner_bead * inner_bead * inner_bead);
    texel.height = 0.010f * (1 - (1 - bevel) * (1 - bevel)) + 0.0035f * beads;
    texel.albedo = scaled(rubber_, 1 + 0.06f * beads);
    texel.gloss = 0.06f;
    return texel;
  }

  static constexpr float kOuter = 0.38f;
  static constexpr float kInner = 0.18f;
  static constexpr float kHoleCircle = 0.28f;
  static constexpr float kHole = 0.032f;
  Colour rubber_;
  int holes_ = 6;
  std::vector<Vec2> centres_;
};

class Nut : public ObjectDesign {
 public:
  explicit Nut(Random random) : ObjectDesign(random) {
    static constexpr Colour kMetals[] = {
        {0.60f, 0.61f, 0.63f}, {0.66f, 0.56f, 0.36f}, {0.50f, 0.52f, 0.55f}, {0.62f, 0.58f, 0.52f}};
    metal_ = kMetals[random.next_below(4)];
  }
  std::string name() const override { return "nut"; }

 private:
  float pose_turns() const override { return 0.5f; }
  // Signed distance to a hexagon (its largest plane), rounded by the circle that turning left.
  static float hexagon(Vec2 point) {
    float distance = -1;
    for (int side = 0; side < 3; ++side) {
      const float turns = static_cast<float>(side) / 6.0f;
      distance = std::max(distance, std::fabs(point.x * cosine(turns) + point.y * sine(turns)) - kFlat);
    }
    return distance;
  }
  float outline(Vec2 point) const override {
    const float radius = length(point.x, point.y);
    return std::max({hexagon(point), radius - kCorner, kBore - kThread - radius});
  }
  Texel body(Vec2 point, float depth) const override {
    Texel texel;
    const float radius = length(point.x, point.y);
    if (radius < kBore) {  // the thread: rings that go down
      const float down = (kBore - radius) / kThread;
      texel.height = -0.03f * down + 0.0025f * cosine(down * 3.5f);
      texel.albedo = scaled(metal_, mix(0.75f, 0.35f, down));
      texel.gloss = 0.15f;
      return texel;
    }
    const float bevel = std::min(depth, 0.014f) / 0.014f;
    const float chamfer = smooth_step(0.285f, 0.34f, radius);
    const float collar = smooth_step(kBore + 0.02f, kBore, radius);
    // Rings left by turning.
    const float rings = 0.5f * cosine(radius * 61) + 0.5f * cosine(radius * 97 + 0.3f);
    texel.height =
        0.02f * (1 - (1 - bevel) * (1 - bevel)) - 0.014f * chamfer - 0.006f * collar + 0.00012f * rings;
    texel.albedo = scaled(metal_, 1 + 0.025f * rings);
    texel.gloss = 0.30f;
    return texel;
  }

  static constexpr float kFlat = 0.31f;
  static constexpr float kCorner = 0.35f;
  static constexpr float kBore = 0.175f;
  static constexpr float kThread = 0.03f;
  Colour metal_;
};

class Capsule : public ObjectDesign {
 public:
  explicit Capsule(Random random) : ObjectDesign(random) {
    static constexpr Colour kCaps[] = {
        {0.68f, 0.20f, 0.18f}, {0.22f, 0.42f, 0.62f}, {0.26f, 0.50f, 0.34f}, {0.78f, 0.52f, 0.18f}};
    cap_ = kCaps[random.next_below(4)];
  }
  std::string name() const override { return "capsule"; }

 private:
  float pose_turns() const override { return 0.06f; }
  float outline(Vec2 point) const override {
    const float along = std::max(std::fabs(point.x) - kHalf, 0.0f);
    // The cap is a little wider than the body it is pushed over.
    const float radius = point.x < kSeam ? kRadius : kRadius - 0.004f;
    return length(along, point.y) - radius;
  }
  Texel body(Vec2 point, float depth) const override {
    Texel texel;
    const float rest = std::max(0.0f, kRadius - depth);
    texel.height = std::sqrt(std::max(0.0f, kRadius * kRadius - rest * rest)) * 0.8f;
    const bool in_cap = point.x < kSeam;
    texel.albedo = in_cap ? cap_ : Colour{0.86f, 0.84f, 0.79f};
    const float seam = (point.x - kSeam) / 0.004f;
    texel.albedo = scaled(texel.albedo, 1 - 0.35f / (1 + seam * seam * seam * seam));
    const float ink = imprint(point);
    texel.albedo = mix(texel.albedo, Colour{0.20f, 0.20f, 0.22f}, 0.85f * ink);
    texel.gloss = 0.45f;
    return texel;
  }
  // Letters of strokes on the body: "P 50".
  static float imprint(Vec2 point) {
    const float x = (point.x - 0.05f) / 0.042f;
    const float y = (point.y + 0.01f) / 0.042f;
    const auto stroke = [&](float x0, float y0, float x1, float y1) {
      const float dx = x1 - x0;
      const float dy = y1 - y0;
      const float along = std::clamp(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy), 0.0f, 1.0f);
      return smooth_step(0.19f, 0.11f, length(x - x0 - along * dx, y - y0 - along * dy));
    };
    const auto ring = [&](float x0, float y0, float radius) {
      return smooth_step(0.19f, 0.11f, std::fabs(length(x - x0, y - y0) - radius));
    };
    return std::max({stroke(0, -0.8f, 0, 0.8f), stroke(0, -0.8f, 0.7f, -0.8f),
                     stroke(0.7f, -0.8f, 0.7f, 0.0f), stroke(0, 0, 0.7f, 0), stroke(1.6f, -0.8f, 2.3f, -0.8f),
                     stroke(1.6f, -0.8f, 1.6f, 0), stroke(1.6f, 0, 2.3f, 0), stroke(2.3f, 0, 2.3f, 0.8f),
                     stroke(1.6f, 0.8f, 2.3f, 0.8f), ring(3.5f, 0, 0.72f)});
  }

  static constexpr float kHalf = 0.21f;
  static constexpr float kRadius = 0.15f;
  static constexpr float kSeam = -0.02f;
  Colour cap_;
};

}  // namespace

std::unique_ptr<Design> make_object_design(uint64_t seed) {
  switch (seed % 3) {
    case 0:
      return std::make_unique<Gasket>(Random(seed, 10));
    case 1:
      return std::make_unique<Nut>(Random(seed, 10));
    default:
      return std::make_unique<Capsule>(Random(seed, 10));
  }
}

}  // namespace panda::data::synthetic
