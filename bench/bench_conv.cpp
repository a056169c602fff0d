// Convolution layers of ResNet-18, ResNet-50 and Wide-ResNet-50-2 on one device, each verified, then timed.
// How to read it: bench/METHOD.md.
//   bench_conv [--device=cpu] [--precision=f32] [--batch=1 --batch=16 ...] --benchmark_filter=r18
// Counters: GFLOP/s of the direct algorithm's operations (Winograd does fewer), GB/s of x, filter, residual
// and y moved once each, and on the cpu device peak_percent of the FMA peak measured at start. A GPU runs
// each layer kLaunches times before it is waited for; `time` is that of one.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <string>
#include <vector>

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

/// Launches of a layer between two waits for a GPU: a wait costs some 10 us, as much as a layer.
constexpr int kLaunches = 50;

struct Options {
  DeviceOptions device{.name = "cpu", .threads = 0, .isa = ""};
  std::vector<int64_t> batches;
};

Tensor random_tensor(const Shape& shape, uint64_t seed) {
  Tensor dense(host(), DType::kF32, shape, "bench");
  uint64_t state = seed;
  for (int64_t i = 0; i < shape.numel(); ++i) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    dense.data<float>()[i] = static_cast<float>(static_cast<double>(state >> 40) * 0x1p-23 - 1);
  }
  return dense;
}

/// The tensor on the device in `layout`, and the other way: as dense f32 on the host.
Tensor placed(Device& device, const Tensor& dense, Layout layout) {
  const Tensor there = clone_to(dense, device, "bench");
  if (layout == Layout::kDense) return there;
  Tensor arranged(device, activation_dtype(device.precision()), dense.shape(), "bench", layout);
  convert(device, {there, arranged});
  return arranged;
}
Tensor fetched(Device& device, const Tensor& tensor) {
  if (tensor.layout() == Layout::kDense) return clone_to(tensor, host(), "bench");
  const Tensor dense(device, DType::kF32, tensor.shape(), "bench");
  convert(device, {tensor, dense});
  return clone_to(dense, host(), "bench");
}

/// Rounding errors of a sum of products, relative to the sum of its absolute terms: both operands to the
/// device's precision, the result to its storage, the f32 sums (1e-5 in all that is measured here).
double tolerance(Precision precision) {
  switch (precision) {
    case Precision::kF32:
      return 1e-5;
    case Precision::kTf32:
      return 1e-5 + 2 * 0x1p-11;
    case Precision::kF16:
      return 1e-5 + 3 * 0x1p-11;
    case Precision::kBF16:
      return 1e-5 + 3 * 0x1p-8;
  }
  return 0;
}

/// A few outputs against a plain f64 sum; returns the largest error relative to the sum of absolute terms.
/// All dense, on the host.
double largest_error(const Layer& layer, const Tensor& x, const Tensor& w, const Tensor& residual,
                     const Tensor& y) {
  const Shape& xs = x.shape();
  const Shape& ys = y.shape();
  double largest = 0;
  for (int64_t sample = 0; sample < 64; ++sample) {
    const int64_t n = sample % ys[0], k = sample * 31 % ys[1], p = sample * 17 % ys[2],
                  q = sample * 13 % ys[3];
    const int64_t at = image_offset(ys, Layout::kDense, n, k, p, q);
    double sum = residual.present() ? residual.data<float>()[at] : 0.0;
    double terms = std::abs(sum);
    for (int64_t c = 0; c < xs[1]; ++c)
      for (int64_t r = 0; r < layer.kernel; ++r)
        for (int64_t s = 0; s < layer.kernel; ++s) {
          const int64_t h = p * layer.stride + r - layer.pad, v = q * layer.stride + s - layer.pad;
          if (h < 0 || h >= xs[2] || v < 0 || v >= xs[3]) continue;
          const double term = double{x.data<float>()[image_offset(xs, Layout::kDense, n, c, h, v)]} *
                              w.data<float>()[((k * xs[1] + c) * layer.kernel + r) * layer.kernel + s];
          sum += term;
          terms += std::abs(term);
        }
    largest = std::max(largest, std::abs(std::max(sum, 0.0) - y.data<float>()[at]) / terms);
  }
  return largest;
}

void run_layer(benchmark::State& state, const Layer& layer, Device& device) {
  const int64_t n = state.range(0);
  const Layout layout = device.activation_layout();
  const Layout x_layout = layer.c == 3 ? Layout::kDense : layout;
  const int64_t out = Conv2dGeometry::output_extent(layer.hw, layer.kernel, layer.stride, layer.pad);
  const Shape y_shape = {n, layer.k, out, out};
  const Tensor x = placed(device, random_tensor({n, layer.c, layer.hw, layer.hw}, 1), x_layout);
  const Tensor weights = random_tensor({layer.k, layer.c, layer.kernel, layer.kernel}, 2);
  const Tensor bias = clone_to(random_tensor({layer.k}, 3), device, "bench");
  const Tensor residual = layer.residual ? placed(device, random_tensor(y_shape, 4), layout) : Tensor();
  const Tensor y(device, activation_dtype(device.precision()), y_shape, "bench", layout);
  const Conv2dFilter filter = conv2d_prepare_filter(device, clone_to(weights, device, "bench"),
                                                    {layer.stride, layer.stride, layer.pad, layer.pad});
  Conv2dForwardArgs args{x, &filter, {}, {}, y, true};
  if (residual.present()) args.residual = residual;
  conv2d_forward(device, args);
  const double error =
      largest_error(layer, fetched(device, x), weights,
                    residual.present() ? fetched(device, residual) : Tensor(), fetched(device, y));
  if (!(error <= tolerance(device.precision()))) {
    state.SkipWithError(text("wrong result: error ", error).c_str());
    return;
  }
  args.bias = bias;
  const bool on_cpu = device.host_accessible();
  const int launches = on_cpu ? 1 : kLaunches;
  for (auto _ : state) {
    for (int i = 0; i < launches; ++i) conv2d_forward(device, args);
    device.synchronize();
    benchmark::ClobberMemory();
  }
  const double per_iteration = launches;
  const double flops =
      2.0 * static_cast<double>(n * layer.k * out * out * layer.c * layer.kernel * layer.kernel);
  const auto bytes = static_cast<double>(x.bytes() + filter.packed.bytes() + y.bytes() +
                                         (residual.present() ? residual.bytes() : 0));
  constexpr auto kRate = benchmark::Counter::kIsIterationInvariantRate;
  state.counters["time"] = benchmark::Counter(per_iteration, kRate | benchmark::Counter::kInvert);
  state.counters["GFLOP/s"] = benchmark::Counter(per_iteration * flops * 1e-9, kRate);
  state.counters["GB/s"] = benchmark::Counter(per_iteration * bytes * 1e-9, kRate);
  if (on_cpu) {
    state.counters["peak_percent"] =
        benchmark::Counter(flops * 1e-7 / bench::fma_peak_gflops(device.threads().thread_count()), kRate);
  }
  state.counters["times"] = layer.times;
}

/// Takes our options out of the command line; the rest is Google Benchmark's.
Options take_options(int& argc, char** argv) {
  Options options;
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto value_of = [&](const std::string& option) { return argument.substr(option.size()); };
    if (argument.starts_with("--device=")) {
      options.device.name = value_of("--device=");
    } else if (argument.starts_with("--precision=")) {
      options.device.precision = precision_from_name(value_of("--precision="));
    } else if (argument.starts_with("--batch=")) {
      options.batches.push_back(std::stoll(value_of("--batch=")));
    } else {
      argv[kept++] = argv[i];
    }
  }
  argc = kept;
  if (options.batches.empty()) options.batches = {1, 16};
  return options;
}

void run_all(int argc, char** argv) {
  const Options options = take_options(argc, argv);
  const std::unique_ptr<Device> device = make_device(options.device);
  for (const Layer& layer : kLayers) {
    auto* one = benchmark::RegisterBenchmark(
        layer.name, [&](benchmark::State& state) { run_layer(state, layer, *device); });
    for (const int64_t batch : options.batches) one->Arg(batch);
    one->UseRealTime()->Unit(benchmark::kMicrosecond);
  }
  benchmark::AddCustomContext("device", device->description());
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}

}  // namespace
}  // namespace panda::kernels

int main(int argc, char** argv) {
  try {
    panda::kernels::run_all(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
}
