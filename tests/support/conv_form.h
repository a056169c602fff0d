// A convolution by its extents, as tests list them.
#pragma once

#include <string>

#include "kernels/conv2d.h"

namespace panda::test {

struct ConvForm {
  int64_t n, c, h, w, k, r, s, stride, pad;
  bool dense = false;  ///< operands in the dense layout, whatever the device's is

  [[nodiscard]] kernels::Conv2dGeometry geometry() const { return {stride, stride, pad, pad}; }
  [[nodiscard]] Shape x() const { return {n, c, h, w}; }
  [[nodiscard]] Shape filter() const { return {k, c, r, s}; }
  [[nodiscard]] Shape y() const {
    return {n, k, kernels::Conv2dGeometry::output_extent(h, r, stride, pad),
            kernels::Conv2dGeometry::output_extent(w, s, stride, pad)};
  }
  [[nodiscard]] std::string name() const {
    return text("n", n, "_c", c, "_h", h, "_w", w, "_k", k, "_f", r, "x", s, "_stride", stride, "_pad", pad,
                dense ? "_dense" : "");
  }
};

}  // namespace panda::test
