// PANDA-OE: the network learns to tell the normal images from any others at hand.
//
// Paper section 3.4 (Eq. 5, with the minus sign that it lacks) and the official outlier_exposure.py: a new
// layer w with one output on the features; each minibatch holds normal images (target 0) and as many outliers
// drawn anew from all (target 1); the loss is the mean of
//
//   -[t log sigmoid(w psi) + (1 - t) log(1 - sigmoid(w psi))]
//
// over both. The score is the logit w psi itself: in f32 its sigmoid is 1 from 16.7 on, and images would tie.
#pragma once

#include "anomaly/adapted_fit.h"

namespace panda::anomaly {

/// What outlier exposure brings to the fit, which must be told to score by logit. weights and outliers must
/// outlive it. outliers_sha256: of the list of their names. Throws InvalidArgument if there are none.
[[nodiscard]] AdaptationMethod outlier_exposure_method(const NamedTensors& weights,
                                                       const data::ImageSet& outliers,
                                                       const std::string& outliers_sha256, uint64_t seed);

}  // namespace panda::anomaly
