// What synthetic pictures show. A design is drawn once from the data set's seed; each picture is a variation
// of it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/synthetic.h"
#include "data/synthetic_surface.h"

namespace panda::data::synthetic {

/// Moves what is drawn near `centre` by `shift`, smoothly to nothing at `radius`.
struct Warp {
  Vec2 centre;
  float radius = 0;  ///< 0: no warp
  Vec2 shift;
  /// Where the undisturbed thing had the point that is now seen at `point`.
  [[nodiscard]] Vec2 source_of(Vec2 point) const;
};

/// A round piece that is missing from an object.
struct Bite {
  Vec2 centre;
  float radius = 0;  ///< 0: nothing is missing
};

/// A defect of the thing's own structure; the others are laid on top (data/synthetic_defects.h).
struct Alteration {
  Warp warp;
  Bite bite;
};

class Design {
 public:
  Design() = default;
  Design(const Design&) = delete;
  Design& operator=(const Design&) = delete;
  virtual ~Design() = default;
  [[nodiscard]] virtual std::string name() const = 0;
  /// The defects that such a thing may have (data/synthetic_defects.h).
  [[nodiscard]] virtual std::vector<std::string> defect_kinds() const = 0;
  /// One specimen; the same `variation` gives the same one, apart from the alteration.
  [[nodiscard]] virtual Surface draw(int64_t size, Random variation, const Alteration& alteration) const = 0;
};

/// seed % 3 chooses among the three of each kind.
[[nodiscard]] std::unique_ptr<Design> make_design(SyntheticKind kind, uint64_t seed);
[[nodiscard]] std::unique_ptr<Design> make_texture_design(uint64_t seed);
[[nodiscard]] std::unique_ptr<Design> make_object_design(uint64_t seed);

}  // namespace panda::data::synthetic
