// Exact nearest neighbours on one device, run on demand: the half of bench/peers/knn_peers.py and
// knn_cuda_torch.py that is ours, driven by lines on standard input so that our runs and the peers'
// alternate.
//   bench_knn [--device=cpu]
//     gallery FILE.npy FILTER   reads and prepares; answers with seconds, bytes beside the rows, and the
//     codes queries FILE.npy          they are put where the device reads them, as is the gallery search K
//     TIMES            answers with the wall and the processor seconds of the fastest of TIMES searches
//                               (each by its own clock, results on the device and waited for), pairs
//                               measured, queries without a filter, and pairs that the filter kept
//     write I.npy D.npy         indices and distances of the last search
// Every command is answered by one line; the first line describes the device.
#include <algorithm>
#include <iostream>
#include <string>
#include <utility>

#include "bench/server.h"
#include "kernels/device_registry.h"
#include "kernels/knn.h"
#include "weights/npy.h"

namespace panda {
namespace {

using bench::answer;
using bench::Clocks;

class Server {
 public:
  explicit Server(const std::string& device) : device_(kernels::make_device({device, 0, ""})) {}

  void serve() {
    bench::describe(*device_);
    std::string command;
    while (std::cin >> command) {
      std::string path;
      std::string other;
      int64_t k = 0;
      int64_t times = 0;
      if (command == "gallery" && std::cin >> path >> other) {
        prepare(path, other);
      } else if (command == "queries" && std::cin >> path) {
        queries_ = on_device(weights::read_npy(path));
        answer("ok");
      } else if (command == "search" && std::cin >> k >> times) {
        search(k, times);
      } else if (command == "write" && std::cin >> path >> other) {
        weights::write_npy(path, clone_to(indices_, host()));
        weights::write_npy(other, clone_to(distances_, host()));
        answer("ok");
      } else {
        throw InvalidArgument(text("bench_knn: unknown command '", printable(command), "'"));
      }
    }
  }

 private:
  [[nodiscard]] Tensor on_device(Tensor tensor) const {
    return device_->host_accessible() ? std::move(tensor) : clone_to(tensor, *device_, "operand");
  }

  void prepare(const std::string& path, const std::string& filter) {
    gallery_ = {};
    const Tensor rows = on_device(weights::read_npy(path));
    device_->synchronize();
    const Clocks start = Clocks::now();
    gallery_ =
        kernels::KnnGallery(*device_, rows, kernels::KnnMetric::kL2, kernels::knn_filter_from_name(filter));
    device_->synchronize();
    const Clocks end = Clocks::now();
    answer(text(end.wall - start.wall, " ", end.processor - start.processor, " ", gallery_.prepared_bytes(),
                " ", kernels::knn_filter_name(gallery_.index()->filter())));
  }

  void search(int64_t k, int64_t times) {
    const Shape shape{queries_.shape()[0], k};
    distances_ = Tensor(*device_, DType::kF64, shape, "distances");
    indices_ = Tensor(*device_, DType::kI64, shape, "indices");
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
      device_->synchronize();
      const Clocks end = Clocks::now();
      best = {std::min(best.wall, end.wall - start.wall),
              std::min(best.processor, end.processor - start.processor)};
    }
    answer(text(best.wall, " ", best.processor, " ", statistics.survivors, " ", statistics.rescanned_rows,
                " ", statistics.kept_pairs));
  }

  std::unique_ptr<Device> device_;
  kernels::KnnGallery gallery_;
  Tensor queries_;
  Tensor distances_;
  Tensor indices_;
};

}  // namespace
}  // namespace panda

int main(int argc, char** argv) {
  return panda::bench::serve<panda::Server>("bench_knn", argc, argv);
}
