// K-means on one device, run on demand: the half of bench/peers/kmeans_peers.py that is ours, driven by lines
// on standard input so that our runs and the peers' alternate.
//   bench_kmeans [--device=cpu]
//     points FILE.npy
//     start FILE.npy       the centers to start from
//     run ITERATIONS       answers with wall and processor seconds, updates made, inertia, and whether it
//     converged write C.npy L.npy    centers and labels of the last run
// Every command is answered by one line; the first line describes the device.
#include <time.h>

#include <chrono>
#include <iomanip>
#include <iostream>
#include <string>
#include <string_view>

#include "bench/peak.h"
#include "kernels/device_registry.h"
#include "kernels/kmeans.h"
#include "kernels/tensor/parallel.h"
#include "weights/npy.h"

namespace panda {
namespace {

double processor_seconds() {
  timespec cpu{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
  return static_cast<double>(cpu.tv_sec) + 1e-9 * static_cast<double>(cpu.tv_nsec);
}

class Server {
 public:
  explicit Server(const std::string& device) : device_(kernels::make_device({device, 0, ""})) {}

  void serve() {
    const int threads = device_->threads().thread_count();
    const std::string peak =
        device_->name() == "cpu" ? text(", ", bench::fma_peak_gflops(threads), " GFLOP/s FMA peak") : "";
    std::cout << device_->name() << ": " << device_->description() << peak << std::endl;
    std::string command;
    while (std::cin >> command) {
      std::string path;
      std::string other;
      int64_t iterations = 0;
      if (command == "points" && std::cin >> path) {
        points_ = weights::read_npy(path);
        std::cout << "ok" << std::endl;
      } else if (command == "start" && std::cin >> path) {
        start_ = weights::read_npy(path);
        std::cout << "ok" << std::endl;
      } else if (command == "run" && std::cin >> iterations) {
        run(iterations);
      } else if (command == "write" && std::cin >> path >> other) {
        weights::write_npy(path, result_.centers);
        weights::write_npy(other, result_.labels);
        std::cout << "ok" << std::endl;
      } else {
        throw InvalidArgument(text("bench_kmeans: unknown command '", printable(command), "'"));
      }
    }
  }

 private:
  void run(int64_t iterations) {
    const auto start = std::chrono::steady_clock::now();
    const double processor = processor_seconds();
    kernels::KmeansOptions options;
    options.k = start_.shape()[0];
    options.iterations = iterations;
    options.initial_centers = start_;
    result_ = kernels::kmeans(*device_, kernels::KmeansPoints::of(points_), options);
    const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
    std::cout << wall.count() << " " << processor_seconds() - processor << " " << result_.iterations << " "
              << std::setprecision(17) << result_.inertia << std::setprecision(6) << " " << result_.converged
              << std::endl;
  }

  std::unique_ptr<Device> device_;
  Tensor points_;
  Tensor start_;
  kernels::KmeansResult result_;
};

}  // namespace
}  // namespace panda

int main(int argc, char** argv) {
  try {
    const std::string_view option = argc == 2 ? argv[1] : "--device=cpu";
    constexpr std::string_view kDevice = "--device=";
    PANDA_CHECK(argc <= 2 && option.starts_with(kDevice), "usage: bench_kmeans [--device=cpu]");
    panda::Server(std::string(option.substr(kDevice.size()))).serve();
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
