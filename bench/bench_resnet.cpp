// One network on one device, run on demand: the half of bench/peers/resnet_torch.py that is ours, driven by
// lines on standard input so that our runs and the peer's alternate.
//   bench_resnet [--device=cpu] [--precision=f32] weights.safetensors
//     input FILE.npy   f32 N,3,H,W, dense; goes to the device here
//     run              one forward pass from images to logits, waited for; answers with its seconds, and the
//                      process's processor seconds
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

void serve(const kernels::DeviceOptions& options, const std::string& weights_path) {
  const std::unique_ptr<Device> device = kernels::make_device(options);
  const std::unique_ptr<NamedTensors> weights = weights::open_weights(weights_path);
  nn::Resnet network(*device, nn::detect_resnet(*weights), *weights);
  Tensor images;
  Tensor logits;
  std::string facts = text(device->name(), ": ", device->description());
  if (device->host_accessible())
    facts += text(", ", bench::fma_peak_gflops(device->threads().thread_count()), " GFLOP/s FMA peak");
  answer(facts);
  std::string command;
  while (std::cin >> command) {
    std::string path;
    if (command == "run") {
      const double cpu_start = processor_seconds();
      const auto start = std::chrono::steady_clock::now();
      logits = network.forward(images, {.stages = {}, .features = false, .logits = true}).logits;
      device->synchronize();
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      answer(text(seconds, " ", processor_seconds() - cpu_start));
    } else if (command == "input" && std::cin >> path) {
      images = clone_to(weights::read_npy(path), *device, "images");
      device->synchronize();
      answer("ok");
    } else if (command == "write" && std::cin >> path) {
      weights::write_npy(path, clone_to(logits, host()));
      answer("ok");
    } else {
      throw InvalidArgument(text("bench_resnet: unknown command '", printable(command), "'"));
    }
  }
}

}  // namespace
}  // namespace panda

int main(int argc, char** argv) {
  try {
    panda::kernels::DeviceOptions options{.name = "cpu", .threads = 0, .isa = ""};
    std::string weights;
    for (int i = 1; i < argc; ++i) {
      const std::string argument = argv[i];
      if (argument.starts_with("--device="))
        options.name = argument.substr(9);
      else if (argument.starts_with("--precision="))
        options.precision = panda::precision_from_name(argument.substr(12));
      else
        weights = argument;
    }
    if (weights.empty()) {
      std::cerr << "usage: bench_resnet [--device=cpu] [--precision=f32] weights.safetensors\n";
      return 2;
    }
    panda::serve(options, weights);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
