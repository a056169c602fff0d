// Defects of synthetic pictures.
//
//   bent           a place pulled aside (structure)         missing_part  a round piece broken away
//   (structure) scratch        a long shallow groove                    crack         a thin dark jagged line
//   stain          a spot of another colour with a rim      hole          a small dark pit
//   dent           a wide shallow hollow                    contamination a fibre or crumbs lying on top
#pragma once

#include <string>

#include "data/synthetic_designs.h"

namespace panda::data::synthetic {

/// A pixel of the thing itself (part 1), at least `margin` from the picture's border if there is one.
[[nodiscard]] Vec2 place_on(const Surface& surface, Random& random, float margin);

/// The structural side of a defect of that kind on `normal`; nothing for kinds that are laid on top.
[[nodiscard]] Alteration draw_alteration(const std::string& kind, const Surface& normal, Random& random);

/// Lays a defect of that kind on the surface; nothing for structural kinds.
void lay_on(const std::string& kind, Surface& surface, Random& random);

}  // namespace panda::data::synthetic
