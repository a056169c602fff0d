// Convolution layers of ResNet-18, ResNet-50 and Wide-ResNet-50-2 on the cpu device, each verified, then
// timed. How to read it: bench/METHOD.md.
//   bench_conv --benchmark_filter=r18   counters: GFLOP/s of the direct algorithm's operations (Winograd does
//   fewer), peak_percent of the FMA peak measured at start.
#include <benchmark/benchmark.h>

#include <cmath>

#include "bench/peak.h"
#include "kernels/conv2d.h"
#include "kernels/device_registry.h"
#include "kernels/elementwise.h"
#include "kernels/tensor/parallel.h"

namespace panda::kernels {
namespace {

struct Layer {
  const char* name;
  int64_t c, hw, k, kernel, stride, pad;
  int times;  ///< in one forward pass
  bool residual;
};

constexpr Layer kLayers[] = {
    {"stem", 3, 224, 64, 7, 2, 3, 1, false},
    {"r18/layer1", 64, 56, 64, 3, 1, 1, 4, true},
    {"r18/layer2.0.conv1", 64, 56, 128, 3, 2, 1, 1, false},
    {"r18/layer2.0.down", 64, 56, 128, 1, 2, 0, 1, false},
    {"r18/layer2", 128, 28, 128, 3, 1, 1, 3, true},
    {"r18/layer3.0.conv1", 128, 28, 256, 3, 2, 1, 1, false},
    {"r18/layer3.0.down", 128, 28, 256, 1, 2, 0, 1, false},
    {"r18/layer3", 256, 14, 256, 3, 1, 1, 3, true},
    {"r18/layer4.0.conv1", 256, 14, 512, 3, 2, 1, 1, false},
    {"r18/layer4.0.down", 256, 14, 512, 1, 2, 0, 1, false},
    {"r18/layer4", 512, 7, 512, 3, 1, 1, 3, true},
    {"r50/layer1.0.conv1", 64, 56, 64, 1, 1, 0, 1, false},
    {"r50/layer1.conv1", 256, 56, 64, 1, 1, 0, 2, false},
    {"r50/layer1.conv3", 64, 56, 256, 1, 1, 0, 4, true},
    {"r50/layer2.0.conv1", 256, 56, 128, 1, 1, 0, 1, false},
    {"r50/layer2.0.conv2", 128, 56, 128, 3, 2, 1, 1, false},
    {"r50/layer2.0.down", 256, 56, 512, 1, 2, 0, 1, false},
    {"r50/layer2.conv1", 512, 28, 128, 1, 1, 0, 3, false},
    {"r50/layer2.conv3", 128, 28, 512, 1, 1, 0, 4, true},
    {"r50/layer3.0.conv1", 512, 28, 256, 1, 1, 0, 1, false},
    {"r50/layer3.0.conv2", 256, 28, 256, 3, 2, 1, 1, false},
    {"r50/layer3.0.down", 512, 28, 1024, 1, 2, 0, 1, false},
    {"r50/layer3.conv1", 1024, 14, 256, 1, 1, 0, 5, false},
    {"r50/layer3.conv3", 256, 14, 1024, 1, 1, 0, 6, true},
    {"r50/layer4.0.conv1", 1024, 14, 512, 1, 1, 0, 1, false},
    {"r50/layer4.0.conv2", 512, 14, 512, 3, 2, 1, 1, false},
    {"r50/layer4.0.down", 1024, 14, 2048, 1, 2, 0, 1, false},
    {"r50/layer4.conv1", 2048, 7, 512, 1, 1, 0, 2, false},
    {"r50/layer4.conv3", 512, 7, 2048, 1, 1, 0, 3, true},
    {"wrn/layer1.conv1", 256, 56, 128, 1, 1, 0, 2, false},
    {"wrn/layer1.conv2", 128, 56, 128, 3, 1, 1, 3, false},
    {"wrn/layer1.conv3", 128, 56, 256, 1, 1, 0, 3, true},
    {"wrn/layer2.0.conv2", 256, 56, 256, 3, 2, 1, 1, false},
    {"wrn/layer2.conv2", 256, 28, 256, 3, 1, 1, 3, false},
    {"wrn/layer2.conv3", 256, 28, 512, 1, 1, 0, 4, true},
    {"wrn/layer3.0.conv2", 512, 28, 512, 3, 2, 1, 1, false},
    {"wrn/layer3.conv2", 512, 14, 512, 3, 1, 1, 5, false},
    {"wrn/layer3.conv3", 512, 14, 1024, 1, 1, 0, 6, true},
    {"wrn/layer4.0.conv2", 1024, 14, 1024, 3, 2, 1, 1, false},
    {"wrn/layer4.conv2", 1024, 7, 1024, 3, 1, 1, 2, false},
    {"wrn/layer4.conv3", 1024, 7, 2048, 1, 1, 0, 3, true},
};

Tensor random_tensor(Device& device, const Shape& shape, uint64_t seed, Layout layout = Layout::kDense) {
  Tensor dense(device, DType::kF32, shape, "bench");
  uint64_t state = seed;
  for (int64_t i = 0; i < shape.numel(); ++i) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    dense.data<float>()[i] = static_cast<float>(static_cast<double>(state >> 40) * 0x1p-23 - 1);
  }
  if (layout == Layout::kDense) return dense;
  Tensor blocked(device, DType::kF32, shape, "bench", layout);
  convert(device, {dense, blocked});
  return blocked;
}

/// A few outputs against a plain f64 sum; returns the largest error relative to the sum of absolute terms.
double largest_error(const Layer& layer, const Tensor& x, const Tensor& w, const Tensor& residual,
                     const Tensor& y) {
  const Shape& xs = x.shape();
  const Shape& ys = y.shape();
  double largest = 0;
  for (int64_t sample = 0; sample < 64; ++sample) {
    const int64_t n = sample % ys[0], k = sample * 31 % ys[1], p = sample * 17 % ys[2],
                  q = sample * 13 % ys[3];
    const int64_t at = image_offset(ys, y.layout(), n, k, p, q);
    double sum = residual.present() ? residual.data<float>()[at] : 0.0;
    double terms = std::abs(sum);
    for (int64_t c = 0; c < xs[1]; ++c)
      for (int64_t r = 0; r < layer.kernel; ++r)
        for (int64_t s = 0; s < layer.kernel; ++s) {
          const int64_t h = p * layer.stride + r - layer.pad, v = q * layer.stride + s - layer.pad;
          if (h < 0 || h >= xs[2] || v < 0 || v >= xs[3]) continue;
          const double term = double{x.data<float>()[image_offset(xs, x.layout(), n, c, h, v)]} *
                              w.data<float>()[((k * xs[1] + c) * layer.kernel + r) * layer.kernel + s];
          sum += term;
          terms += std::abs(term);
        }
    largest = std::max(largest, std::abs(std::max(sum, 0.0) - y.data<float>()[at]) / terms);
  }
  return largest;
}

void run_layer(benchmark::State& state, const Layer& layer) {
  static const std::unique_ptr<Device> device = make_device({"cpu", 0, ""});
  const int64_t n = state.range(0);
  const Layout layout = device->activation_layout();
  const Tensor x =
      random_tensor(*device, {n, layer.c, layer.hw, layer.hw}, 1, layer.c == 3 ? Layout::kDense : layout);
  const Tensor w = random_tensor(*device, {layer.k, layer.c, layer.kernel, layer.kernel}, 2);
  const Tensor bias = random_tensor(*device, {layer.k}, 3);
  const int64_t out = Conv2dGeometry::output_extent(layer.hw, layer.kernel, layer.stride, layer.pad);
  const Tensor residual =
      layer.residual ? random_tensor(*device, {n, layer.k, out, out}, 4, layout) : Tensor();
  const Tensor y(*device, DType::kF32, {n, layer.k, out, out}, "bench", layout);
  const Conv2dFilter filter =
      conv2d_prepare_filter(*device, w, {layer.stride, layer.stride, layer.pad, layer.pad});
  Conv2dForwardArgs args{x, &filter, {}, {}, y, true};
  if (residual.present()) args.residual = residual;
  conv2d_forward(*device, args);
  const double error = largest_error(layer, x, w, residual, y);
  if (!(error <= 1e-5)) {
    state.SkipWithError(text("wrong result: error ", error).c_str());
    return;
  }
  args.bias = bias;
  for (auto _ : state) {
    conv2d_forward(*device, args);
    benchmark::ClobberMemory();
  }
  const double flops =
      2.0 * static_cast<double>(n * layer.k * out * out * layer.c * layer.kernel * layer.kernel);
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["peak_percent"] =
      benchmark::Counter(flops * 1e-7 / bench::fma_peak_gflops(device->threads().thread_count()),
                         benchmark::Counter::kIsIterationInvariantRate);
  state.counters["times"] = layer.times;
}

}  // namespace
}  // namespace panda::kernels

int main(int argc, char** argv) {
  for (const auto& layer : panda::kernels::kLayers) {
    benchmark::RegisterBenchmark(
        layer.name, [&layer](benchmark::State& state) { panda::kernels::run_layer(state, layer); })
        ->Arg(1)
        ->Arg(16)
        ->UseRealTime()
        ->Unit(benchmark::kMicrosecond);
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
