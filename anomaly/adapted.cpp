#include "anomaly/adapted.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "anomaly/scoring_fields.h"

namespace panda::anomaly {

namespace {

constexpr double kDefaultFalseAlarmRate = 0.05;
constexpr const char* kNetworkPrefix = "network/";
constexpr int64_t kMaxMembers = 1000;

std::string member_prefix(int64_t member) {
  return text("member.", member, "/");
}

std::string reference_name(int64_t member) {
  return text("reference.", member);
}

/// The first member's tensors with another's in their place.
class MemberTensors final : public NamedTensors {
 public:
  MemberTensors(const NamedTensors& shared, const NamedTensors& own) : shared_(&shared), own_(&own) {}
  [[nodiscard]] std::vector<TensorInfo> list() const override { return shared_->list(); }
  [[nodiscard]] bool contains(const std::string& name) const override { return shared_->contains(name); }
  [[nodiscard]] Tensor load(const std::string& name) const override {
    return own_->contains(name) ? own_->load(name) : shared_->load(name);
  }
  [[nodiscard]] std::string source() const override { return shared_->source(); }

 private:
  const NamedTensors* shared_;
  const NamedTensors* own_;
};

/// The first stage with a tensor in `own`; behind the last if there is none.
int first_own_stage(const nn::ResnetConfig& config, const NamedTensors& own) {
  int first = nn::kResnetStages + 1;
  for (const nn::ParameterInfo& info : nn::resnet_parameters(config)) {
    if (own.contains(info.name)) first = std::min(first, nn::resnet_stage_of(info.name));
  }
  return first;
}

AdaptedOptions read_options(const FittedModelFile& file) {
  AdaptedOptions options;
  options.method = file.method();
  options.by_logit = file.flag_field("option.by_logit");
  options.score = get_score_options(file);
  options.transform = get_transform(file);
  if (file.has("threshold.false_alarm_rate"))
    options.false_alarm_rate = file.real_field("threshold.false_alarm_rate");
  return options;
}

}  // namespace

bool is_adapted_method(const std::string& method) {
  static constexpr std::array<const char*, 5> kMethods = {"panda-early", "panda-ses", "panda-ewc", "panda-oe",
                                                          "jo"};
  return std::any_of(kMethods.begin(), kMethods.end(), [&](const char* known) { return method == known; });
}

Adapted::Adapted(AdaptedOptions options, std::unique_ptr<nn::Resnet> network, std::vector<Member> members,
                 int64_t training_count, std::vector<double> calibration_scores)
    : options_(std::move(options)),
      network_(std::move(network)),
      members_(std::move(members)),
      training_count_(training_count),
      calibration_scores_(std::move(calibration_scores)) {
  const auto member_count = static_cast<int64_t>(members_.size());
  PANDA_CHECK(network_ != nullptr && member_count == network_->copies(), options_.method, ": ", member_count,
              " members, expected one for each copy of the network");
  PANDA_CHECK(!options_.by_logit || member_count == 1, options_.method, ": ", member_count,
              " members that score by a logit, expected 1");
  for (const Member& member : members_) {
    PANDA_CHECK(member.scale > 0, options_.method, ": a scale of ", member.scale, ", expected above 0");
    PANDA_CHECK(options_.by_logit != member.scorer.has_value(), options_.method,
                ": a member scores by features or by its logit");
  }
  std::sort(calibration_scores_.begin(), calibration_scores_.end());
  if (calibration_scores_.empty()) {
    PANDA_CHECK(!options_.false_alarm_rate, options_.method, ": no image was held out for a threshold");
    return;
  }
  const auto count = static_cast<int64_t>(calibration_scores_.size());
  threshold_ = conformal_threshold(
      calibration_scores_,
      options_.false_alarm_rate.value_or(std::max(kDefaultFalseAlarmRate, smallest_false_alarm_rate(count))));
}

Threshold Adapted::threshold_for(double false_alarm_rate) const {
  PANDA_CHECK(!calibration_scores_.empty(), options_.method,
              ": no image was held out of the fit, so there is no threshold");
  return conformal_threshold(calibration_scores_, false_alarm_rate);
}

std::string Adapted::threshold_text(const Threshold& threshold) const {
  return threshold_meaning(threshold, "that the training did not see");
}

std::vector<double> Adapted::batch_scores(const data::Batch& batch, const data::ImageSet& images) const {
  if (options_.by_logit) {
    nn::ResnetRequest request;
    request.logits = true;
    const Tensor logits = clone_to(network_->forward(batch.images, request).logits, host(), "logits");
    check_finite(logits, batch, images);
    std::vector<double> scores(logits.data<float>(), logits.data<float>() + logits.numel());
    for (double& score : scores) score /= members_.front().scale;
    return scores;
  }
  const std::vector<Tensor> features = network_->features_of_copies(batch.images);
  std::vector<double> largest(batch.indices.size(), -INFINITY);
  for (size_t m = 0; m < members_.size(); ++m) {
    check_finite(features[m], batch, images);
    const std::vector<double> scores = members_[m].scorer->score(features[m]);
    for (size_t i = 0; i < scores.size(); ++i)
      largest[i] = std::max(largest[i], scores[i] / members_[m].scale);
  }
  return largest;
}

void Adapted::score_each(const data::ImageSet& images, const ExtractOptions& extract, const ScoreSink& sink,
                         Progress* progress) const {
  for_each_batch(images, options_.transform, extract, progress, [&](const data::Batch& batch) {
    const std::vector<double> scores = batch_scores(batch, images);
    for (size_t i = 0; i < scores.size(); ++i)
      sink({batch.indices[i], scores[i], std::nullopt, std::nullopt});
  });
}

std::string Adapted::description() const {
  std::string how = options_.by_logit ? "logit" : score_description(options_.score);
  if (members_.size() > 1) how += text(", ", members_.size(), " copies");
  return text(options_.method, ": ", how, "; ", nn::describe(architecture()));
}

void Adapted::save(const std::string& path, const NamedTensors& network,
                   const std::vector<std::map<std::string, Tensor>>& trained,
                   const weights::Metadata& fields) const {
  PANDA_INTERNAL_ASSERT(trained.size() + 1 == members_.size(), trained.size());
  weights::Metadata metadata = fields;
  metadata["arch"] = nn::describe(architecture());
  metadata["members"] = std::to_string(members_.size());
  metadata["option.by_logit"] = options_.by_logit ? "1" : "0";
  put_score_options(metadata, options_.score);
  metadata["training_count"] = std::to_string(training_count_);
  put_transform(metadata, options_.transform);
  if (threshold_) {
    metadata["threshold.false_alarm_rate"] = field_text(threshold_->false_alarm_rate);
    metadata["threshold.value"] = field_text(threshold_->value);
    metadata["threshold.meaning"] = threshold_text(*threshold_);
  }
  TensorBundle tensors(path);
  std::vector<std::string> names;
  for (const nn::ParameterInfo& info : nn::resnet_parameters(architecture())) names.push_back(info.name);
  tensors.add_from(kNetworkPrefix, network, names);
  std::vector<double> scales;
  for (size_t m = 0; m < members_.size(); ++m) {
    const auto index = static_cast<int64_t>(m);
    scales.push_back(members_[m].scale);
    if (members_[m].scorer)
      tensors.add(reference_name(index), clone_to(members_[m].scorer->reference(), host(), "gallery"));
    if (m == 0) continue;
    for (const auto& [name, tensor] : trained[m - 1]) tensors.add(member_prefix(index) + name, tensor);
  }
  tensors.add("scales", Tensor::from<double>({static_cast<int64_t>(scales.size())}, scales.data()));
  tensors.add("calibration_scores", Tensor::from<double>({static_cast<int64_t>(calibration_scores_.size())},
                                                         calibration_scores_.data()));
  write_fitted_model(path, options_.method, metadata, tensors);
}

Adapted Adapted::load(Device& device, const FittedModelFile& file) {
  try {
    AdaptedOptions options = read_options(file);
    const int64_t count = file.integer_field("members", 1, kMaxMembers);
    const Tensor scales = file.load("scales", DType::kF64, 1);
    const Tensor scores = file.load("calibration_scores", DType::kF64, 1);
    if (scales.numel() != count)
      throw FormatError(file.source(),
                        text("the model has ", scales.numel(), " scales for ", count, " members"));
    const PrefixedTensors shared(file.tensors(), kNetworkPrefix);
    nn::ResnetConfig config = feature_config(shared, options.transform);
    if (options.by_logit) config.class_count = 1;
    auto network = std::make_unique<nn::Resnet>(device, config, shared);
    std::vector<Member> members;
    for (int64_t m = 0; m < count; ++m) {
      const PrefixedTensors own(file.tensors(), member_prefix(m));
      if (m > 0) network->add_copy(MemberTensors(shared, own), first_own_stage(config, own));
      Member member;
      member.scale = scales.data<double>()[m];
      if (!options.by_logit) {
        const Tensor reference = load_reference(file, reference_name(m), options.score.rule);
        check_reference_width(file, reference_name(m), options.score.rule, reference,
                              config.feature_channels());
        member.scorer.emplace(device, reference, options.score);
      }
      members.push_back(std::move(member));
    }
    return {std::move(options), std::move(network), std::move(members),
            file.integer_field("training_count", 1, INT64_MAX),
            std::vector<double>(scores.data<double>(), scores.data<double>() + scores.numel())};
  } catch (const InvalidArgument& error) {
    throw FormatError(file.source(), error.what());
  }
}

}  // namespace panda::anomaly
