// Exact nearest neighbours on the cpu device, run on demand: the half of bench/peers/knn_peers.py that is ours,
// driven by lines on standard input so that our runs and the peers' alternate.
//   bench_knn
//     gallery FILE.npy FILTER   reads and prepares; answers with seconds, bytes beside the rows, and the codes
//     queries FILE.npy
//     search K TIMES            answers with the wall and the processor seconds of the fastest of TIMES searches
//                               (each by its own clock), pairs measured, and queries without a filter
//     write I.npy D.npy         indices and distances of the last search
// Every command is answered by one line; the first line describes the device.
#include <time.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <string>

#include "bench/peak.h"
#include "kernels/device_registry.h"
#include "kernels/knn.h"
#include "kernels/tensor/parallel.h"
#include "weights/npy.h"

namespace panda {
namespace {

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

void answer(const std::string& line) {
  std::cout << line << std::endl;
}

class Server {
 public:
  void serve() {
    const int threads = device_->threads().thread_count();
    answer(text("cpu: ", device_->description(), ", ", bench::fma_peak_gflops(threads), " GFLOP/s FMA peak"));
    std::string command;
    while (std::cin >> command) {
      std::string path;
      std::string other;
      int64_t k = 0;
      int64_t times = 0;
      if (command == "gallery" && std::cin >> path >> other) {
        prepare(path, other);
      } else if (command == "queries" && std::cin >> path) {
        queries_ = weights::read_npy(path);
        answer("ok");
      } else if (command == "search" && std::cin >> k >> times) {
        search(k, times);
      } else if (command == "write" && std::cin >> path >> other) {
        weights::write_npy(path, indices_);
        weights::write_npy(other, distances_);
        answer("ok");
      } else {
        throw InvalidArgument(text("bench_knn: unknown command '", printable(command), "'"));
      }
    }
  }

 private:
  void prepare(const std::string& path, const std::string& filter) {
    gallery_ = {};
    const Tensor rows = weights::read_npy(path);
    const Clocks start = Clocks::now();
    gallery_ = kernels::KnnGallery(*device_, rows, kernels::KnnMetric::kL2, kernels::knn_filter_from_name(filter));
    const Clocks end = Clocks::now();
    answer(text(end.wall - start.wall, " ", end.processor - start.processor, " ", gallery_.prepared_bytes(), " ",
                kernels::knn_filter_name(gallery_.index()->filter())));
  }

  void search(int64_t k, int64_t times) {
    const Shape shape{queries_.shape()[0], k};
    distances_ = Tensor(host(), DType::kF64, shape, "distances");
    indices_ = Tensor(host(), DType::kI64, shape, "indices");
    kernels::KnnStatistics statistics;
    Clocks best{1e30, 1e30};
    for (int64_t i = 0; i < times; ++i) {
      const Clocks start = Clocks::now();
      kernels::knn_gallery_search(*device_, {.queries = queries_,
                                             .gallery = &gallery_,
                                             .k = k,
                                             .distances = distances_,
                                             .indices = indices_,
                                             .statistics = &statistics});
      const Clocks end = Clocks::now();
      best = {std::min(best.wall, end.wall - start.wall), std::min(best.processor, end.processor - start.processor)};
    }
    answer(text(best.wall, " ", best.processor, " ", statistics.survivors, " ", statistics.rescanned_rows));
  }

  std::unique_ptr<Device> device_ = kernels::make_device({"cpu", 0, ""});
  kernels::KnnGallery gallery_;
  Tensor queries_;
  Tensor distances_;
  Tensor indices_;
};

}  // namespace
}  // namespace panda

int main() {
  try {
    panda::Server().serve();
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
