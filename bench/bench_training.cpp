// Training steps of one network on one device, run on demand: the half of bench/peers/training_torch.py and
// training_cuda_torch.py that is ours.
//   bench_training [--device=cpu] [--precision=f32] [--engine=native] weights.safetensors
//     input FILE.npy   f32 N,3,H,W, dense; it is put where the device reads it
//     run MODE         one step, waited for; answers with its seconds, processor
//                      seconds, loss and planned bytes
//     runs MODE N      N steps and one wait; answers with the seconds of all
//     calls MODE N     the same without recording: where the device records, the
//                      others replay from the third step on
//     write FILE.npy   the gradient of layer4.0.conv1.weight of the last step,
//                      before clipping
//     memory now       resident bytes now and at most so far
//     memory device    the plan's peak bytes, the device's own peak and reserved
// MODE is
//     plain      forward, backward and SGD of the whole network, batch norms in
//                evaluation mode
//     step       PANDA's step: layer3 and layer4 trained, compactness loss,
//                clipped SGD with EWC; what layer2 gives was computed once
//     pretrain   a step of training from scratch: batch statistics,
//                cross-entropy of labels n mod classes, SGD
// Every command is answered by one line; the first line describes the device.
#include <fstream>
#include <optional>
#include <string>

#include "autograd/functions/loss.h"
#include "bench/server.h"
#include "kernels/tensor/repeated_work.h"
#include "nn/optimizer.h"
#include "nn/trainable_resnet.h"
#include "weights/npy.h"
#include "weights/weights_file.h"

namespace panda {
namespace {

using bench::answer;
using bench::Clocks;

/// A line of /proc/self/status, in bytes.
int64_t status_bytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind(field + ":", 0) == 0) return std::stoll(line.substr(field.size() + 1)) * 1024;
  }
  throw InvalidArgument(text("bench_training: /proc/self/status has no ", field));
}

enum class Mode { kPlain, kStep, kPretrain };

Mode mode_of(const std::string& name) {
  if (name == "plain") return Mode::kPlain;
  if (name == "step") return Mode::kStep;
  if (name == "pretrain") return Mode::kPretrain;
  throw InvalidArgument(text("bench_training: unknown mode '", printable(name), "'"));
}

/// One network in one mode, with its planned memory.
class Training {
 public:
  Training(Device& device, const NamedTensors& weights, const Tensor& images, Mode mode, bool record)
      : net_(device, nn::detect_resnet(weights), weights,
             mode == Mode::kPretrain ? nn::BatchNormMode::kBatchStatistics : nn::BatchNormMode::kEvaluation),
        workspace_(device),
        images_(device.host_accessible() ? images : clone_to(images, device, "images")),
        mode_(mode),
        gradients_(device, record),
        update_(device, record),
        losses_(device, DType::kF32, {images.shape()[0]}, "losses"),
        center_(device, DType::kF32, {net_.config().feature_channels()}, "center") {
    device.fill(center_.view().raw(), 0, center_.bytes());
    if (mode == Mode::kStep) {
      net_.train_stages({3, 4}, false);
      autograd::Workspace once(device);
      autograd::Tape tape(once);
      const autograd::Variable trunk = net_.stages(tape, net_.stem(tape, tape.constant(images_)), 1, 2);
      trunk_ = clone_to(trunk.view(), device);
      sgd_.emplace(net_.parameters(), nn::SgdOptions{.momentum = 0.9, .decay = 5e-5, .max_norm = 1e-3});
      sgd_->set_penalty({.strength = 1e4, .anchor = nn::anchor_of(net_.parameters()), .importance = {}});
    } else {
      net_.train_stages({0, 1, 2, 3, 4}, mode == Mode::kPretrain);
      sgd_.emplace(net_.parameters(), nn::SgdOptions{.momentum = 0.9, .decay = 5e-5});
    }
    if (mode == Mode::kPretrain) {
      Tensor labels(host(), DType::kI64, {images_.shape()[0]}, "labels");
      for (int64_t n = 0; n < labels.numel(); ++n) labels.data<int64_t>()[n] = n % net_.config().class_count;
      labels_ = clone_to(labels, device);
    }
    const std::vector<float> ones(static_cast<size_t>(losses_.numel()), 1.0F);
    seed_ = clone_to(Tensor::from<float>(losses_.shape(), ones.data()), device);
    plan_step(workspace_, [&](autograd::Tape& tape) { pass(tape); });
  }

  /// One step, as anomaly/adaptation.h makes it.
  double run() {
    if (net_.device().records()) net_.parameters().changed();
    gradients_.run([&] {
      autograd::Tape tape(workspace_);
      pass(tape);
      sgd_->measure();
    });
    const double loss = autograd::total(losses_);
    (void)sgd_->report();
    const auto apply = [&] { sgd_->apply(1e-2); };
    if (sgd_->steps() == 0) {
      apply();
    } else {
      update_.run(apply);
    }
    sgd_->advance();
    return loss;
  }
  [[nodiscard]] Tensor gradient() {
    return clone_to(net_.parameters().at("layer4.0.conv1.weight").gradient, host());
  }
  [[nodiscard]] int64_t peak_bytes() const { return workspace_.peak_bytes(); }

 private:
  autograd::Variable losses(autograd::Tape& tape) {
    const autograd::Variable features = mode_ == Mode::kStep
                                            ? net_.pooled(net_.stages(tape, tape.constant(trunk_), 3, 4))
                                            : net_.features(tape, tape.constant(images_));
    if (mode_ == Mode::kPretrain) {
      return softmax_cross_entropy(net_.logits(tape, features), labels_,
                                   1.0 / static_cast<double>(features.shape()[0]));
    }
    return compactness(features, center_, 1.0 / static_cast<double>(features.shape().numel()));
  }
  void pass(autograd::Tape& tape) {
    const autograd::Variable rows = losses(tape);
    if (!tape.dry_run()) copy(rows.view(), losses_);
    tape.backward({{rows, 1, seed_}});
  }

  nn::TrainableResnet net_;
  autograd::Workspace workspace_;
  Tensor images_;
  Mode mode_;
  RepeatedWork gradients_;
  RepeatedWork update_;
  Tensor losses_;
  Tensor seed_;
  Tensor center_;
  Tensor labels_;
  Tensor trunk_;
  std::optional<nn::Sgd> sgd_;
};

class Server {
 public:
  explicit Server(const bench::NetworkOptions& options)
      : device_(kernels::make_device(options.device)), weights_(weights::open_weights(options.weights)) {
    bench::describe(*device_);
  }

  void serve() {
    std::string command;
    std::string argument;
    while (std::cin >> command >> argument) {
      int count = 1;
      if (command == "input") {
        images_ = weights::read_npy(argument);
        training_.reset();
        answer("ok");
      } else if (command == "run") {
        const Clocks taken = timed(argument, 1, true);
        answer(text(taken.wall, " ", taken.processor, " ", loss_, " ", training_->peak_bytes()));
      } else if ((command == "runs" || command == "calls") && std::cin >> count) {
        answer(text(timed(argument, count, command == "runs").wall));
      } else if (command == "memory" && argument == "device") {
        const MemoryReport report = device_->memory_report();
        answer(text(training_ == nullptr ? 0 : training_->peak_bytes(), " ", report.peak_bytes, " ",
                    report.reserved_bytes));
      } else if (command == "memory" && argument == "now") {
        answer(text(status_bytes("VmRSS"), " ", status_bytes("VmHWM")));
      } else if (command == "write" && training_ != nullptr) {
        weights::write_npy(argument, training_->gradient());
        answer("ok");
      } else {
        throw InvalidArgument(
            text("bench_training: unknown command '", printable(command), " ", printable(argument), "'"));
      }
    }
  }

 private:
  /// What so many steps take; the network is made before.
  Clocks timed(const std::string& mode, int count, bool record) {
    PANDA_CHECK(images_.present(), "bench_training: '", mode, "' before any input");
    if (training_ == nullptr || mode_ != mode || record_ != record) {
      training_.reset();
      training_ = std::make_unique<Training>(*device_, *weights_, images_, mode_of(mode), record);
      mode_ = mode;
      record_ = record;
    }
    device_->synchronize();
    const Clocks start = Clocks::now();
    for (int i = 0; i < count; ++i) loss_ = training_->run();
    device_->synchronize();
    return Clocks::now().since(start);
  }

  std::unique_ptr<Device> device_;
  std::unique_ptr<NamedTensors> weights_;
  Tensor images_;
  std::unique_ptr<Training> training_;
  std::string mode_;
  bool record_ = true;
  double loss_ = 0;
};

}  // namespace
}  // namespace panda

int main(int argc, char** argv) {
  return panda::bench::serve_network<panda::Server>("bench_training", argc, argv);
}
