// PANDA: pretrained features, made compact on normal images, stopped before they collapse.
//
// Paper section 3.1-3.3. The last stages of a pretrained network are trained to bring the features of normal
// images near their center; three ways keep the features from losing what they know:
//
//   panda-early  few minibatches
//   panda-ewc    many, with a penalty on leaving weights that mattered for the pretraining (Eq. 3, 4)
//   panda-ses    copies along the way; an image's score is its largest over the copies (section 3.2, App.
//   B.1)
//
// Compactness of a minibatch of N features of width D around the fixed center c (Eq. 1; the center is the
// mean of the features before training, never moved):
//
//   sum    sum_i |psi_i - c|^2                the paper
//   mean   1 / (N D) sum_i |psi_i - c|^2      the official code, to whose scale lambda = 1e4 belongs
#pragma once

#include <string>

#include "anomaly/adapted_fit.h"

namespace panda::anomaly {

enum class PandaVariant : uint8_t { kEarly, kSes, kEwc };
enum class CompactnessScale : uint8_t { kSum, kMean };
/// "sum", "mean".
[[nodiscard]] const char* compactness_scale_name(CompactnessScale scale);
/// The factor before sum_i |psi_i - c|^2.
[[nodiscard]] double compactness_factor(CompactnessScale scale, int64_t n, int64_t d);

struct PandaOptions {
  PandaVariant variant = PandaVariant::kEarly;
  CompactnessScale compactness = CompactnessScale::kMean;
  double lambda = 1e4;  ///< panda-ewc
  /// panda-ewc: the file of the Fisher diagonal, or "uniform": 1 for every weight (section 4.3.2).
  std::string fisher;
};

/// "panda-early", "panda-ses", "panda-ewc".
[[nodiscard]] const char* panda_variant_name(PandaVariant variant);

/// What PANDA brings to the fit. weights: of the fit; must outlive it · weights_sha256: of their file. Throws
/// InvalidArgument for panda-ewc without a Fisher diagonal; reading it may throw when the fit begins.
[[nodiscard]] AdaptationMethod panda_method(const NamedTensors& weights, const std::string& weights_sha256,
                                            const PandaOptions& options);

}  // namespace panda::anomaly
