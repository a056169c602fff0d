// The inner loop of resizing: a weighted sum of equally spaced runs of bytes. Private to data/ and its tests.
#pragma once

#include <cstdint>

namespace panda::data::resize {

/// Fractional bits of a weight: 32 bits less 8 of a sample and 2 of headroom, as in Pillow.
inline constexpr int kFractionBits = 22;

/// out[i] = min(255, (2^21 + sum_t weights[t] * in[t * stride + i]) >> 22) for 0 <= i < size and 0 <= t <
/// taps. Weights are not negative and sum to about 2^22, so that a sum stays below 2^31. `out` does not
/// overlap `in`.
using Blend = void (*)(const uint8_t* in, int64_t stride, const int32_t* weights, int64_t taps, uint8_t* out,
                       int64_t size);

/// Plain C++.
void blend_portable(const uint8_t* in, int64_t stride, const int32_t* weights, int64_t taps, uint8_t* out,
                    int64_t size);

/// The fastest for this processor. Integer arithmetic: every variant gives the same bits.
[[nodiscard]] Blend best_blend();

}  // namespace panda::data::resize
