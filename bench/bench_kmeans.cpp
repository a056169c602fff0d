// K-means on one device, run on demand: the half of bench/peers/kmeans_peers.py and kmeans_cuda_torch.py that
// is ours, driven by lines on standard input so that our runs and the peers' alternate.
//   bench_kmeans [--device=cpu]
//     points FILE.npy      they stay in the device's memory
//     start FILE.npy       the centers to start from
//     run ITERATIONS       answers with wall and processor seconds, updates made, inertia, whether converged
//     write C.npy L.npy    centers and labels of the last run
// Every command is answered by one line; the first line describes the device.
#include <iomanip>
#include <iostream>
#include <sstream>
#include <string>

#include "bench/server.h"
#include "kernels/device_registry.h"
#include "kernels/kmeans.h"
#include "kernels/kmeans_minibatch.h"
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
      int64_t iterations = 0;
      uint64_t seed = 0;
      int64_t k = 0;
      kernels::KmeansMinibatchOptions learning;
      if (command == "points" && std::cin >> path) {
        points_ = weights::read_npy(path);
        if (!device_->host_accessible()) points_ = clone_to(points_, *device_, "points");
        answer("ok");
      } else if (command == "start" && std::cin >> path) {
        start_ = weights::read_npy(path);
        answer("ok");
      } else if (command == "run" && std::cin >> iterations) {
        run(iterations);
      } else if (command == "learn" && std::cin >> k && read(learning)) {
        learning.k = k;
        learn(learning);
      } else if (command == "learn_on" && read(learning)) {
        learning.k = start_.shape()[0];
        learning.initial_centers = start_;
        learn(learning);
      } else if (command == "choose" && std::cin >> iterations >> seed) {
        choose({.k = iterations, .iterations = 0, .seed = seed});
      } else if (command == "choose_labels") {
        const Tensor centers = result_.centers;
        choose({.k = centers.shape()[0], .iterations = 0, .initial_centers = centers});
      } else if (command == "write" && std::cin >> path >> other) {
        weights::write_npy(path, result_.centers);
        weights::write_npy(other, result_.labels);
        answer("ok");
      } else {
        throw InvalidArgument(text("bench_kmeans: unknown command '", printable(command), "'"));
      }
    }
  }

 private:
  static bool read(kernels::KmeansMinibatchOptions& options) {
    return static_cast<bool>(std::cin >> options.minibatch >> options.passes >> options.patience >>
                             options.seed);
  }

  void learn(const kernels::KmeansMinibatchOptions& options) {
    const Clocks start = Clocks::now();
    kernels::KmeansMinibatchResult learned =
        kernels::kmeans_minibatch(*device_, kernels::KmeansPoints::of(points_), options);
    const Clocks end = Clocks::now();
    answer(text(end.wall - start.wall, " ", end.processor - start.processor, " ", learned.minibatches, " ",
                learned.passes));
    result_ = {};
    result_.centers = std::move(learned.centers);
  }

  void choose(const kernels::KmeansOptions& options) {
    const Clocks start = Clocks::now();
    result_ = kernels::kmeans(*device_, kernels::KmeansPoints::of(points_), options);
    const Clocks end = Clocks::now();
    answer(text(end.wall - start.wall, " ", end.processor - start.processor));
  }

  void run(int64_t iterations) {
    const Clocks start = Clocks::now();
    kernels::KmeansOptions options;
    options.k = start_.shape()[0];
    options.iterations = iterations;
    options.initial_centers = start_;
    result_ = kernels::kmeans(*device_, kernels::KmeansPoints::of(points_), options);
    const Clocks end = Clocks::now();
    std::ostringstream line;
    line << end.wall - start.wall << " " << end.processor - start.processor << " " << result_.iterations
         << " " << std::setprecision(17) << result_.inertia << " " << result_.converged;
    answer(line.str());
  }

  std::unique_ptr<Device> device_;
  Tensor points_;
  Tensor start_;
  kernels::KmeansResult result_;
};

}  // namespace
}  // namespace panda

int main(int argc, char** argv) {
  return panda::bench::serve<panda::Server>("bench_kmeans", argc, argv);
}
