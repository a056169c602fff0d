// The roofline that the benchmarks compare with: multiply-adds of the widest vectors this machine has, on all
// threads, measured.
#pragma once

namespace panda::bench {

/// f32 GFLOP/s of independent multiply-adds in registers on `threads` threads at once; measured at the first
/// call (about 0.2 s).
[[nodiscard]] double fma_peak_gflops(int threads);

}  // namespace panda::bench
