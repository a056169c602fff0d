#include "bench/peak.h"

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <numeric>
#include <thread>
#include <vector>

namespace panda::bench {

namespace {

constexpr int64_t kRounds = 10'000'000;

// kRounds * 14 multiply-adds of LANES lanes; returns a value that depends on all of them. A macro, since each
// copy has its own target.
#if defined(__x86_64__)
#define PANDA_VECTOR_REGISTER "+v"
#else
#define PANDA_VECTOR_REGISTER "+w"
#endif
// Fourteen sums by name, not an array: g++ ignores an unroll pragma inside a macro, and would keep an array
// in memory.
#define PANDA_EACH_SUM(DO) \
  DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13)
#define PANDA_START(i) V sum##i = V{} + i##.0f;
#define PANDA_STEP(i)              \
  sum##i = sum##i * factor + term; \
  asm volatile("" : PANDA_VECTOR_REGISTER(sum##i));
#define PANDA_ADD(i) total += sum##i;
#define PANDA_MULTIPLY_ADD_LOOP(LANES)                     \
  typedef float V __attribute__((vector_size(LANES * 4))); \
  PANDA_EACH_SUM(PANDA_START)                              \
  const V factor = V{} + 0.999f;                           \
  const V term = V{} + 0.001f;                             \
  for (int64_t round = 0; round < kRounds; ++round) {      \
    PANDA_EACH_SUM(PANDA_STEP)                             \
  }                                                        \
  V total = {};                                            \
  PANDA_EACH_SUM(PANDA_ADD)                                \
  return total[0];

float baseline_loop() {
  PANDA_MULTIPLY_ADD_LOOP(4)
}
#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) float avx2_loop() {
  PANDA_MULTIPLY_ADD_LOOP(8)
}
__attribute__((target("avx512f,fma"))) float avx512_loop() {
  PANDA_MULTIPLY_ADD_LOOP(16)
}
#endif

struct Loop {
  float (*run)();
  int lanes;
};

Loop widest_loop() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return {avx512_loop, 16};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {avx2_loop, 8};
#endif
  return {baseline_loop, 4};
}

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// By each thread's own processor time, so that other programs on the machine do not lower the roofline.
double measure(int threads) {
  const Loop loop = widest_loop();
  double best = 0;
  for (int repetition = 0; repetition < 3; ++repetition) {
    std::vector<std::thread> workers;
    std::vector<double> gflops(static_cast<size_t>(threads));
    for (int t = 0; t < threads; ++t) {
      workers.emplace_back([&, t] {
        const double start = thread_seconds();
        volatile float result = loop.run();
        (void)result;
        gflops[static_cast<size_t>(t)] =
            2e-9 * 14 * static_cast<double>(kRounds) * loop.lanes / (thread_seconds() - start);
      });
    }
    for (std::thread& worker : workers) worker.join();
    best = std::max(best, std::accumulate(gflops.begin(), gflops.end(), 0.0));
  }
  return best;
}

}  // namespace

double fma_peak_gflops(int threads) {
  static std::map<int, double> measured;
  const auto [it, fresh] = measured.try_emplace(threads, 0);
  if (fresh) it->second = measure(threads);
  return it->second;
}

}  // namespace panda::bench
