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
#include <time.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>

#include "bench/peak.h"
#include "kernels/device_registry.h"
#include "kernels/tensor/parallel.h"
#include "nn/resnet.h"
#include "weights/npy.h"
#include "weights/weights_file.h"

namespace panda {
namespace {

double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

void answer(const std::string& line) {
  std::cout << line << std::endl;
}

struct Options {
  std::string weights;
  kernels::DeviceOptions device{.name = "cpu", .threads = 0, .isa = ""};
};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const size_t equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : argument.substr(equals + 1);
    if (name == "--device") {
      options.device.name = value;
    } else if (name == "--precision") {
      options.device.precision = precision_from_name(value);
    } else if (name == "--engine") {
      options.device.engine = kernels::engine_from_name(value);
    } else if (options.weights.empty() && !argument.starts_with("--")) {
      options.weights = argument;
    } else {
      throw InvalidArgument(text("bench_resnet: unknown option '", printable(argument), "'"));
    }
  }
  PANDA_CHECK(!options.weights.empty(),
              "usage: bench_resnet [--device=cpu] [--precision=f32] [--engine=native] weights.safetensors");
  return options;
}

class Server {
 public:
  explicit Server(const Options& options)
      : device_(kernels::make_device(options.device)),
        weights_(weights::open_weights(options.weights)),
        network_(*device_, nn::detect_resnet(*weights_), *weights_) {
    const int threads = device_->threads().thread_count();
    const std::string peak =
        device_->name() == "cpu" ? text(", ", bench::fma_peak_gflops(threads), " GFLOP/s FMA peak") : "";
    answer(text(device_->name(), ": ", device_->description(), ", ", precision_name(device_->precision()),
                peak));
  }

  void serve() {
    std::string command;
    while (std::cin >> command) {
      std::string path;
      int count = 1;
      if (command == "run") {
        const double cpu_start = processor_seconds();
        const double seconds = timed(1);
        answer(text(seconds, " ", processor_seconds() - cpu_start));
      } else if (command == "runs" && std::cin >> count) {
        answer(text(timed(count)));
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

  double timed(int count) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) logits_ = network_.forward(images_, kLogits).logits;
    device_->synchronize();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
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
  try {
    panda::Server(panda::parse(argc, argv)).serve();
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
