#include "anomaly/joint_optimization.h"

#include "anomaly/network_head.h"
#include "autograd/functions/loss.h"
#include "kernels/loss.h"
#include "kernels/reduce.h"

namespace panda::anomaly {

namespace {

class JointObjective final : public AdaptationObjective {
 public:
  JointObjective(nn::TrainableResnet& network, Tensor center, const data::ImageSet& auxiliary,
                 const JointOptions& options)
      : network_(&network),
        center_(std::move(center)),
        auxiliary_(&auxiliary),
        options_(options),
        mean_(network.device(), DType::kF32, {network.config().class_count}, "center") {}
  [[nodiscard]] std::vector<std::string> terms() const override { return {"cross_entropy", "compactness"}; }
  void begin(Device& device, const Minibatch& minibatch) override {
    // Those of the normal images are never looked at.
    std::vector<int64_t> labels(minibatch.normal.size(), 0);
    for (const int64_t image : minibatch.auxiliary) labels.push_back(auxiliary_->sample(image).class_index);
    const Tensor checked = kernels::upload_labels(
        device, Tensor::from<int64_t>({minibatch.size()}, labels.data()), network_->config().class_count);
    labels_ = put_rows(device, checked, memory_);
  }
  [[nodiscard]] std::vector<LossTerm> losses(autograd::Tape& tape, const autograd::Variable& features,
                                             const Minibatch& minibatch) override {
    const size_t normal = minibatch.normal.size();
    const auto rows = static_cast<size_t>(minibatch.size());
    // Both losses see every row and count their own.
    std::vector<float> of_labelled(rows, 1.0F);
    std::vector<float> of_normal(rows, 0.0F);
    for (size_t i = 0; i < rows; ++i) {
      if (i < normal) {
        of_labelled[i] = 0.0F;
        of_normal[i] = 1.0F;
      }
    }
    const autograd::Variable logits = network_->logits(tape, features);
    const double mean = 1.0 / static_cast<double>(minibatch.auxiliary.size());
    return {{autograd::softmax_cross_entropy(logits, labels_, mean), std::move(of_labelled)},
            {compactness(tape, features, logits, static_cast<int64_t>(normal)), std::move(of_normal)}};
  }

 private:
  autograd::Variable compactness(autograd::Tape& tape, const autograd::Variable& features,
                                 const autograd::Variable& logits, int64_t n) {
    if (options_.variant == JointVariant::kCenter) {
      return autograd::compactness(
          features, center_,
          options_.alpha * compactness_factor(options_.compactness, n, features.shape()[1]));
    }
    tape.run(kernels::reduce_forward, {kernels::ReduceOp::kMean, logits.view().rows(0, n), 0, mean_});
    const auto others = static_cast<double>(n - 1);
    return autograd::compactness(logits, mean_, n > 1 ? options_.alpha / (others * others) : 0);
  }

  nn::TrainableResnet* network_;
  Tensor center_;
  const data::ImageSet* auxiliary_;
  JointOptions options_;
  Tensor mean_;  ///< of the normal images' logits
  Tensor memory_;
  TensorView labels_;  ///< in memory_
};

}  // namespace

const char* joint_variant_name(JointVariant variant) {
  return variant == JointVariant::kCenter ? "center" : "leave-one-out";
}

AdaptationMethod joint_method(const NamedTensors& weights, const data::ImageSet& auxiliary,
                              const std::string& auxiliary_sha256, int64_t class_count,
                              const JointOptions& options, uint64_t seed) {
  PANDA_CHECK(class_count >= 2, "jo: the auxiliary images are of ", class_count,
              class_count == 1 ? " class" : " classes", ", expected at least 2");
  PANDA_CHECK(options.alpha >= 0, "jo: alpha is ", options.alpha, ", expected at least 0");
  for (int64_t i = 0; i < auxiliary.size(); ++i) {
    const int64_t label = auxiliary.sample(i).class_index;
    PANDA_CHECK(label >= 0 && label < class_count, printable(auxiliary.sample(i).file), ": class ", label,
                " of this image is outside 0..", class_count - 1);
  }
  AdaptationMethod method;
  method.network = with_head(weights, class_count, seed, true);
  method.class_count = class_count;
  method.fields["option.variant"] = joint_variant_name(options.variant);
  method.fields["option.alpha"] = field_text(options.alpha);
  method.fields["option.compactness"] = compactness_scale_name(options.compactness);
  method.fields["option.aux_data"] = auxiliary_sha256;
  method.objective = [&auxiliary, options](nn::TrainableResnet& network, const Tensor& center) {
    return std::make_unique<JointObjective>(network, center, auxiliary, options);
  };
  method.auxiliary = &auxiliary;
  method.draw = AuxiliaryDraw::kEpochs;
  return method;
}

}  // namespace panda::anomaly
