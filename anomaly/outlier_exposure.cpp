#include "anomaly/outlier_exposure.h"

#include <algorithm>

#include "anomaly/network_head.h"
#include "autograd/functions/loss.h"

namespace panda::anomaly {

namespace {

class OutlierObjective final : public AdaptationObjective {
 public:
  explicit OutlierObjective(nn::TrainableResnet& network) : network_(&network) {}
  [[nodiscard]] std::vector<std::string> terms() const override { return {"logistic"}; }
  void begin(Device& device, const Minibatch& minibatch) override {
    std::vector<float> targets(static_cast<size_t>(minibatch.size()), 1.0F);
    std::fill_n(targets.begin(), minibatch.normal.size(), 0.0F);
    targets_ = put_rows(device, Tensor::from<float>({minibatch.size()}, targets.data()), memory_);
  }
  [[nodiscard]] std::vector<LossTerm> losses(autograd::Tape& tape, const autograd::Variable& features,
                                             const Minibatch& minibatch) override {
    const int64_t n = minibatch.size();
    return {
        {autograd::logistic_loss(network_->logits(tape, features), targets_, 1.0 / static_cast<double>(n)),
         std::vector<float>(static_cast<size_t>(n), 1.0F)}};
  }

 private:
  nn::TrainableResnet* network_;
  Tensor memory_;
  TensorView targets_;  ///< in memory_
};

}  // namespace

AdaptationMethod outlier_exposure_method(const NamedTensors& weights, const data::ImageSet& outliers,
                                         const std::string& outliers_sha256, uint64_t seed) {
  PANDA_CHECK(outliers.size() > 0, "panda-oe: there are no outliers");
  AdaptationMethod method;
  method.network = with_head(weights, 1, seed, false);
  method.class_count = 1;
  method.fields["option.outliers"] = outliers_sha256;
  method.objective = [](nn::TrainableResnet& network, const Tensor&) {
    return std::make_unique<OutlierObjective>(network);
  };
  method.auxiliary = &outliers;
  method.draw = AuxiliaryDraw::kFresh;
  return method;
}

}  // namespace panda::anomaly
