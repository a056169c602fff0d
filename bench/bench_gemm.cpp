// gemm on the cpu device beside OpenBLAS (where its library is installed), each verified, then timed. How to
// read it: bench/METHOD.md.
//   OPENBLAS_CORETYPE=SKYLAKEX OPENBLAS_THREAD_TIMEOUT=4 PANDA_THREADS=1 bench_gemm --benchmark_min_time=1s
#include <benchmark/benchmark.h>

#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "bench/peak.h"
#include "kernels/device_registry.h"
#include "kernels/gemm.h"
#include "kernels/tensor/parallel.h"

#if defined(PANDA_BENCH_OPENBLAS)
#include <cblas.h>
#endif

namespace panda::kernels {
namespace {

struct Sizes {
  int64_t m, n, k;
  bool transpose_a = false;
  bool transpose_b = false;
};
// Squares, the 1x1 convolutions of ResNet-50 as products at batch 1 and 16, few rows, few columns, transposed
// operands.
constexpr Sizes kSizes[] = {
    {256, 256, 256},
    {512, 512, 512},
    {1000, 1000, 1000},
    {1024, 1024, 1024},
    {2048, 2048, 2048},
    {3136, 64, 64},
    {3136, 64, 256},
    {3136, 256, 64},
    {3136, 128, 256},
    {784, 512, 128},
    {784, 128, 512},
    {784, 256, 512},
    {196, 1024, 256},
    {196, 256, 1024},
    {196, 512, 1024},
    {49, 2048, 512},
    {49, 512, 2048},
    {50176, 64, 64},
    {50176, 64, 256},
    {50176, 256, 64},
    {50176, 128, 256},
    {12544, 512, 128},
    {12544, 128, 512},
    {12544, 256, 512},
    {3136, 1024, 256},
    {3136, 256, 1024},
    {3136, 512, 1024},
    {784, 2048, 512},
    {784, 512, 2048},
    {1, 1000, 2048},
    {4, 1000, 2048},
    {16, 1000, 2048},
    {16, 2048, 2048},
    {32, 1024, 1024},
    {48, 1000, 2048},
    {1000, 1, 2048},
    {1000, 4, 2048},
    {1000, 16, 2048},
    {1000, 16, 2048, true, false},
    {16, 1000, 2048, false, true},
    {512, 512, 512, false, true},
    {512, 512, 512, true, false},
    {512, 512, 512, true, true},
    {1000, 1000, 1000, false, true},
    {1000, 1000, 1000, true, false},
};

Device& device() {
  static const std::unique_ptr<Device> cpu = make_device({"cpu", 0, ""});
  return *cpu;
}

std::vector<float> random_values(int64_t count, uint64_t seed) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    value = static_cast<float>(static_cast<double>(seed >> 40) * 0x1p-23 - 1);
  }
  return values;
}

struct Problem {
  Sizes size;
  std::vector<float> a, b, c;

  explicit Problem(const Sizes& s)
      : size(s),
        a(random_values(s.m * s.k, 1)),
        b(random_values(s.k * s.n, 2)),
        c(static_cast<size_t>(s.m * s.n)) {}

  void ours() {
    const Shape a_shape = size.transpose_a ? Shape{size.k, size.m} : Shape{size.m, size.k};
    const Shape b_shape = size.transpose_b ? Shape{size.n, size.k} : Shape{size.k, size.n};
    gemm(device(),
         {ConstTensorView(a.data(), DType::kF32, a_shape, device()),
          ConstTensorView(b.data(), DType::kF32, b_shape, device()),
          TensorView(c.data(), DType::kF32, {size.m, size.n}, device()), size.transpose_a, size.transpose_b});
  }
#if defined(PANDA_BENCH_OPENBLAS)
  void openblas() {
    const auto m = static_cast<blasint>(size.m), n = static_cast<blasint>(size.n),
               k = static_cast<blasint>(size.k);
    const auto op = [](bool transpose) { return transpose ? CblasTrans : CblasNoTrans; };
    cblas_sgemm(CblasRowMajor, op(size.transpose_a), op(size.transpose_b), m, n, k, 1.0f, a.data(),
                size.transpose_a ? m : k, b.data(), size.transpose_b ? k : n, 0.0f, c.data(), n);
  }
#endif

  /// The largest error of some elements, relative to the sum of the absolute terms.
  [[nodiscard]] double largest_error() const {
    double largest = 0;
    for (int64_t sample = 0; sample < 100; ++sample) {
      const int64_t row = sample * 37 % size.m, column = sample * 53 % size.n;
      double sum = 0, terms = 0;
      for (int64_t i = 0; i < size.k; ++i) {
        const int64_t in_a = size.transpose_a ? i * size.m + row : row * size.k + i;
        const int64_t in_b = size.transpose_b ? column * size.k + i : i * size.n + column;
        const double term = double{a[static_cast<size_t>(in_a)]} * b[static_cast<size_t>(in_b)];
        sum += term;
        terms += std::abs(term);
      }
      largest = std::max(largest, std::abs(sum - c[static_cast<size_t>(row * size.n + column)]) / terms);
    }
    return largest;
  }
};

/// Thread time where there is one thread, so that what else runs on the machine takes no part; else wall
/// time.
double seconds() {
  timespec now{};
  clock_gettime(device().threads().thread_count() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

/// Seconds that this process's threads, together, have been ready and not running since they began.
double seconds_waited() {
  double nanoseconds = 0;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(thread.path() / "schedstat");
    double ran = 0, waited = 0;
    if (file >> ran >> waited) nanoseconds += waited;
  }
  return nanoseconds * 1e-9;
}

/// What one call took; `disturbed` if another program had one of the processors for a while, which is no use
/// where several threads wait for each other. (Waking a thread takes some microseconds in any case.)
struct Timed {
  double taken;
  bool disturbed;
};

Timed timed(Problem& problem, void (Problem::*multiply)()) {
  const bool several = device().threads().thread_count() > 1;
  const double waited = several ? seconds_waited() : 0;
  const double start = seconds();
  (problem.*multiply)();
  benchmark::ClobberMemory();
  const double taken = seconds() - start;
  return {taken, several && seconds_waited() - waited > 20e-6 + 0.02 * taken};
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<int64_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

/// Verifies one product; false if it is wrong.
bool verified(benchmark::State& state, Problem& problem, void (Problem::*multiply)(), const char* who) {
  std::fill(problem.c.begin(), problem.c.end(), NAN);
  (problem.*multiply)();
  const double error = problem.largest_error();
  if (error <= 1e-5) return true;
  state.SkipWithError(text(who, ": wrong result: error ", error).c_str());
  return false;
}

/// Ours and theirs in turn, each call timed; a pair counts if neither was disturbed. Ratios are theirs /
/// ours.
void run(benchmark::State& state, const Sizes& sizes) {
  Problem problem(sizes);
  if (!verified(state, problem, &Problem::ours, "panda")) return;
  std::vector<double> ours, theirs, ratios;
#if defined(PANDA_BENCH_OPENBLAS)
  if (!verified(state, problem, &Problem::openblas, "openblas")) return;
#endif
  int64_t disturbed = 0;
  for (auto _ : state) {
    const Timed our = timed(problem, &Problem::ours);
    state.SetIterationTime(our.taken);
    Timed their{our.taken, false};
#if defined(PANDA_BENCH_OPENBLAS)
    their = timed(problem, &Problem::openblas);
#endif
    if (our.disturbed || their.disturbed) {
      ++disturbed;
      continue;
    }
    ours.push_back(our.taken);
    theirs.push_back(their.taken);
    ratios.push_back(their.taken / our.taken);
  }
  state.counters["pairs"] = static_cast<double>(ours.size());
  state.counters["pairs_disturbed"] = static_cast<double>(disturbed);
  if (ours.empty()) return;
  const double gflop = 2e-9 * static_cast<double>(sizes.m * sizes.n * sizes.k);
  const double peak = bench::fma_peak_gflops(device().threads().thread_count());
  state.counters["panda_gflops_median"] = gflop / median(ours);
  state.counters["panda_gflops_best"] = gflop / *std::min_element(ours.begin(), ours.end());
  state.counters["peak_percent_best"] = 100 * state.counters["panda_gflops_best"] / peak;
#if defined(PANDA_BENCH_OPENBLAS)
  state.counters["openblas_gflops_median"] = gflop / median(theirs);
  state.counters["openblas_gflops_best"] = gflop / *std::min_element(theirs.begin(), theirs.end());
  state.counters["ratio_median_of_pairs"] = median(ratios);
  state.counters["ratio_of_best"] =
      state.counters["panda_gflops_best"] / state.counters["openblas_gflops_best"];
#endif
}

/// "Intel(R) Xeon(R) Processor", and family, model and caches, for the result file.
void add_machine() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line) && !line.empty();) {
    for (const char* key : {"cpu family", "model", "model name", "cache size"}) {
      const size_t colon = line.find(": ");
      if (colon != std::string::npos && line.substr(0, line.find('\t')) == key) {
        benchmark::AddCustomContext(text("cpu: ", key), line.substr(colon + 2));
      }
    }
  }
}

}  // namespace
}  // namespace panda::kernels

int main(int argc, char** argv) {
  using panda::kernels::device;
  const int threads = device().threads().thread_count();
  for (const auto& s : panda::kernels::kSizes) {
    const std::string name =
        panda::text("gemm/", s.m, "x", s.n, "x", s.k, s.transpose_a ? "_aT" : "", s.transpose_b ? "_bT" : "");
    benchmark::RegisterBenchmark(name.c_str(),
                                 [&s](benchmark::State& state) { panda::kernels::run(state, s); })
        ->UseManualTime()
        ->Unit(benchmark::kMicrosecond);
  }
#if defined(PANDA_BENCH_OPENBLAS)
  openblas_set_num_threads(threads);
  benchmark::AddCustomContext("openblas", openblas_get_config());
  benchmark::AddCustomContext("openblas_core", openblas_get_corename());
#endif
  benchmark::AddCustomContext("device", device().description());
  benchmark::AddCustomContext("clock", threads == 1 ? "thread cpu time" : "wall");
  benchmark::AddCustomContext("fma_peak_gflops", panda::text(panda::bench::fma_peak_gflops(threads)));
  panda::kernels::add_machine();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
