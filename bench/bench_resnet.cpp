// One network on one device, run on demand: the half of bench/peers/resnet_torch.py and resnet_cuda_torch.py
// that is ours, driven by lines on standard input so that our runs and the peer's alternate.
//   bench_resnet [--device=cpu] [--precision=f32] [--engine=native] weights.safetensors
//     input FILE.npy   f32 N,3,H,W, dense; it is put where the device reads it
//     run              one forward pass to logits on the device, waited for; answers with its seconds, and
//     the
//                      process's processor seconds
//     runs N           N forward passes and one wait; answers with the seconds of all
//     memory           answers with the plan's peak bytes for the input, and the device's own peak and
//     reserved
//                      bytes
//     write FILE.npy   the logits of the last run
// Every command is answered by one line; the first line describes the device.
#include <string>

#include "bench/server.h"
#include "nn/resnet.h"
#include "weights/npy.h"
#include "weights/weights_file.h"

namespace panda {
namespace {

using bench::answer;
using bench::Clocks;

class Server {
 public:
  explicit Server(const bench::NetworkOptions& options)
      : device_(kernels::make_device(options.device)),
        weights_(weights::open_weights(options.weights)),
        network_(*device_, nn::detect_resnet(*weights_), *weights_) {
    bench::describe(*device_);
  }

  void serve() {
    std::string command;
    while (std::cin >> command) {
      std::string path;
      int count = 1;
      if (command == "run") {
        const Clocks taken = timed(1);
        answer(text(taken.wall, " ", taken.processor));
      } else if (command == "runs" && std::cin >> count) {
        answer(text(timed(count).wall));
      } else if (command == "memory") {
        const MemoryReport report = device_->memory_report();
        const Shape& shape = images_.shape();
        answer(text(network_.activation_bytes(shape[0], shape[2], shape[3], kLogits), " ", report.peak_bytes,
                    " ", report.reserved_bytes));
      } else if (command == "input" && std::cin >> path) {
        images_ = weights::read_npy(path);
        if (!device_->host_accessible()) images_ = clone_to(images_, *device_, "images");
        answer("ok");
      } else if (command == "write" && std::cin >> path) {
        weights::write_npy(path, clone_to(logits_, host(), "logits"));
        answer("ok");
      } else {
        throw InvalidArgument(text("bench_resnet: unknown command '", printable(command), "'"));
      }
    }
  }

 private:
  inline static const nn::ResnetRequest kLogits{.stages = {}, .features = false, .logits = true};

  Clocks timed(int count) {
    const Clocks start = Clocks::now();
    for (int i = 0; i < count; ++i) logits_ = network_.forward(images_, kLogits).logits;
    device_->synchronize();
    return Clocks::now().since(start);
  }

  std::unique_ptr<Device> device_;
  std::unique_ptr<NamedTensors> weights_;
  nn::Resnet network_;
  Tensor images_;
  Tensor logits_;
};

}  // namespace
}  // namespace panda

int main(int argc, char** argv) {
  return panda::bench::serve_network<panda::Server>("bench_resnet", argc, argv);
}
