#include "data/synthetic_defects.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "kernels/tensor/error.h"

namespace panda::data::synthetic {

namespace {

struct PathPoint {
  Vec2 place;
  float taper = 1;  // 1 in the middle, 0 at the ends
};

// A wandering line: `wander` is the change of heading per step, in turns; `jag` of the steps turn sharply.
std::vector<PathPoint> draw_path(Random& random, Vec2 middle, float path_length, float wander, float jag) {
  constexpr float kStep = 0.004f;
  const int steps = std::max(4, static_cast<int>(path_length / kStep));
  std::vector<PathPoint> path(static_cast<size_t>(steps));
  float heading = uniform(random, 0, 1);
  float turning = 0;
  Vec2 place{0, 0};
  for (int i = 0; i < steps; ++i) {
    turning = 0.85f * turning + wander * normal_like(random);
    heading += turning;
    if (uniform(random, 0, 1) < jag) heading += 0.07f * normal_like(random);
    place = {place.x + kStep * cosine(heading), place.y + kStep * sine(heading)};
    const float t = (static_cast<float>(i) + 0.5f) / static_cast<float>(steps);
    path[static_cast<size_t>(i)] = {place, smooth_step(0, 0.18f, t) * smooth_step(1, 0.82f, t)};
  }
  const Vec2 centre = path[path.size() / 2].place;
  for (PathPoint& point : path)
    point.place = {point.place.x + middle.x - centre.x, point.place.y + middle.y - centre.y};
  return path;
}

struct Box {
  int64_t top, bottom, left, right;  // bottom and right are past the end
};

Box box_around(const Surface& surface, float left, float top, float right, float bottom) {
  const auto pixels = static_cast<float>(surface.size);
  const auto clamped = [&](float value) {
    return std::clamp<int64_t>(static_cast<int64_t>(std::floor(value * pixels)), 0, surface.size);
  };
  return {clamped(top), clamped(bottom) + (clamped(bottom) < surface.size ? 1 : 0), clamped(left),
          clamped(right) + (clamped(right) < surface.size ? 1 : 0)};
}

// Calls paint(texel, place, cover) where the line covers: 1 on its middle, 0 at `width` from it.
void stroke(Surface& surface, const std::vector<PathPoint>& path, float width,
            const std::function<void(Texel&, float cover)>& paint) {
  Vec2 low = path[0].place;
  Vec2 high = low;
  for (const PathPoint& point : path) {
    low = {std::min(low.x, point.place.x), std::min(low.y, point.place.y)};
    high = {std::max(high.x, point.place.x), std::max(high.y, point.place.y)};
  }
  const Box box = box_around(surface, low.x - width, low.y - width, high.x + width, high.y + width);
  for (int64_t row = box.top; row < box.bottom; ++row) {
    for (int64_t column = box.left; column < box.right; ++column) {
      const Vec2 here{surface.coordinate(column), surface.coordinate(row)};
      float cover = 0;
      for (const PathPoint& point : path) {
        const float dx = here.x - point.place.x;
        const float dy = here.y - point.place.y;
        const float reach = width * (0.35f + 0.65f * point.taper);
        const float squared = dx * dx + dy * dy;
        if (squared < reach * reach) cover = std::max(cover, 1 - squared / (reach * reach));
      }
      if (cover > 0) paint(surface.at(row, column), cover);
    }
  }
}

// Calls paint(texel, inside) within a blob: `inside` rises from 0 at its ragged border to 1 in the middle.
void blob(Surface& surface, Random& random, Vec2 centre, float radius, float raggedness,
          const std::function<void(Texel&, float inside)>& paint) {
  const FractalNoise outline(random, std::max(2, static_cast<int>(0.8f / radius)), 3);
  const float stretch = uniform(random, 0.75f, 1.0f);
  const float turn = uniform(random, 0, 1);
  const float reach = radius * 2.0f / stretch;
  const Box box = box_around(surface, centre.x - reach, centre.y - reach, centre.x + reach, centre.y + reach);
  for (int64_t row = box.top; row < box.bottom; ++row) {
    for (int64_t column = box.left; column < box.right; ++column) {
      const Vec2 here{surface.coordinate(column), surface.coordinate(row)};
      const float dx = here.x - centre.x;
      const float dy = here.y - centre.y;
      const float along = (cosine(turn) * dx + sine(turn) * dy) * stretch;
      const float across = (cosine(turn) * dy - sine(turn) * dx) / stretch;
      const float inside = 1 - length(along, across) / radius + raggedness * outline.at(here.x, here.y);
      if (inside > 0) paint(surface.at(row, column), std::min(inside, 1.0f));
    }
  }
}

// On an object nothing may spill over its edge.
void paint_part(Texel& texel, const Colour& colour, float alpha) {
  texel.albedo = mix(texel.albedo, colour, alpha * texel.part);
}

float mean_luminance(const Surface& surface) {
  float sum = 0;
  float parts = 0;
  for (const Texel& texel : surface.texels) {
    sum += texel.part * (0.3f * texel.albedo.red + 0.6f * texel.albedo.green + 0.1f * texel.albedo.blue);
    parts += texel.part;
  }
  return sum / std::max(parts, 1.0f);
}

void lay_scratch(Surface& surface, Random& random, bool crack) {
  const Vec2 middle = place_on(surface, random, 0.15f);
  const float path_length = uniform(random, 0.14f, crack ? 0.30f : 0.45f);
  const float width = crack ? uniform(random, 0.005f, 0.008f) : uniform(random, 0.006f, 0.011f);
  const bool lighter = !crack && uniform(random, 0, 1) < 0.7f;
  const auto path = draw_path(random, middle, path_length, crack ? 0.004f : 0.0012f, crack ? 0.25f : 0);
  stroke(surface, path, width, [&](Texel& texel, float cover) {
    const Colour colour = lighter ? mix(texel.albedo, Colour{0.93f, 0.92f, 0.90f}, 0.55f)
                                  : scaled(texel.albedo, crack ? 0.18f : 0.45f);
    paint_part(texel, colour, smooth_step(0.05f, 0.5f, cover));
    texel.height -= (crack ? 0.012f : 0.005f) * cover * texel.part;
  });
}

void lay_stain(Surface& surface, Random& random) {
  static constexpr Colour kTints[] = {
      {0.55f, 0.42f, 0.28f}, {0.35f, 0.38f, 0.45f}, {0.45f, 0.55f, 0.38f}, {0.72f, 0.50f, 0.42f}};
  const Colour tint = kTints[random.next_below(4)];
  const Vec2 centre = place_on(surface, random, 0.14f);
  const float strength = uniform(random, 0.55f, 0.85f);
  blob(surface, random, centre, uniform(random, 0.05f, 0.11f), 0.14f, [&](Texel& texel, float inside) {
    // The liquid dries from the rim, and leaves most there.
    const float rim = smooth_step(0.0f, 0.08f, inside) * smooth_step(0.30f, 0.10f, inside);
    const float alpha = smooth_step(0.0f, 0.10f, inside) * strength * (0.75f + 0.25f * rim);
    const Colour wet{texel.albedo.red * tint.red * 1.25f, texel.albedo.green * tint.green * 1.25f,
                     texel.albedo.blue * tint.blue * 1.25f};
    paint_part(texel, wet, alpha);
    texel.gloss *= 1 - 0.5f * alpha;
  });
}

void lay_hole(Surface& surface, Random& random) {
  const Vec2 centre = place_on(surface, random, 0.12f);
  blob(surface, random, centre, uniform(random, 0.022f, 0.045f), 0.12f, [&](Texel& texel, float inside) {
    const float deep = smooth_step(0.0f, 0.22f, inside);
    paint_part(texel, Colour{0.05f, 0.045f, 0.04f}, deep);
    texel.height -= 0.03f * deep * texel.part;
    texel.gloss *= 1 - deep;
    texel.light *= 1 - 0.6f * deep;
  });
}

void lay_dent(Surface& surface, Random& random) {
  const Vec2 centre = place_on(surface, random, 0.16f);
  const float radius = uniform(random, 0.07f, 0.12f);
  const float depth = radius * uniform(random, 0.2f, 0.3f);
  blob(surface, random, centre, radius, 0, [&](Texel& texel, float inside) {
    const float distance = 1 - inside;
    const float hollow = (1 - distance * distance) * (1 - distance * distance);
    texel.height -= depth * hollow * texel.part;
    texel.light *= 1 - 0.12f * hollow;
  });
}

void lay_contamination(Surface& surface, Random& random) {
  const Vec2 centre = place_on(surface, random, 0.15f);
  // Dark on a light thing, light on a dark one; some of a strong colour.
  Colour colour = mean_luminance(surface) > 0.4f ? Colour{0.14f, 0.12f, 0.11f} : Colour{0.85f, 0.83f, 0.78f};
  if (uniform(random, 0, 1) < 0.35f) colour = Colour{0.70f, 0.16f, 0.14f};
  const auto lie_on_top = [&](Texel& texel, float cover) {
    const float alpha = smooth_step(0.05f, 0.45f, cover);
    texel.albedo = mix(texel.albedo, colour, alpha * 0.92f);
    texel.height = mix(texel.height, texel.height + 0.006f * std::sqrt(cover), alpha);
  };
  const auto shade_under = [&](Texel& texel, float cover) {
    texel.light *= 1 - 0.45f * smooth_step(0, 0.6f, cover);
  };
  if (uniform(random, 0, 1) < 0.6f) {
    auto path = draw_path(random, centre, uniform(random, 0.25f, 0.55f), 0.006f, 0);
    for (PathPoint& point : path) point = {{point.place.x + 0.006f, point.place.y + 0.007f}, 1};
    stroke(surface, path, 0.008f, shade_under);
    for (PathPoint& point : path) point = {{point.place.x - 0.006f, point.place.y - 0.007f}, 1};
    stroke(surface, path, uniform(random, 0.0055f, 0.008f), lie_on_top);
    return;
  }
  const auto crumbs = 3 + random.next_below(6);
  for (int64_t crumb = 0; crumb < crumbs; ++crumb) {
    const Vec2 place{centre.x + 0.035f * normal_like(random), centre.y + 0.035f * normal_like(random)};
    const float radius = uniform(random, 0.008f, 0.022f);
    Random shape = random;  // the shadow has the crumb's shape
    blob(surface, shape, {place.x + 0.006f, place.y + 0.007f}, radius, 0.2f, shade_under);
    blob(surface, random, place, radius, 0.2f, lie_on_top);
  }
}

}  // namespace

Vec2 place_on(const Surface& surface, Random& random, float margin) {
  // Some pixel of an object's inside is found long before this many attempts; a texture's first attempt
  // serves.
  constexpr int kAttempts = 1000;
  Vec2 place{0.5f, 0.5f};
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    place = {uniform(random, margin, 1 - margin), uniform(random, margin, 1 - margin)};
    const auto pixels = static_cast<float>(surface.size);
    const Texel& texel =
        surface.at(static_cast<int64_t>(place.y * pixels), static_cast<int64_t>(place.x * pixels));
    if (texel.part > 0.99f) break;
  }
  return place;
}

Alteration draw_alteration(const std::string& kind, const Surface& normal, Random& random) {
  Alteration alteration;
  if (kind == "bent") {
    // On an object the edge shows it best: a place of the object from which the table is not far.
    alteration.warp.centre = place_on(normal, random, 0.16f);
    alteration.warp.radius = uniform(random, 0.10f, 0.16f);
    const float direction = uniform(random, 0, 1);
    const float pull = alteration.warp.radius * uniform(random, 0.24f, 0.34f);
    alteration.warp.shift = {pull * cosine(direction), pull * sine(direction)};
  } else if (kind == "missing_part") {
    alteration.bite.centre = place_on(normal, random, 0.10f);
    alteration.bite.radius = uniform(random, 0.045f, 0.085f);
  }
  return alteration;
}

void lay_on(const std::string& kind, Surface& surface, Random& random) {
  if (kind == "scratch") {
    lay_scratch(surface, random, false);
  } else if (kind == "crack") {
    lay_scratch(surface, random, true);
  } else if (kind == "stain") {
    lay_stain(surface, random);
  } else if (kind == "hole") {
    lay_hole(surface, random);
  } else if (kind == "dent") {
    lay_dent(surface, random);
  } else if (kind == "contamination") {
    lay_contamination(surface, random);
  } else {
    PANDA_INTERNAL_ASSERT(kind == "bent" || kind == "missing_part", kind);
  }
}

}  // namespace panda::data::synthetic
