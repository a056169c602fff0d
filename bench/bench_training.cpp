// A training step of one network on the cpu device, run on demand: the half of bench/peers/training_torch.py
// that is ours.
//   bench_training weights.safetensors
//     input FILE.npy   f32 N,3,H,W, dense
//     run plain        forward and backward of the whole network, all of it trainable
//     run step         PANDA's step: layer3 and layer4 trained, compactness loss, clipped SGD with EWC; what
//     layer2 gives was computed once write FILE.npy   the gradient of layer4.0.conv1.weight of the last run
// Every command is answered by one line; a run's by its seconds, processor seconds and loss.
#include <time.h>

#include <chrono>
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

/// One network in one mode, with its planned memory.
class Training {
 public:
  Training(Device& device, const NamedTensors& weights, const Tensor& images, bool cached)
      : net_(device, nn::detect_resnet(weights), weights, nn::BatchNormMode::kEvaluation),
        workspace_(device),
        images_(images),
        cached_(cached),
        center_(device, DType::kF32, {net_.config().feature_channels()}, "center") {
    device.fill(center_.view().raw(), 0, center_.bytes());
    if (cached) {
      net_.train_stages({3, 4}, false);
      autograd::Workspace once(device);
      autograd::Tape tape(once);
      const autograd::Variable trunk = net_.stages(tape, net_.stem(tape, tape.constant(images_)), 1, 2);
      trunk_ = clone_to(trunk.view(), device);
    } else {
      net_.train_stages({0, 1, 2, 3, 4}, false);
    }
    sgd_.emplace(net_.parameters(), nn::SgdOptions{.momentum = 0.9, .decay = 5e-5, .max_norm = 1e-3});
    sgd_->set_penalty({.strength = 1e4, .anchor = nn::anchor_of(net_.parameters()), .importance = {}});
    plan_step(workspace_, [&](autograd::Tape& tape) { (void)pass(tape); });
  }

  double run() {
    double loss = 0;
    {
      autograd::Tape tape(workspace_);
      loss = pass(tape);
    }
    if (cached_) (void)sgd_->step(1e-2);
    return loss;
  }
  [[nodiscard]] Tensor gradient() {
    return clone_to(net_.parameters().at("layer4.0.conv1.weight").gradient, host());
  }
  [[nodiscard]] int64_t peak_bytes() const { return workspace_.peak_bytes(); }

 private:
  double pass(autograd::Tape& tape) {
    const autograd::Variable features = cached_ ? net_.pooled(net_.stages(tape, tape.constant(trunk_), 3, 4))
                                                : net_.features(tape, tape.constant(images_));
    const double scale = 1.0 / static_cast<double>(features.shape().numel());
    const autograd::Variable losses = compactness(features, center_, scale);
    const double loss = tape.dry_run() ? 0 : total(losses);
    tape.backward({{losses}});
    return loss;
  }

  nn::TrainableResnet net_;
  autograd::Workspace workspace_;
  Tensor images_;
  bool cached_;
  Tensor center_;
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
        training = std::make_unique<Training>(*device, *weights, images, argument == "step");
        mode = argument;
      }
      const double cpu_start = processor_seconds();
      const auto start = std::chrono::steady_clock::now();
      const double loss = training->run();
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      std::cout << text(seconds, " ", processor_seconds() - cpu_start, " ", loss, " ", training->peak_bytes())
                << std::endl;
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
