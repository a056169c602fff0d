// The one-class SVM, run on demand: the half of bench/peers/svm_peers.py that is ours, driven by lines on
// standard input so that our runs and the peer's alternate.
//   bench_svm [--device=cpu]
//     features X.npy QUERIES.npy     f32 n,d and nq,d
//     fit NU GAMMA TOLERANCE MIB     wall and processor seconds of the fit, the same of scoring the queries,
//                                    rho, support vectors, the scores' sum
//     scores OUT.npy                 those of the last fit, f64
// Every command is answered by one line; the first line describes the device.
#include <iomanip>
#include <iostream>
#include <sstream>
#include <string>

#include "anomaly/one_class_svm.h"
#include "bench/server.h"
#include "kernels/device_registry.h"
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
      std::string first;
      std::string second;
      anomaly::OneClassSvmOptions options;
      double gamma = 0;
      if (command == "features" && std::cin >> first >> second) {
        features_ = weights::read_npy(first);
        queries_ = weights::read_npy(second);
        answer("ok");
      } else if (command == "fit" &&
                 std::cin >> options.nu >> gamma >> options.tolerance >> options.memory_bytes) {
        options.gamma = gamma;
        options.memory_bytes <<= 20;
        fit(options);
      } else if (command == "scores" && std::cin >> first) {
        weights::write_npy(first,
                           Tensor::from<double>({static_cast<int64_t>(scores_.size())}, scores_.data()));
        answer("ok");
      } else {
        throw InvalidArgument(text("bench_svm: unknown command '", printable(command), "'"));
      }
    }
  }

 private:
  void fit(const anomaly::OneClassSvmOptions& options) {
    const Clocks start = Clocks::now();
    const anomaly::OneClassSvm svm = anomaly::OneClassSvm::fit(features_, options, device_->threads());
    const Clocks fitted = Clocks::now();
    scores_ = svm.scores(queries_, device_->threads());
    const Clocks scoring = Clocks::now().since(fitted);
    const Clocks fitting = fitted.since(start);
    double sum = 0;
    for (const double score : scores_) sum += score;
    std::ostringstream line;
    line << fitting.wall << " " << fitting.processor << " " << scoring.wall << " " << scoring.processor
         << std::setprecision(17) << " " << svm.rho() << " " << svm.support_count() << " " << sum;
    answer(line.str());
  }

  std::unique_ptr<Device> device_;
  Tensor features_;
  Tensor queries_;
  std::vector<double> scores_;
};

}  // namespace
}  // namespace panda

int main(int argc, char** argv) {
  return panda::bench::serve<panda::Server>("bench_svm", argc, argv);
}
