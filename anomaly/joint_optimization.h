// JO: compactness of the normal images while the network goes on classifying labelled ones.
//
// Paper Eq. 2: CE(softmax(W psi), y) over auxiliary labelled images + alpha * compactness of the normal ones
// around the center c. The paper states neither alpha nor a schedule, and has no code for it. Its source
// (Perera and Patel, "Learning deep features for one-class classification", 2019, DeepOneClass) measures
// compactness otherwise: by the variance of each sample from the others of its minibatch, on the logits,
//
//   sum_i sum_j ((x_ij - mean_{-i,j}) / n)^2 = 1 / (n - 1)^2 sum_i |x_i - mean|^2,
//
// since x_i - mean_{-i} = n / (n - 1) (x_i - mean). Its gradient is that of the compactness around the mean
// held fixed, because the x_i - mean sum to zero. A minibatch of one image has none.
#pragma once

#include "anomaly/panda.h"

namespace panda::anomaly {

enum class JointVariant : uint8_t {
  kCenter,      ///< Eq. 2
  kLeaveOneOut  ///< the cited authors'
};
/// "center", "leave-one-out": what --variant takes.
[[nodiscard]] const char* joint_variant_name(JointVariant variant);

struct JointOptions {
  JointVariant variant = JointVariant::kCenter;
  CompactnessScale compactness = CompactnessScale::kMean;  ///< of kCenter
  double alpha = 1;                                        ///< 0.1 by the cited authors
};

/// What joint optimisation brings to the fit. The head is the weights' own where it has as many classes as
/// the auxiliary set, else a new one. auxiliary: class_index in [0, class_count). weights and auxiliary must
/// outlive it. Throws InvalidArgument for fewer than 2 classes, or an image of another class.
[[nodiscard]] AdaptationMethod joint_method(const NamedTensors& weights, const data::ImageSet& auxiliary,
                                            const std::string& auxiliary_sha256, int64_t class_count,
                                            const JointOptions& options, uint64_t seed);

}  // namespace panda::anomaly
