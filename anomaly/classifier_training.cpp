#include "anomaly/classifier_training.h"

#include <algorithm>
#include <cmath>

#include "anomaly/fitted_model.h"
#include "autograd/functions/loss.h"
#include "data/loader.h"
#include "kernels/loss.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/parallel.h"
#include "nn/init.h"
#include "nn/resnet.h"
#include "weights/tensor_values.h"

namespace panda::anomaly {

namespace {

constexpr const char* kNetwork = "network/";
constexpr const char* kVelocity = "velocity/";

constexpr int64_t kEpochNumbers = 5;
/// A row per epoch: epoch, rate, loss, gradient norm, top-1 (-1: none).
Tensor epochs_tensor(const std::vector<EpochReport>& epochs) {
  Tensor rows(host(), DType::kF64, {static_cast<int64_t>(epochs.size()), kEpochNumbers}, "epochs");
  auto* out = rows.data<double>();
  for (const EpochReport& e : epochs) {
    for (const double value :
         {static_cast<double>(e.epoch), e.rate, e.loss, e.gradient_norm, e.top1.value_or(-1)})
      *out++ = value;
  }
  return rows;
}

}  // namespace

std::string epochs_csv(const std::vector<EpochReport>& epochs) {
  std::string csv = "epoch,rate,loss,gradient_norm,top1\n";
  for (const EpochReport& e : epochs)
    csv += text(e.epoch, ",", field_text(e.rate), ",", field_text(e.loss), ",", field_text(e.gradient_norm),
                ",", e.top1 ? field_text(*e.top1) : "", "\n");
  return csv;
}

double top1_of(Device& device, const NamedTensors& weights, const data::ImageSet& images, int64_t size,
               Progress* progress) {
  nn::Resnet network(device, nn::detect_resnet(weights), weights);
  data::ImageTransform transform;
  transform.resize = transform.crop = size;
  data::LoaderOptions loading;
  loading.batch_size = 64;
  loading.threads = 1;
  data::BatchLoader loader(images, transform, loading);
  nn::ResnetRequest request;
  request.logits = true;
  int64_t right = 0;
  int64_t done = 0;
  while (const std::optional<data::Batch> batch = loader.next()) {
    const Tensor logits = clone_to(network.forward(batch->images, request).logits, host());
    const int64_t classes = logits.shape()[1];
    for (size_t i = 0; i < batch->indices.size(); ++i) {
      const float* row = logits.data<float>() + static_cast<int64_t>(i) * classes;
      right += std::max_element(row, row + classes) - row == images.sample(batch->indices[i]).class_index;
    }
    done += static_cast<int64_t>(batch->indices.size());
    report_progress(progress, "evaluating", done, images.size());
  }
  return static_cast<double>(right) / static_cast<double>(images.size());
}

ClassifierTraining::ClassifierTraining(Device& device, const nn::ResnetConfig& config,
                                       const NamedTensors& start, const LabelledData& data,
                                       const ClassifierOptions& options)
    : device_(device),
      data_(data),
      options_(options),
      net_(device, config, start, nn::BatchNormMode::kBatchStatistics),
      workspace_(device) {
  options.augmentation.check();
  PANDA_CHECK(config.class_count == static_cast<int64_t>(data.class_names.size()), "training: a network of ",
              config.class_count, " classes, but the data has ", data.class_names.size());
  PANDA_CHECK(options.batch_size >= 2 && options.batch_size <= data.train->size(), "training: batch size ",
              options.batch_size, " with ", data.train->size(),
              " training images, expected at least 2 and at most all of them");
  PANDA_CHECK(options.epochs >= 1 && options.warm_up_epochs >= 0 &&
                  options.warm_up_epochs < static_cast<double>(options.epochs),
              "training: ", options.epochs, " epochs with ", options.warm_up_epochs,
              " of warm-up, expected more epochs than that");
  net_.train_stages({0, 1, 2, 3, 4}, true);
  sgd_.emplace(net_.parameters(), nn::SgdOptions{.momentum = options.momentum, .decay = options.decay});
}

Tensor ClassifierTraining::load_batch(int64_t epoch, const std::vector<int64_t>& indices) const {
  const int64_t size = options_.augmentation.size;
  const auto count = static_cast<int64_t>(indices.size());
  Tensor images(host(), DType::kF32, {count, 3, size, size}, "batch");
  device_.threads().parallel_for(count, [&](int64_t i, int) {
    const int64_t index = indices[static_cast<size_t>(i)];
    Random random(options_.seed, nn::stream_of_name(text("augmentation ", epoch, " ", index)));
    data::augment(options_.augmentation, data_.train->load(index), random,
                  images.data<float>() + i * 3 * size * size);
  });
  return images;
}

std::string ClassifierTraining::batch_text(const std::vector<int64_t>& indices) const {
  constexpr size_t kNamed = 3;
  std::string names;
  for (size_t i = 0; i < std::min(kNamed, indices.size()); ++i)
    names += text(i == 0 ? "" : ", ", printable(data_.train->sample(indices[i]).file));
  return indices.size() > kNamed ? text(names, " and ", indices.size() - kNamed, " more") : names;
}

double ClassifierTraining::run_step(const std::vector<int64_t>& indices, const Tensor& images) {
  const Tensor x = clone_to(images, device_);
  const Tensor labels =
      kernels::upload_labels(device_, labels_of(*data_.train, indices), net_.config().class_count);
  const double scale = 1.0 / static_cast<double>(indices.size());
  double loss = 0;
  const auto pass = [&](autograd::Tape& tape) {
    const autograd::Variable logits = net_.logits(tape, net_.features(tape, tape.constant(x)));
    const autograd::Variable losses =
        autograd::softmax_cross_entropy(logits, labels, scale, options_.smoothing);
    if (!tape.dry_run()) {
      loss = autograd::total(losses);
      PANDA_CHECK(std::isfinite(loss), "training: step ", sgd_->steps() + 1, ": the loss is ", loss,
                  " (images ", batch_text(indices), "); a lower --lr may help");
    }
    tape.backward({{losses}});
  };
  if (!workspace_.planned()) autograd::plan_step(workspace_, pass);
  autograd::Tape tape(workspace_);
  pass(tape);
  return loss;
}

const EpochReport& ClassifierTraining::run_epoch(Progress* progress) {
  PANDA_CHECK(!finished(), "training: all ", options_.epochs, " epochs are done");
  const auto epoch = static_cast<int64_t>(epochs_.size());
  const int64_t steps = steps_per_epoch();
  const int64_t total = steps * options_.epochs;
  const auto warm_up = static_cast<int64_t>(options_.warm_up_epochs * static_cast<double>(steps));
  const std::vector<int64_t> order =
      Random(options_.seed, nn::stream_of_name(text("order ", epoch))).permutation(data_.train->size());
  EpochReport report;
  report.epoch = epoch + 1;
  for (int64_t step = 0; step < steps; ++step) {
    const auto first = order.begin() + step * options_.batch_size;
    const std::vector<int64_t> indices(first, first + options_.batch_size);
    report.loss += run_step(indices, load_batch(epoch, indices));
    report.rate = nn::cosine_rate(options_.rate, 0, epoch * steps + step, total, warm_up);
    report.gradient_norm += sgd_->step(report.rate).gradient_norm;
    report_progress(progress, "training", epoch * steps + step + 1, total);
  }
  report.loss /= static_cast<double>(steps);
  report.gradient_norm /= static_cast<double>(steps);
  if (data_.val != nullptr)
    report.top1 = top1_of(device_, net_, *data_.val, options_.augmentation.size, nullptr);
  epochs_.push_back(report);
  return epochs_.back();
}

weights::Metadata ClassifierTraining::fields() const {
  const ClassifierOptions& o = options_;
  return {{"method", "pretrain"},
          {"network", nn::describe(net_.config())},
          {"epochs", text(o.epochs)},
          {"batch_size", text(o.batch_size)},
          {"image_size", text(o.augmentation.size)},
          {"smallest_crop", field_text(o.augmentation.smallest_area)},
          {"flip", o.augmentation.flip ? "1" : "0"},
          {"lr", field_text(o.rate)},
          {"warm_up", field_text(o.warm_up_epochs)},
          {"momentum", field_text(o.momentum)},
          {"weight_decay", field_text(o.decay)},
          {"label_smoothing", field_text(o.smoothing)},
          {"seed", text(o.seed)}};
}

TrainingState ClassifierTraining::state() const {
  TrainingState state;
  for (const TensorInfo& info : net_.list()) state.emplace(kNetwork + info.name, net_.load(info.name));
  for (const auto& [name, velocity] : sgd_->state())
    state.emplace(kVelocity + name, clone_to(velocity, host()));
  state.emplace("epochs", epochs_tensor(epochs_));
  return state;
}

void ClassifierTraining::restore(int64_t steps, const TrainingState& state) {
  const auto found = state.find("epochs");
  PANDA_CHECK(found != state.end(), "there are no epochs");
  const Tensor& rows = found->second;
  PANDA_CHECK(rows.dtype() == DType::kF64 && rows.shape().rank() == 2 && rows.shape()[1] == kEpochNumbers &&
                  rows.shape()[0] <= options_.epochs && steps == rows.shape()[0] * steps_per_epoch(),
              "epochs are ", rows.view().to_string(), " after ", steps, " steps, expected f64 ",
              steps / steps_per_epoch(), "x", kEpochNumbers);
  TensorBundle network("the checkpoint");
  for (const auto& [name, tensor] : part_of(state, kNetwork)) network.add(name, tensor);
  net_ = nn::TrainableResnet(device_, net_.config(), network, nn::BatchNormMode::kBatchStatistics);
  net_.train_stages({0, 1, 2, 3, 4}, true);
  sgd_.emplace(net_.parameters(), nn::SgdOptions{.momentum = options_.momentum, .decay = options_.decay});
  sgd_->restore(steps, part_of(state, kVelocity));
  epochs_.clear();
  for (int64_t i = 0; i < rows.shape()[0]; ++i) {
    const double* row = rows.data<double>() + i * kEpochNumbers;
    epochs_.push_back({static_cast<int64_t>(row[0]), row[1], row[2], row[3],
                       row[4] < 0 ? std::nullopt : std::optional<double>(row[4])});
  }
}

void write_network(const std::string& path, const NamedTensors& network, DType dtype,
                   const weights::Metadata& metadata) {
  std::vector<TensorInfo> infos = network.list();
  for (TensorInfo& info : infos) info.dtype = dtype;
  weights::SafetensorsWriter writer(path, std::move(infos), metadata);
  for (const TensorInfo& info : writer.order())
    writer.write(weights::to_dtype(network.load(info.name), dtype, info.name));
  writer.commit();
}

}  // namespace panda::anomaly
