#include "anomaly/panda.h"

#include <utility>

#include "anomaly/ewc_importance.h"
#include "autograd/functions/loss.h"
#include "weights/manifest.h"

namespace panda::anomaly {

namespace {

constexpr const char* kUniform = "uniform";

/// Eq. 1 over the whole minibatch.
class CompactnessObjective final : public AdaptationObjective {
 public:
  CompactnessObjective(Tensor center, CompactnessScale scale) : center_(std::move(center)), scale_(scale) {}
  [[nodiscard]] std::vector<std::string> terms() const override { return {"compactness"}; }
  [[nodiscard]] std::vector<LossTerm> losses(autograd::Tape& /*tape*/, const autograd::Variable& features,
                                             const Minibatch& minibatch) override {
    const Shape shape = features.shape();
    const double factor = compactness_factor(scale_, shape[0], shape[1]);
    return {{autograd::compactness(features, center_, factor),
             std::vector<float>(static_cast<size_t>(minibatch.size()), 1.0F)}};
  }

 private:
  Tensor center_;
  CompactnessScale scale_;
};

}  // namespace

const char* compactness_scale_name(CompactnessScale scale) {
  return scale == CompactnessScale::kSum ? "sum" : "mean";
}

double compactness_factor(CompactnessScale scale, int64_t n, int64_t d) {
  return scale == CompactnessScale::kSum ? 1.0 : 1.0 / static_cast<double>(n * d);
}

const char* panda_variant_name(PandaVariant variant) {
  switch (variant) {
    case PandaVariant::kEarly:
      return "panda-early";
    case PandaVariant::kSes:
      return "panda-ses";
    case PandaVariant::kEwc:
      return "panda-ewc";
  }
  return "unknown";
}

AdaptationMethod panda_method(const NamedTensors& weights, const std::string& weights_sha256,
                              const PandaOptions& options) {
  AdaptationMethod method;
  method.network = std::shared_ptr<const NamedTensors>(std::shared_ptr<void>(), &weights);  // not owned
  method.fields["option.compactness"] = compactness_scale_name(options.compactness);
  method.objective = [scale = options.compactness](nn::TrainableResnet&, const Tensor& center) {
    return std::make_unique<CompactnessObjective>(center, scale);
  };
  if (options.variant != PandaVariant::kEwc) return method;
  PANDA_CHECK(!options.fisher.empty(), "panda-ewc: no Fisher diagonal given, expected a file or ", kUniform);
  PANDA_CHECK(options.lambda >= 0, "panda-ewc: lambda is ", options.lambda, ", expected at least 0");
  const bool uniform = options.fisher == kUniform;
  method.fields["option.lambda"] = field_text(options.lambda);
  method.fields["option.fisher"] = uniform ? kUniform : weights::file_sha256(options.fisher);
  method.penalty = [&weights, weights_sha256, options, uniform](nn::TrainableResnet& network) {
    nn::EwcPenalty penalty;
    penalty.strength = options.lambda;
    penalty.anchor = nn::anchor_of(network.parameters());
    if (!uniform) {
      penalty.importance = read_ewc_importance(options.fisher, network.parameters(), weights, weights_sha256);
    }
    return penalty;
  };
  return method;
}

}  // namespace panda::anomaly
