// A training step of one network on the cpu device, run on demand: the half of bench/peers/training_torch.py
// that is ours.
//   bench_training weights.safetensors
//     input FILE.npy   f32 N,3,H,W, dense
//     run plain        forward, backward and SGD of the whole network, batch norms in evaluation mode
//     run step         PANDA's step: layer3 and layer4 trained, compactness loss, clipped SGD with EWC; what
//                      layer2 gives was computed once
//     run pretrain     a step of training from scratch: batch statistics, cross-entropy of labels n mod
//     classes,
//                      SGD
//     write FILE.npy   the gradient of layer4.0.conv1.weight of the last run
//     memory now       resident bytes now and at most so far
// Every command is answered by one line; a run's by its seconds, processor seconds, loss and planned bytes.
#include <time.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <optional>
#include <string>

#include "autograd/functions/loss.h"
#include "bench/peak.h"
#include "kernels/device_registry.h"
#include "kernels/tensor/parallel.h"
#include "nn/optimizer.h"
#include "nn/trainable_resnet.h"
#include "weights/npy.h"
#include "weights/weights_file.h"

namespace panda {
namespace {

double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

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
  Training(Device& device, const NamedTensors& weights, const Tensor& images, Mode mode)
      : net_(device, nn::detect_resnet(weights), weights,
             mode == Mode::kPretrain ? nn::BatchNormMode::kBatchStatistics : nn::BatchNormMode::kEvaluation),
        workspace_(device),
        images_(images),
        mode_(mode),
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
    plan_step(workspace_, [&](autograd::Tape& tape) { (void)pass(tape); });
  }

  double run() {
    double loss = 0;
    {
      autograd::Tape tape(workspace_);
      loss = pass(tape);
    }
    (void)sgd_->step(1e-2);
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
  double pass(autograd::Tape& tape) {
    const autograd::Variable rows = losses(tape);
    const double loss = tape.dry_run() ? 0 : total(rows);
    tape.backward({{rows}});
    return loss;
  }

  nn::TrainableResnet net_;
  autograd::Workspace workspace_;
  Tensor images_;
  Mode mode_;
  Tensor center_;
  Tensor labels_;
  Tensor trunk_;
  std::optional<nn::Sgd> sgd_;
};

void serve(const std::string& weights_path) {
  const std::unique_ptr<Device> device = kernels::make_device({"cpu", 0, ""});
  const std::unique_ptr<NamedTensors> weights = weights::open_weights(weights_path);
  const int threads = device->threads().thread_count();
  std::cout << text("cpu: ", device->description(), ", ", bench::fma_peak_gflops(threads),
                    " GFLOP/s FMA peak")
            << std::endl;
  Tensor images;
  std::unique_ptr<Training> training;
  std::string mode;
  std::string command;
  while (std::cin >> command) {
    std::string argument;
    std::cin >> argument;
    if (command == "input") {
      images = weights::read_npy(argument);
      training.reset();
      std::cout << "ok" << std::endl;
    } else if (command == "run") {
      if (training == nullptr || mode != argument) {
        training.reset();
        training = std::make_unique<Training>(*device, *weights, images, mode_of(argument));
        mode = argument;
      }
      const double cpu_start = processor_seconds();
      const auto start = std::chrono::steady_clock::now();
      const double loss = training->run();
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      std::cout << text(seconds, " ", processor_seconds() - cpu_start, " ", loss, " ", training->peak_bytes())
                << std::endl;
    } else if (command == "memory") {
      std::cout << status_bytes("VmRSS") << " " << status_bytes("VmHWM") << std::endl;
    } else if (command == "write") {
      weights::write_npy(argument, training->gradient());
      std::cout << "ok" << std::endl;
    } else {
      throw InvalidArgument(text("bench_training: unknown command '", printable(command), "'"));
    }
  }
}

}  // namespace
}  // namespace panda

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: bench_training weights.safetensors\n";
    return 2;
  }
  try {
    panda::serve(argv[1]);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
