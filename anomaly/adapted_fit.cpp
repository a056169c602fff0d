#include "anomaly/adapted_fit.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "anomaly/auroc.h"
#include "anomaly/mean_of_rows.h"
#include "anomaly/training_checkpoint.h"
#include "kernels/tensor/file.h"
#include "kernels/tensor/random.h"

namespace panda::anomaly {

namespace {

// Streams of the seed.
constexpr uint64_t kHeldOutStream = 0x68656c64;
constexpr uint64_t kWatchedStream = 0x77617463;
constexpr uint64_t kScaleStream = 0x7363616c;

/// Whose spread is measured: enough for s_t to a few percent, few enough for the Gram matrix to cost nothing
/// beside a minibatch of a large network.
constexpr int64_t kWatchedImages = 256;
constexpr int64_t kScaleShare = 10;  ///< App. B.1 of the paper: 10 % of the training set

/// `count` of n, drawn by the seed, rising.
std::vector<int64_t> draw(int64_t n, int64_t count, uint64_t seed, uint64_t stream) {
  std::vector<int64_t> order = Random(seed, stream).permutation(n);
  order.resize(static_cast<size_t>(std::min(n, count)));
  std::sort(order.begin(), order.end());
  return order;
}

/// Those rows of n,D, in that order, on the same device.
Tensor rows_of(const Tensor& features, const std::vector<int64_t>& rows) {
  const auto count = static_cast<int64_t>(rows.size());
  Tensor chosen(features.view().device(), features.dtype(), {count, features.shape()[1]}, "features");
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = rows[static_cast<size_t>(i)];
    copy(features.view().rows(row, row + 1), chosen.view().rows(i, i + 1));
  }
  return chosen;
}

}  // namespace

AdaptedFit::AdaptedFit(Device& device, const data::ImageSet& training, AdaptationMethod method,
                       const AdaptedFitOptions& options, FitManifest manifest, const ExtractOptions& extract,
                       const AdaptedFitRuntime& runtime, Progress* progress)
    : device_(device),
      training_(training),
      method_(std::move(method)),
      options_(options),
      manifest_(std::move(manifest)),
      extract_(extract),
      runtime_(runtime),
      progress_(progress) {
  const int64_t n = training.size();
  const int64_t held_out = options_.held_out_images.value_or(default_held_out(n));
  const uint64_t seed = options_.adaptation.seed;
  PANDA_CHECK(held_out >= 0 && held_out < n, options_.model.method, ": ", held_out, " of ", n,
              " training images held out, expected to leave some to train on");
  held_out_ = draw(n, held_out, seed, kHeldOutStream);
  for (int64_t i = 0; i < n; ++i) {
    if (!std::binary_search(held_out_.begin(), held_out_.end(), i)) trained_on_.push_back(i);
  }
  for (const int64_t i : draw(adapted_count(), kWatchedImages, seed, kWatchedStream))
    watched_.push_back(trained_on_[static_cast<size_t>(i)]);
  check();
}

void AdaptedFit::check() const {
  check_adaptation(options_.adaptation);
  PANDA_CHECK(activation_dtype(device_.precision()) == DType::kF32, options_.model.method,
              ": trains in f32, not in ", precision_name(device_.precision()));
  const AdaptedOptions& model = options_.model;
  const bool center = model.score.rule == ScoreRule::kCenter;
  const int64_t n = training_.size();
  PANDA_CHECK(model.by_logit || center || FeatureScorer::can_leave_one_out(n, model.score), model.method,
              ": ", n, " training images are too few for ", smallest_fit_reason(model.score));
  PANDA_CHECK(!center || !model.score.normalize, model.method,
              ": the center is that of plain features, so the score center takes no normalize");
  PANDA_CHECK(options_.scale == ScaleRule::kOne || options_.adaptation.snapshot_every > 0, model.method,
              ": a scale is for copies along the training");
  PANDA_CHECK(options_.adaptation.snapshot_every <= options_.adaptation.minibatches, model.method, ": ",
              options_.adaptation.minibatches, " minibatches end before the first copy at ",
              options_.adaptation.snapshot_every);
  if (options_.scale == ScaleRule::kLeftOutNeighbours) {
    const int64_t left_out = std::max<int64_t>(1, adapted_count() / kScaleShare);
    PANDA_CHECK(adapted_count() - left_out >= smallest_fit(model.score), model.method, ": ", adapted_count(),
                " images to train on are too few for ", smallest_fit_reason(model.score),
                " with a tenth left out");
  }
  if (!model.false_alarm_rate) return;
  PANDA_CHECK(!held_out_.empty(), model.method, ": no image is held out for a threshold");
  static_cast<void>(conformal_threshold(std::vector<double>(held_out_.size()), *model.false_alarm_rate));
}

std::vector<int64_t> AdaptedFit::all_images() const {
  std::vector<int64_t> all(static_cast<size_t>(training_.size()));
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int64_t>(i);
  return all;
}

weights::Metadata AdaptedFit::fit_fields() const {
  const AdaptationOptions& training = options_.adaptation;
  weights::Metadata fields = method_.fields;
  std::string blocks;
  for (const int block : training.blocks) blocks += text(blocks.empty() ? "" : ",", block);
  fields["method"] = options_.model.method;
  fields["option.train_blocks"] = blocks;
  fields["option.minibatches"] = std::to_string(training.minibatches);
  fields["option.batch_size"] = std::to_string(training.batch_size);
  fields["option.lr"] = field_text(training.rate);
  fields["option.momentum"] = field_text(training.sgd.momentum);
  fields["option.decay"] = field_text(training.sgd.decay);
  fields["option.clip"] = field_text(training.sgd.max_norm);
  fields["option.snapshot_every"] = std::to_string(training.snapshot_every);
  fields["option.hold_out"] = std::to_string(held_out_.size());
  fields["option.trunk"] = options_.cache.precision == TrunkCache::kF16 ? "f16" : "f32";
  put_transform(fields, options_.model.transform);
  put_manifest(fields, manifest_);
  return fields;
}

void AdaptedFit::run() {
  prepare();
  train();
  finish();
}

void AdaptedFit::prepare() {
  nn::ResnetConfig config = nn::detect_resnet(*method_.network);
  config.class_count = method_.class_count;
  network_ = std::make_unique<nn::TrainableResnet>(device_, config, *method_.network,
                                                   nn::BatchNormMode::kEvaluation);
  network_->train_stages(options_.adaptation.blocks, method_.class_count > 0);
  const AdaptedOptions& model = options_.model;
  const auto trunk_of = [&](const data::ImageSet& images, const char* stage) {
    ExtractOptions extract = extract_;
    extract.stage = stage;
    return std::make_unique<TrunkFeatures>(*network_, images, model.transform, options_.cache, extract,
                                           progress_);
  };
  trunk_ = trunk_of(training_, "extracting features");
  if (method_.auxiliary != nullptr)
    auxiliary_trunk_ = trunk_of(*method_.auxiliary, "extracting auxiliary features");
  if (runtime_.log_test != nullptr) test_trunk_ = trunk_of(*runtime_.log_test, "extracting test features");
  exact_center_ = mean_of_rows(current_features(
      *network_, *trunk_, trained_on_, options_.adaptation.batch_size, "finding the center", progress_));
  Tensor center(host(), DType::kF32, exact_center_.shape(), "center");
  for (int64_t j = 0; j < center.numel(); ++j)
    center.data<float>()[j] = static_cast<float>(exact_center_.data<double>()[j]);
  center_ = clone_to(center, device_, "center");
  objective_ = method_.objective(*network_, center_);
  adaptation_ =
      std::make_unique<Adaptation>(*network_, *trunk_, trained_on_, *objective_, options_.adaptation);
  if (auxiliary_trunk_ != nullptr) adaptation_->set_auxiliary(*auxiliary_trunk_, method_.draw);
  if (method_.penalty) adaptation_->set_penalty(method_.penalty(*network_));
}

void AdaptedFit::save_state() const {
  if (!runtime_.log.empty()) log().write(runtime_.log);
  if (!runtime_.checkpoint.empty()) write_checkpoint(runtime_.checkpoint, fit_fields(), *adaptation_);
}

void AdaptedFit::train() {
  const int64_t total = options_.adaptation.minibatches;
  const int64_t epoch = minibatches_per_epoch(adapted_count(), options_.adaptation.batch_size);
  const int64_t log_every = runtime_.log_every > 0 ? runtime_.log_every : epoch;
  if (runtime_.resume && path_exists(runtime_.checkpoint)) {
    read_checkpoint(runtime_.checkpoint, fit_fields(), *adaptation_);
    resumed_at_ = adaptation_->steps();
  }
  // Also after going on from a checkpoint that an interruption left between a step and its measures.
  const auto observe_if_due = [&] {
    const bool due = adaptation_->steps() % log_every == 0 || adaptation_->done();
    if (due && std::isnan(adaptation_->log().last().distance)) observe();
  };
  if (adaptation_->log().rows().empty()) adaptation_->log().add({});
  using Clock = std::chrono::steady_clock;
  const std::chrono::duration<double> patience(runtime_.checkpoint_seconds);
  int64_t saved = adaptation_->steps();
  Clock::time_point saved_at = Clock::now();
  observe_if_due();
  while (!adaptation_->done()) {
    try {
      report_progress(progress_, "adapting", adaptation_->steps(), total);
      adaptation_->step();
      observe_if_due();
    } catch (const Interrupted&) {
      if (adaptation_->steps() > saved) save_state();
      throw;
    }
    const bool due = adaptation_->steps() - saved >= runtime_.checkpoint_every ||
                     Clock::now() - saved_at >= patience || adaptation_->done();
    if (!due) continue;
    save_state();
    saved = adaptation_->steps();
    saved_at = Clock::now();
  }
  if (!runtime_.log.empty()) log().write(runtime_.log);
  report_progress(progress_, "adapting", total, total);
}

std::vector<double> AdaptedFit::current_scores(const TrunkFeatures& trunk,
                                               const std::vector<int64_t>& images) {
  const Tensor features =
      current_features(*network_, trunk, images, options_.adaptation.batch_size, "measuring", nullptr);
  if (options_.model.by_logit) {
    autograd::Workspace workspace(device_);
    autograd::Tape tape(workspace);
    const Tensor logits = clone_to(network_->logits(tape, tape.constant(features)).view(), host(), "logits");
    return {logits.data<float>(), logits.data<float>() + logits.numel()};
  }
  if (options_.model.score.rule == ScoreRule::kCenter) {
    return FeatureScorer(device_, exact_center_.reshaped({1, exact_center_.numel()}), options_.model.score)
        .score(features);
  }
  const Tensor gallery = current_features(*network_, *trunk_, all_images(), options_.adaptation.batch_size,
                                          "measuring", nullptr);
  return FeatureScorer::fit(device_, gallery, options_.model.score).score(features);
}

void AdaptedFit::observe() {
  LogRow& row = adaptation_->log().last();
  const FeatureSpread spread = measure_spread(
      current_features(*network_, *trunk_, watched_, options_.adaptation.batch_size, "measuring", nullptr),
      center_);
  row.distance = spread.distance;
  row.effective_rank = spread.effective_rank;
  if (test_trunk_ == nullptr) return;
  std::vector<int64_t> images(static_cast<size_t>(test_trunk_->size()));
  std::vector<uint8_t> labels(images.size());
  for (size_t i = 0; i < images.size(); ++i) {
    images[i] = static_cast<int64_t>(i);
    labels[i] = test_trunk_->images().sample(images[i]).label != 0 ? 1 : 0;
  }
  row.auroc = auroc(current_scores(*test_trunk_, images), labels).value_or(LogRow::kAbsent);
}

Tensor AdaptedFit::final_features() {
  if (trunk_->exact()) {
    return current_features(*network_, *trunk_, all_images(), options_.adaptation.batch_size,
                            "extracting adapted features", progress_);
  }
  ExtractOptions extract = extract_;
  extract.stage = "extracting adapted features";
  nn::ResnetConfig config = network_->config();
  config.class_count = 0;
  nn::Resnet network(device_, config, *network_);
  return extract_features(network, training_, options_.model.transform, extract, progress_);
}

double AdaptedFit::scale_of(const Tensor& features, const FeatureScorer& scorer) const {
  if (options_.scale == ScaleRule::kOne) return 1;
  std::vector<double> scores;
  if (options_.scale == ScaleRule::kCenterDistance) {
    scores = scorer.score(rows_of(features, trained_on_));
  } else {
    const int64_t count = std::max<int64_t>(1, adapted_count() / kScaleShare);
    const std::vector<int64_t> left_out =
        draw(adapted_count(), count, options_.adaptation.seed, kScaleStream);
    std::vector<int64_t> queries;
    std::vector<int64_t> gallery;
    for (int64_t i = 0; i < adapted_count(); ++i) {
      const bool query = std::binary_search(left_out.begin(), left_out.end(), i);
      (query ? queries : gallery).push_back(trained_on_[static_cast<size_t>(i)]);
    }
    scores = FeatureScorer::fit(device_, rows_of(features, gallery), options_.model.score)
                 .score(rows_of(features, queries));
  }
  double sum = 0;
  for (const double score : scores) sum += score;
  const double scale = sum / static_cast<double>(scores.size());
  PANDA_CHECK(scale > 0 && std::isfinite(scale), options_.model.method, ": the mean score of a copy is ",
              scale, " on the images that it was trained on: its features have collapsed");
  return scale;
}

Adapted::Member AdaptedFit::make_member(std::vector<double>& calibration) {
  const AdaptedOptions& model = options_.model;
  Adapted::Member member;
  std::vector<double> scores;
  if (model.by_logit) {
    scores = held_out_.empty() ? std::vector<double>() : current_scores(*trunk_, held_out_);
  } else {
    const Tensor features = final_features();
    if (model.score.rule == ScoreRule::kCenter) {
      member.scorer.emplace(device_, exact_center_.reshaped({1, exact_center_.numel()}), model.score);
      if (!held_out_.empty()) scores = member.scorer->score(rows_of(features, held_out_));
    } else {
      member.scorer = FeatureScorer::fit(device_, features, model.score);
      if (!held_out_.empty()) {
        const std::vector<double> left_out = member.scorer->leave_one_out_scores(features, progress_);
        for (const int64_t i : held_out_) scores.push_back(left_out[static_cast<size_t>(i)]);
      }
    }
    member.scale = scale_of(features, *member.scorer);
  }
  calibration.resize(scores.size(), -INFINITY);
  for (size_t i = 0; i < scores.size(); ++i)
    calibration[i] = std::max(calibration[i], scores[i] / member.scale);
  return member;
}

void AdaptedFit::finish() {
  member_values_ = adaptation_->snapshots();
  if (member_values_.empty()) member_values_.push_back(trained_values(*network_));
  nn::ResnetConfig config = network_->config();
  config.class_count = options_.model.by_logit ? method_.class_count : 0;
  std::unique_ptr<nn::Resnet> network;
  std::vector<double> calibration;
  std::vector<Adapted::Member> members;
  for (const std::map<std::string, Tensor>& values : member_values_) {
    set_trained_values(*network_, values);
    if (network == nullptr) {
      network = std::make_unique<nn::Resnet>(device_, config, *network_);
    } else {
      network->add_copy(*network_, network_->first_trainable_stage());
    }
    members.push_back(make_member(calibration));
  }
  set_trained_values(*network_, member_values_.front());  // what `save` writes as the first member
  model_ = std::make_unique<Adapted>(options_.model, std::move(network), std::move(members), training_.size(),
                                     std::move(calibration));
}

void AdaptedFit::save(const std::string& path) const {
  PANDA_CHECK(model_ != nullptr, "a fit that has not run has no model to save");
  model_->save(path, *network_, {member_values_.begin() + 1, member_values_.end()}, fit_fields());
}

}  // namespace panda::anomaly
