// Asynchronous copies and matrix fragments against their definitions.
#include <array>

#include "kernels/tensor/random.h"
#include "tests/unit/simt/support.h"

namespace panda::kernels::simt {
namespace {

TEST(SimtMma, MultipliesIntegersExactly) {
  // Small integers: every product and sum is exact in any order. Loaded by ldmatrix from shared memory.
  for (const SimtOptions& options : every_order()) {
    SimtDevice device(options);
    Random random(5);
    std::array<int, 16 * 16> a;
    std::array<int, 16 * 8> b;
    for (int& x : a) x = static_cast<int>(random.next_below(9)) - 4;
    for (int& x : b) x = static_cast<int>(random.next_below(9)) - 4;
    std::array<float, 16 * 8> d = {};
    run_kernel(1, 32, 0, device, [&] {
      PANDA_SHARED(Float16, a_tile, [16][16]);
      PANDA_SHARED(Float16, b_tile, [16][8]);
      const auto lane = static_cast<int>(threadIdx.x);
      for (int i = lane; i < 256; i += 32)
        a_tile[i / 16][i % 16] = from_float<Float16>(static_cast<float>(a[i]));
      for (int i = lane; i < 128; i += 32)
        b_tile[i / 8][i % 8] = from_float<Float16>(static_cast<float>(b[i]));
      __syncthreads();
      uint32_t a_registers[4];
      uint32_t b_registers[2];
      ldmatrix_x4(a_registers, &a_tile[lane % 16][lane / 16 * 8]);
      ldmatrix_x2_trans(b_registers, &b_tile[lane % 16][0]);
      float sums[4] = {0, 0, 0, 0};
      mma_f16(sums, a_registers, b_registers);
      const int g = lane / 4;
      const int t = lane % 4;
      d[g * 8 + 2 * t] = sums[0];
      d[g * 8 + 2 * t + 1] = sums[1];
      d[(g + 8) * 8 + 2 * t] = sums[2];
      d[(g + 8) * 8 + 2 * t + 1] = sums[3];
    });
    for (int m = 0; m < 16; ++m) {
      for (int n = 0; n < 8; ++n) {
        int expected = 0;
        for (int k = 0; k < 16; ++k) expected += a[m * 16 + k] * b[k * 8 + n];
        EXPECT_EQ(d[m * 8 + n], static_cast<float>(expected)) << m << "," << n << " " << device.description();
      }
    }
  }
}

}  // namespace
}  // namespace panda::kernels::simt
