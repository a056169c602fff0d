#include "anomaly/fisher_diagonal.h"

#include <algorithm>
#include <cmath>

#include "autograd/functions/loss.h"
#include "kernels/loss.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/parallel.h"
#include "kernels/tensor/random.h"
#include "nn/init.h"

namespace panda::anomaly {

using autograd::Parameter;

const char* fisher_definition_name(FisherDefinition definition) {
  switch (definition) {
    case FisherDefinition::kPerSample:
      return "per-sample";
    case FisherDefinition::kPerBatch:
      return "per-batch";
    case FisherDefinition::kUniform:
      break;
  }
  return "uniform";
}

const char* fisher_labels_name(FisherLabels labels) {
  return labels == FisherLabels::kTrue ? "true" : "sampled";
}

FisherDiagonal::FisherDiagonal(nn::TrainableResnet& network, const LabelledData& data,
                               const FisherOptions& options)
    : net_(network), data_(data), options_(options), workspace_(network.device()) {
  const int64_t classes = network.config().class_count;
  PANDA_CHECK(network.mode() == nn::BatchNormMode::kEvaluation,
              "fisher: the batch norms use the batch's "
              "statistics, expected evaluation mode");
  PANDA_CHECK(classes > 0, "fisher: the network has no fully connected layer (fc.weight), expected one");
  PANDA_CHECK(options.batches >= 1 && options.batch_size >= 1, "fisher: ", options.batches, " batches of ",
              options.batch_size, ", expected at least one of one");
  const auto folders = static_cast<int64_t>(data.class_names.size());
  PANDA_CHECK(options.labels == FisherLabels::kSampled || folders == classes, "fisher: the network has ",
              classes, " classes but the data has ", folders,
              " class folders, expected one per class in the network's order (sampled labels need none)");
  options.transform.check();
  net_.train_stages(options.stages, options.head);
  net_.parameters().set_squares(options.definition == FisherDefinition::kPerSample);
  for (const Parameter* parameter : net_.parameters().trainable()) {
    Tensor sum(host(), DType::kF64, parameter->value.shape(), "fisher");
    std::fill_n(sum.data<double>(), sum.numel(), 0.0);
    sums_.emplace(parameter->name, std::move(sum));
  }
  PANDA_CHECK(!sums_.empty(), "fisher: no layers chosen");
}

int64_t FisherDiagonal::wanted() const {
  return options_.definition == FisherDefinition::kUniform ? 0 : options_.batches;
}

std::vector<int64_t> FisherDiagonal::batch_indices() const {
  const int64_t n = data_.train->size();
  std::vector<int64_t> indices;
  std::vector<int64_t> order;
  int64_t round = -1;
  for (int64_t i = done_ * options_.batch_size; i < (done_ + 1) * options_.batch_size; ++i) {
    if (i / n != round) {
      round = i / n;
      order = Random(options_.seed, nn::stream_of_name(text("fisher order ", round))).permutation(n);
    }
    indices.push_back(order[static_cast<size_t>(i % n)]);
  }
  return indices;
}

void FisherDiagonal::draw_labels(const autograd::Variable& logits, const Tensor& labels) const {
  const Tensor rows = clone_to(logits.view(), host());
  const int64_t classes = rows.shape()[1];
  Tensor drawn(host(), DType::kI64, labels.shape(), "labels");
  std::vector<double> weights(static_cast<size_t>(classes));
  for (int64_t i = 0; i < rows.shape()[0]; ++i) {
    const float* row = rows.data<float>() + i * classes;
    const double largest = *std::max_element(row, row + classes);
    double sum = 0;
    for (int64_t c = 0; c < classes; ++c)
      sum += weights[static_cast<size_t>(c)] = std::exp(static_cast<double>(row[c]) - largest);
    Random random(options_.seed, nn::stream_of_name(text("fisher label ", done_ * options_.batch_size + i)));
    double left = random.next_uniform() * sum;
    int64_t label = 0;
    while (label + 1 < classes && left >= weights[static_cast<size_t>(label)])
      left -= weights[static_cast<size_t>(label++)];
    drawn.data<int64_t>()[i] = label;
  }
  copy(drawn, labels.view());
}

void FisherDiagonal::check_losses(const autograd::Variable& losses,
                                  const std::vector<int64_t>& indices) const {
  const Tensor rows = clone_to(losses.view(), host());
  for (size_t i = 0; i < indices.size(); ++i) {
    PANDA_CHECK(std::isfinite(rows.data<float>()[i]), printable(data_.train->sample(indices[i]).file),
                ": the loss of this image is ", rows.data<float>()[i], ", expected a finite number");
  }
}

void FisherDiagonal::add_squares() {
  Device& device = net_.device();
  for (Parameter* parameter : net_.parameters().trainable()) {
    double* sum = sums_.at(parameter->name).data<double>();
    const bool per_sample = options_.definition == FisherDefinition::kPerSample;
    const Tensor term = clone_to(per_sample ? parameter->squares : parameter->gradient, host());
    const float* x = term.data<float>();
    for (int64_t i = 0; i < term.numel(); ++i)
      sum[i] += per_sample ? double{x[i]} : double{x[i]} * double{x[i]};
    if (per_sample) device.fill(parameter->squares.raw(), 0, term.bytes());
  }
}

void FisherDiagonal::run_batch() {
  PANDA_CHECK(!finished(), "fisher: all ", wanted(), " batches are done");
  const std::vector<int64_t> indices = batch_indices();
  const int64_t crop = options_.transform.crop;
  Tensor images(host(), DType::kF32, {options_.batch_size, 3, crop, crop}, "batch");
  net_.device().threads().parallel_for(options_.batch_size, [&](int64_t i, int) {
    options_.transform.apply(data_.train->load(indices[static_cast<size_t>(i)]),
                             images.data<float>() + i * 3 * crop * crop);
  });
  const Tensor x = clone_to(images, net_.device());
  const Tensor labels =
      kernels::upload_labels(net_.device(), labels_of(*data_.train, indices), net_.config().class_count);
  const double scale = options_.definition == FisherDefinition::kPerBatch
                           ? 1.0 / static_cast<double>(options_.batch_size)
                           : 1.0;
  const auto pass = [&](autograd::Tape& tape) {
    const autograd::Variable logits = net_.logits(tape, net_.features(tape, tape.constant(x)));
    if (!tape.dry_run() && options_.labels == FisherLabels::kSampled) draw_labels(logits, labels);
    const autograd::Variable losses = autograd::softmax_cross_entropy(logits, labels, scale);
    if (!tape.dry_run()) check_losses(losses, indices);
    tape.backward({{losses}});
  };
  if (!workspace_.planned()) autograd::plan_step(workspace_, pass);
  {
    autograd::Tape tape(workspace_);
    pass(tape);
  }
  add_squares();
  ++done_;
}

std::map<std::string, Tensor> FisherDiagonal::result() const {
  const bool per_sample = options_.definition == FisherDefinition::kPerSample;
  const auto terms = static_cast<double>(per_sample ? done_ * options_.batch_size : done_);
  std::map<std::string, Tensor> diagonal;
  for (const auto& [name, sum] : sums_) {
    Tensor values(host(), DType::kF32, sum.shape(), "fisher");
    for (int64_t i = 0; i < sum.numel(); ++i)
      values.data<float>()[i] = options_.definition == FisherDefinition::kUniform
                                    ? 1.0f
                                    : static_cast<float>(sum.data<double>()[i] / terms);
    diagonal.emplace(name, std::move(values));
  }
  return diagonal;
}

void FisherDiagonal::write(const std::string& path, const weights::Metadata& further) const {
  weights::Metadata metadata = further;
  metadata["format"] = kFisherFormat;
  metadata["arch"] = net_.config().arch;
  metadata["definition"] = fisher_definition_name(options_.definition);
  metadata["labels"] = fisher_labels_name(options_.labels);
  metadata["batches"] = text(done_);
  metadata["batch_size"] = text(options_.batch_size);
  metadata["samples"] = text(done_ * options_.batch_size);
  const std::map<std::string, Tensor> diagonal = result();
  std::vector<weights::NamedView> views;
  for (const auto& [name, tensor] : diagonal) views.push_back({name, tensor});
  weights::write_safetensors(path, views, metadata);
}

weights::Metadata FisherDiagonal::fields() const {
  std::string stages;
  for (const int stage : options_.stages) stages += text(stages.empty() ? "" : ",", stage);
  return {{"method", "fisher"},
          {"definition", fisher_definition_name(options_.definition)},
          {"labels", fisher_labels_name(options_.labels)},
          {"batches", text(options_.batches)},
          {"batch_size", text(options_.batch_size)},
          {"stages", stages},
          {"head", options_.head ? "1" : "0"},
          {"resize", text(options_.transform.resize)},
          {"crop", text(options_.transform.crop)},
          {"seed", text(options_.seed)}};
}

void FisherDiagonal::restore(int64_t steps, const TrainingState& state) {
  PANDA_CHECK(steps <= wanted(), steps, " batches are done, expected at most ", wanted());
  PANDA_CHECK(state.size() == sums_.size(), "sums of ", state.size(), " parameters, expected ", sums_.size());
  for (const auto& [name, sum] : sums_) {
    const auto found = state.find(name);
    PANDA_CHECK(found != state.end(), "no sum for ", name);
    PANDA_CHECK(found->second.dtype() == DType::kF64 && found->second.shape() == sum.shape(), name, " is ",
                found->second.view().to_string(), ", expected ", sum.view().to_string());
  }
  sums_ = state;
  done_ = steps;
}

}  // namespace panda::anomaly
