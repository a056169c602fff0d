// Pixel metrics and the sort below them on one device, run on demand: the half of
// bench/peers/ranking_peers.py and ranking_cuda_torch.py that is ours, driven by lines on standard input so
// that our runs and the peers' alternate.
//   bench_ranking [--device=cpu]
//     maps SCORES.npy MASKS.npy    f32 and u8 maps,height,width
//     rank        answers with wall and processor seconds of all, the same of its end (sorting and the walk,
//                 after the last map), pixel ROCAUC, PRO and its evenly spaced kind
//     sort        wall and processor seconds of sorting the scores' bits as i32, and whether they fall
// Every command is answered by one line; the first line describes the device.
#include <algorithm>
#include <functional>
#include <iomanip>
#include <iostream>
#include <sstream>
#include <string>

#include "anomaly/pixel_metrics.h"
#include "bench/server.h"
#include "kernels/device_registry.h"
#include "kernels/sort.h"
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
      std::string scores;
      std::string masks;
      if (command == "maps" && std::cin >> scores >> masks) {
        scores_ = weights::read_npy(scores);
        masks_ = weights::read_npy(masks);
        answer("ok");
      } else if (command == "rank") {
        rank();
      } else if (command == "sort") {
        sort();
      } else {
        throw InvalidArgument(text("bench_ranking: unknown command '", printable(command), "'"));
      }
    }
  }

 private:
  void rank() {
    const int64_t height = scores_.shape()[1];
    const int64_t width = scores_.shape()[2];
    const int64_t pixels = height * width;
    const Clocks start = Clocks::now();
    anomaly::PixelMetrics metrics(*device_, {});
    for (int64_t i = 0; i < scores_.shape()[0]; ++i) {
      metrics.add({scores_.data<float>() + i * pixels, static_cast<size_t>(pixels)},
                  {masks_.data<uint8_t>() + i * pixels, static_cast<size_t>(pixels)}, height, width);
    }
    const Clocks added = Clocks::now();
    const anomaly::PixelMetricsResult result = metrics.finish();
    const Clocks all = Clocks::now().since(start);
    const Clocks end = all.since(added.since(start));
    std::ostringstream line;
    line << all.wall << " " << all.processor << " " << end.wall << " " << end.processor
         << std::setprecision(17) << " " << result.pixels.auroc.value_or(-1) << " " << result.pro.value_or(-1)
         << " " << result.pro_evenly_spaced.value_or(-1);
    answer(line.str());
  }

  void sort() {
    const int64_t n = scores_.numel();
    Tensor keys(*device_, DType::kI32, {n}, "keys");
    device_->copy_from_host(keys.view().raw(), scores_.view().raw(), keys.bytes());
    device_->synchronize();
    const Clocks start = Clocks::now();
    kernels::sort_descending(*device_, {keys});
    device_->synchronize();
    const Clocks taken = Clocks::now().since(start);
    const Tensor sorted = clone_to(keys, host());
    const bool falls = std::is_sorted(sorted.data<int32_t>(), sorted.data<int32_t>() + n, std::greater<>());
    answer(text(taken.wall, " ", taken.processor, " ", falls));
  }

  std::unique_ptr<Device> device_;
  Tensor scores_;
  Tensor masks_;
};

}  // namespace
}  // namespace panda

int main(int argc, char** argv) {
  return panda::bench::serve<panda::Server>("bench_ranking", argc, argv);
}
