// An image set made of noise, for tests of what is done with images.
#pragma once

#include <algorithm>
#include <vector>

#include "data/dataset.h"
#include "kernels/tensor/random.h"

namespace panda::anomaly {

/// Noise images of 40x40: normal ones dark, anomalies (label 1) with bright squares.
class NoiseImages final : public data::ImageSet {
 public:
  NoiseImages(int64_t count, bool anomalous, uint64_t seed)
      : ImageSet(samples(count, anomalous)), seed_(seed) {}

  [[nodiscard]] data::Image load(int64_t index) const override {
    data::Image image(40, 40, 3);
    Random random(seed_, static_cast<uint64_t>(index));
    for (uint8_t& pixel : image.pixels) pixel = static_cast<uint8_t>(random.next_below(90));
    if (sample(index).label == 0) return image;
    for (int64_t y = 10; y < 30; ++y) std::fill_n(image.row(y) + 30, 60, uint8_t{250});
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

}  // namespace panda::anomaly
