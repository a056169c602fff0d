// What the programs share that peers' scripts drive by lines (bench_knn, bench_kmeans): clocks, the line that
// describes the device, and the program around.
#pragma once

#include <time.h>

#include <chrono>
#include <iostream>
#include <string>
#include <string_view>

#include "bench/peak.h"
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
};

/// One line, at once.
inline void answer(const std::string& line) {
  std::cout << line << std::endl;
}

/// The first line: the device, and the FMA peak of a CPU.
inline void describe(Device& device) {
  const std::string peak =
      device.name() == "cpu"
          ? text(", ", fma_peak_gflops(device.threads().thread_count()), " GFLOP/s FMA peak")
          : "";
  answer(text(device.name(), ": ", device.description(), peak));
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

}  // namespace panda::bench
