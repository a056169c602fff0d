#include "anomaly/adaptation.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "anomaly/training_checkpoint.h"
#include "autograd/functions/loss.h"
#include "kernels/tensor/random.h"

namespace panda::anomaly {

using autograd::Parameter;
using autograd::Tape;
using autograd::Variable;
using autograd::Workspace;

namespace {

// Streams of the seed; the low half counts epochs or steps.
constexpr uint64_t kNormalStream = uint64_t{0x6e6f726d} << 32;
constexpr uint64_t kAuxiliaryStream = uint64_t{0x61757869} << 32;

/// Positions of minibatch `step` when every epoch over n images is shuffled anew; the last batch of an epoch
/// may be smaller.
std::vector<int64_t> epoch_batch(int64_t n, int64_t batch_size, int64_t step, uint64_t seed,
                                 uint64_t stream) {
  const int64_t per_epoch = minibatches_per_epoch(n, batch_size);
  const std::vector<int64_t> order =
      Random(seed, stream + static_cast<uint64_t>(step / per_epoch)).permutation(n);
  const int64_t first = step % per_epoch * batch_size;
  return {order.begin() + first, order.begin() + std::min(n, first + batch_size)};
}

std::vector<int64_t> fresh_draw(int64_t n, int64_t count, int64_t step, uint64_t seed) {
  std::vector<int64_t> order = Random(seed, kAuxiliaryStream + static_cast<uint64_t>(step)).permutation(n);
  order.resize(static_cast<size_t>(count));
  return order;
}

Tensor joined_rows(const Tensor& first, const Tensor& second) {
  std::vector<int64_t> extents = first.shape().to_vector();
  const int64_t split = extents[0];
  extents[0] += second.shape()[0];
  Tensor all(first.view().device(), first.dtype(), Shape(extents), "minibatch", first.layout());
  copy(first, all.view().rows(0, split));
  copy(second, all.view().rows(split, extents[0]));
  return all;
}

double weighted_total(const Tensor& losses, const std::vector<float>& weights) {
  const Tensor rows = clone_to(losses, host());
  double sum = 0;
  for (int64_t i = 0; i < rows.numel(); ++i) {
    const double weight = weights[static_cast<size_t>(i)];
    if (weight != 0) sum += weight * rows.data<float>()[i];
  }
  return sum;
}

bool all_finite(const ConstTensorView& view) {
  const Tensor here = clone_to(view, host());
  const int64_t count = stored_numel(here.shape(), here.layout());
  const auto* x = static_cast<const float*>(here.view().raw());
  return std::all_of(x, x + count, [](float value) { return std::isfinite(value); });
}

std::string name_of_snapshot(size_t index, const std::string& name) {
  return text("snapshot.", index, "/", name);
}

}  // namespace

void check_adaptation(const AdaptationOptions& options) {
  PANDA_CHECK(!options.blocks.empty(), "no block is to be trained, expected some of 1 to 4");
  PANDA_CHECK(options.minibatches >= 0, options.minibatches, " minibatches, expected at least 0");
  PANDA_CHECK(options.batch_size >= 1, "a batch of ", options.batch_size, " images, expected at least 1");
  PANDA_CHECK(options.rate > 0, "a rate of ", options.rate, ", expected above 0");
  PANDA_CHECK(options.snapshot_every >= 0, "a snapshot every ", options.snapshot_every, " minibatches");
}

TensorView put_rows(Device& device, const ConstTensorView& rows, Tensor& memory) {
  const int64_t count = rows.shape()[0];
  if (!memory.present() || memory.shape()[0] < count)
    memory = Tensor(device, rows.dtype(), rows.shape(), "minibatch");
  const TensorView place = memory.view().rows(0, count);
  copy(rows, place);
  return place;
}

int64_t minibatches_per_epoch(int64_t n, int64_t batch_size) {
  return (n + batch_size - 1) / batch_size;
}

std::map<std::string, Tensor> trained_values(nn::TrainableResnet& network) {
  std::map<std::string, Tensor> values;
  for (const Parameter* parameter : network.parameters().trainable())
    values.emplace(parameter->name, clone_to(parameter->value, host(), "parameters"));
  return values;
}

void set_trained_values(nn::TrainableResnet& network, const std::map<std::string, Tensor>& values) {
  const std::vector<Parameter*> parameters = network.parameters().trainable();
  PANDA_CHECK(values.size() == parameters.size(), "values of ", values.size(), " parameters, expected ",
              parameters.size());
  for (Parameter* parameter : parameters) {
    const auto found = values.find(parameter->name);
    PANDA_CHECK(found != values.end(), "no values for ", parameter->name);
    PANDA_CHECK(found->second.shape() == parameter->value.shape() &&
                    found->second.dtype() == parameter->value.dtype(),
                parameter->name, " is ", found->second.view().to_string(), ", expected ",
                parameter->value.view().to_string());
    copy(found->second, parameter->value);
    parameter->changed();
  }
}

Adaptation::Adaptation(nn::TrainableResnet& network, const TrunkFeatures& trunk, std::vector<int64_t> normal,
                       AdaptationObjective& objective, const AdaptationOptions& options)
    : network_(&network),
      trunk_(&trunk),
      normal_(std::move(normal)),
      objective_(&objective),
      options_(options),
      sgd_(network.parameters(), options.sgd),
      log_(objective.terms()),
      workspace_(network.device()),
      gradients_(network.device(), options.record),
      update_(network.device(), options.record) {
  check_adaptation(options);
  PANDA_CHECK(!normal_.empty(), "no images to adapt to");
}

void Adaptation::set_auxiliary(const TrunkFeatures& trunk, AuxiliaryDraw draw) {
  auxiliary_ = {&trunk, draw, std::min(options_.batch_size, trunk.size())};
  forget_steps();
}

void Adaptation::set_penalty(nn::EwcPenalty penalty) {
  sgd_.set_penalty(std::move(penalty));
  forget_steps();
}

void Adaptation::forget_steps() {
  gradients_.forget();
  update_.forget();
  rows_ = Tensor();
  terms_ = {};
}

Minibatch Adaptation::draw_minibatch(int64_t step) const {
  Minibatch minibatch;
  const auto n = static_cast<int64_t>(normal_.size());
  for (const int64_t position : epoch_batch(n, options_.batch_size, step, options_.seed, kNormalStream))
    minibatch.normal.push_back(normal_[static_cast<size_t>(position)]);
  minibatch.rows = trunk_->rows(minibatch.normal);
  if (auxiliary_.trunk == nullptr) return minibatch;
  const int64_t others = auxiliary_.trunk->size();
  minibatch.auxiliary = auxiliary_.draw == AuxiliaryDraw::kFresh
                            ? fresh_draw(others, auxiliary_.count, step, options_.seed)
                            : epoch_batch(others, options_.batch_size, step, options_.seed, kAuxiliaryStream);
  minibatch.rows = joined_rows(minibatch.rows, auxiliary_.trunk->rows(minibatch.auxiliary));
  return minibatch;
}

std::vector<LossTerm> Adaptation::forward(Tape& tape, const Minibatch& minibatch) {
  const Variable features = trained_features(*network_, tape, tape.constant(minibatch.rows));
  return objective_->losses(tape, features, minibatch);
}

namespace {

/// The backward pass from every term; in a dry run without seeds.
void undo(Tape& tape, const std::vector<LossTerm>& terms, const std::vector<Tensor>& seeds) {
  std::vector<autograd::Root> roots;
  for (size_t i = 0; i < terms.size(); ++i)
    roots.push_back({terms[i].losses, 1, seeds.empty() ? ConstTensorView() : ConstTensorView(seeds[i])});
  tape.backward(roots);
}

}  // namespace

void Adaptation::plan(const Minibatch& minibatch) {
  const auto whole = std::min(options_.batch_size, static_cast<int64_t>(normal_.size())) + auxiliary_.count;
  if (workspace_.planned() || minibatch.size() != whole) return;
  planned_rows_ = whole;
  autograd::plan_step(workspace_, [&](Tape& tape) { undo(tape, forward(tape, minibatch), {}); });
}

/// Losses, gradients and their norm, all on the device; no parameter is touched.
void Adaptation::compute(Workspace& workspace, const Minibatch& minibatch, StepTerms& terms) {
  Device& device = network_->device();
  Tape tape(workspace);
  const std::vector<LossTerm> made = forward(tape, minibatch);
  for (size_t i = 0; i < made.size(); ++i) {
    const std::vector<float>& weights = made[i].weights;
    if (i == terms.losses.size()) {
      const auto count = static_cast<int64_t>(weights.size());
      terms.losses.emplace_back(device, DType::kF32, Shape{count}, "losses");
      terms.seeds.push_back(clone_to(Tensor::from<float>({count}, weights.data()), device, "loss weights"));
      terms.weights.push_back(weights);
    }
    copy(made[i].losses.view(), terms.losses[i]);
  }
  undo(tape, made, terms.seeds);
  sgd_.measure();
}

/// The same from where a recording finds the rows.
void Adaptation::compute_whole(Minibatch& minibatch) {
  if (network_->device().records()) {
    if (rows_.present()) {
      copy(minibatch.rows, rows_);
    } else {
      rows_ = minibatch.rows;
    }
    minibatch.rows = rows_;
    // Packed filters are part of the work, also where another pass has made those of this step already.
    network_->parameters().changed();
  }
  gradients_.run([&] { compute(workspace_, minibatch, terms_); });
}

void Adaptation::update() {
  const auto apply = [&] { sgd_.apply(options_.rate); };
  if (steps() == 0) {
    apply();  // without velocities: another work than that of the other steps
  } else {
    update_.run(apply);
  }
  sgd_.advance();
}

void Adaptation::step() {
  Minibatch minibatch = draw_minibatch(steps());
  objective_->begin(network_->device(), minibatch);
  plan(minibatch);
  const bool whole = minibatch.size() == planned_rows_;
  StepTerms odd;
  if (whole) {
    compute_whole(minibatch);
  } else {
    Workspace workspace(network_->device());
    compute(workspace, minibatch, odd);
  }
  const StepTerms& terms = whole ? terms_ : odd;
  LogRow row;
  row.minibatch = steps() + 1;
  row.loss = 0;
  for (size_t i = 0; i < terms.losses.size(); ++i) {
    row.terms.push_back(weighted_total(terms.losses[i], terms.weights[i]));
    row.loss += row.terms.back();
  }
  if (!std::isfinite(row.loss)) refuse_loss(minibatch, row.loss);
  const nn::StepReport report = sgd_.report();
  update();
  row.penalty = report.penalty;
  row.loss += report.penalty;
  row.gradient_norm = report.gradient_norm;
  log_.add(std::move(row));
  if (options_.snapshot_every > 0 && steps() % options_.snapshot_every == 0)
    snapshots_.push_back(trained_values(*network_));
}

std::string Adaptation::file_of(const Minibatch& minibatch, int64_t row) const {
  const auto split = static_cast<int64_t>(minibatch.normal.size());
  return row < split ? trunk_->file(minibatch.normal[static_cast<size_t>(row)])
                     : auxiliary_.trunk->file(minibatch.auxiliary[static_cast<size_t>(row - split)]);
}

void Adaptation::refuse_loss(const Minibatch& minibatch, double loss) {
  const std::string what = text("the loss is ", loss, " at minibatch ", steps() + 1);
  for (int64_t row = 0; row < minibatch.size(); ++row) {
    Workspace workspace(network_->device());
    Tape tape(workspace);
    Variable x = tape.constant(minibatch.rows.view().rows(row, row + 1));
    const std::string file = file_of(minibatch, row);
    PANDA_CHECK(all_finite(x.view()), file, ": ", what, ": what the frozen layers give is not finite");
    int stage = network_->first_trainable_stage();
    if (stage == 0) {
      x = network_->stem(tape, x);
      PANDA_CHECK(all_finite(x.view()), file, ": ", what, ": what the stem gives is not finite");
      stage = 1;
    }
    for (; stage <= nn::kResnetStages; ++stage) {
      x = network_->stages(tape, x, stage, stage);
      PANDA_CHECK(all_finite(x.view()), file, ": ", what, ": what layer", stage, " gives is not finite");
    }
  }
  throw InvalidArgument(text(what, ", though all features are finite: a smaller --lr may help"));
}

std::map<std::string, Tensor> Adaptation::state() const {
  std::map<std::string, Tensor> state;
  for (auto& [name, value] : trained_values(*network_)) state.emplace("parameter/" + name, value);
  for (auto& [name, value] : sgd_.state()) state.emplace("velocity/" + name, value);
  for (size_t i = 0; i < snapshots_.size(); ++i) {
    for (const auto& [name, value] : snapshots_[i]) state.emplace(name_of_snapshot(i, name), value);
  }
  state.emplace("log", log_.as_tensor());
  return state;
}

void Adaptation::restore(int64_t steps, const std::map<std::string, Tensor>& state) {
  const auto log = state.find("log");
  PANDA_CHECK(log != state.end(), "the state has no log");
  std::vector<std::map<std::string, Tensor>> snapshots;
  for (size_t i = 0;; ++i) {
    std::map<std::string, Tensor> snapshot = part_of(state, name_of_snapshot(i, ""));
    if (snapshot.empty()) break;
    snapshots.push_back(std::move(snapshot));
  }
  const int64_t expected = options_.snapshot_every > 0 ? steps / options_.snapshot_every : 0;
  PANDA_CHECK(static_cast<int64_t>(snapshots.size()) == expected, "a state of ", snapshots.size(),
              " snapshots after ", steps, " minibatches, expected ", expected);
  // Setting them checks them; the last one set stays.
  for (const std::map<std::string, Tensor>& snapshot : snapshots) set_trained_values(*network_, snapshot);
  set_trained_values(*network_, part_of(state, "parameter/"));
  sgd_.restore(steps, part_of(state, "velocity/"));
  log_.restore(log->second);
  snapshots_ = std::move(snapshots);
  forget_steps();  // velocities may lie elsewhere now
}

}  // namespace panda::anomaly
