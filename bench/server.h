// What the programs share that peers' scripts drive by lines (bench_knn, bench_kmeans, bench_resnet,
// bench_training): clocks, the line that describes the device, and the program around.
#pragma once

#include <time.h>

#include <chrono>
#include <iostream>
#include <string>
#include <string_view>

#include "bench/peak.h"
#include "kernels/device_registry.h"
#include "kernels/tensor/device.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/parallel.h"

namespace panda::bench {

struct Clocks {
  double wall;
  double processor;

  static Clocks now() {
    timespec cpu{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    return {std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(),
            static_cast<double>(cpu.tv_sec) + 1e-9 * static_cast<double>(cpu.tv_nsec)};
  }
  [[nodiscard]] Clocks since(const Clocks& start) const {
    return {wall - start.wall, processor - start.processor};
  }
};

/// One line, at once.
inline void answer(const std::string& line) {
  std::cout << line << std::endl;
}

/// The first line: the device, its precision, and the FMA peak of a CPU.
inline void describe(Device& device) {
  const std::string peak =
      device.name() == "cpu"
          ? text(", ", fma_peak_gflops(device.threads().thread_count()), " GFLOP/s FMA peak")
          : "";
  answer(text(device.name(), ": ", device.description(), ", ", precision_name(device.precision()), peak));
}

/// Server(device name).serve(), by a program whose only option is --device.
template <typename Server>
int serve(const char* program, int argc, char** argv) {
  try {
    const std::string_view option = argc == 2 ? argv[1] : "--device=cpu";
    constexpr std::string_view kDevice = "--device=";
    PANDA_CHECK(argc <= 2 && option.starts_with(kDevice), "usage: ", program, " [--device=cpu]");
    Server(std::string(option.substr(kDevice.size()))).serve();
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
  return 0;
}

/// What a program that runs a network is given.
struct NetworkOptions {
  std::string weights;
  kernels::DeviceOptions device{.name = "cpu", .threads = 0, .isa = ""};
};

/// Throws InvalidArgument for an unknown option or value.
inline NetworkOptions network_options(const char* program, int argc, char** argv) {
  NetworkOptions options;
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
      throw InvalidArgument(text(program, ": unknown option '", printable(argument), "'"));
    }
  }
  PANDA_CHECK(!options.weights.empty(), "usage: ", program,
              " [--device=cpu] [--precision=f32] [--engine=native] weights.safetensors");
  return options;
}

/// Server(NetworkOptions).serve().
template <typename Server>
int serve_network(const char* program, int argc, char** argv) {
  try {
    Server(network_options(program, argc, argv)).serve();
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
  return 0;
}

}  // namespace panda::bench
