// Asynchronous copies and matrix fragments against their definitions; the fragments' layouts against tables
// that CuTe made (tests/golden/make_fragment_goldens.cpp).
#include <array>
#include <cmath>
#include <fstream>
#include <sstream>

#include "kernels/tensor/random.h"
#include "tests/unit/simt/support.h"

namespace panda::kernels::simt {
namespace {

struct Position {
  int row, column;
};
/// positions[lane][element]
using FragmentTable = std::vector<std::vector<Position>>;

FragmentTable fragment_table(const std::string& instruction, const std::string& operand) {
  std::ifstream file(PANDA_SOURCE_DIR "/tests/golden/mma_fragments.txt");
  EXPECT_TRUE(file.good());
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    std::string which;
    words >> name >> which;
    if (name != instruction || which != operand) continue;
    std::vector<Position> all;
    Position one = {};
    for (char comma = 0; words >> one.row >> comma >> one.column;) all.push_back(one);
    const size_t per_lane = all.size() / 32;
    FragmentTable table(32);
    for (size_t i = 0; i < all.size(); ++i) table[i / per_lane].push_back(all[i]);
    return table;
  }
  ADD_FAILURE() << "no table " << instruction << " " << operand;
  return FragmentTable(32);
}

/// How one type of operand is put into registers.
struct MmaKind {
  const char* name;
  int depth;
  int elements_per_register;
  uint32_t (*encode)(float);
  void (*mma)(float (&)[4], const uint32_t (&)[4], const uint32_t (&)[2]);
};

const MmaKind kMmaKinds[] = {
    {"mma_f16", 16, 2, [](float x) -> uint32_t { return to_float16(x).bits; },
     [](float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { mma_f16(d, a, b); }},
    {"mma_bf16", 16, 2, [](float x) -> uint32_t { return to_bfloat16(x).bits; },
     [](float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { mma_bf16(d, a, b); }},
    // The low 13 bits are noise that the instruction must not see.
    {"mma_tf32", 8, 1, [](float x) -> uint32_t { return std::bit_cast<uint32_t>(x) | 0x1abcu; },
     [](float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { mma_tf32(d, a, b); }},
};

class SimtMma : public ::testing::TestWithParam<MmaKind> {
 protected:
  /// d = a b + d of whole matrices, distributed and collected by the golden tables.
  std::vector<float> product(SimtDevice& device, const std::vector<float>& a, const std::vector<float>& b,
                             const std::vector<float>& d) const {
    const MmaKind& kind = GetParam();
    std::vector<float> result(16 * 8);
    run_kernel(1, 32, 0, device, [&] {
      const size_t lane = threadIdx.x;
      uint32_t a_registers[4] = {};
      uint32_t b_registers[2] = {};
      float sums[4];
      const auto pack = [&](uint32_t* registers, const std::vector<Position>& positions,
                            const std::vector<float>& matrix, int columns) {
        const auto per_register = static_cast<size_t>(kind.elements_per_register);
        for (size_t i = 0; i < positions.size(); ++i) {
          const float value = matrix[static_cast<size_t>(positions[i].row * columns + positions[i].column)];
          registers[i / per_register] |= kind.encode(value) << (16 * (i % per_register));
        }
      };
      pack(a_registers, a_table_[lane], a, kind.depth);
      pack(b_registers, b_table_[lane], b, 8);
      for (size_t i = 0; i < 4; ++i) sums[i] = d[index(c_table_[lane][i])];
      kind.mma(sums, a_registers, b_registers);
      for (size_t i = 0; i < 4; ++i) result[index(c_table_[lane][i])] = sums[i];
    });
    return result;
  }

  static size_t index(const Position& position) {
    return static_cast<size_t>(position.row * 8 + position.column);
  }

  FragmentTable a_table_ = fragment_table(GetParam().name, "A");
  FragmentTable b_table_ = fragment_table(GetParam().name, "B");
  FragmentTable c_table_ = fragment_table(GetParam().name, "C");
};

TEST_P(SimtMma, EachElementOfAMeetsItsRowOfB) {
  const int depth = GetParam().depth;
  SimtDevice device;
  std::vector<float> b(static_cast<size_t>(depth) * 8);
  for (size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(i + 1);
  std::vector<float> d(16 * 8);
  for (size_t i = 0; i < d.size(); ++i) d[i] = 1000.0f * static_cast<float>(i);
  for (int m = 0; m < 16; ++m) {
    for (int k = 0; k < depth; ++k) {
      std::vector<float> a(static_cast<size_t>(16 * depth));
      a[static_cast<size_t>(m * depth + k)] = 2;
      const std::vector<float> result = product(device, a, b, d);
      for (int row = 0; row < 16; ++row) {
        for (int n = 0; n < 8; ++n) {
          const auto at = static_cast<size_t>(row * 8 + n);
          ASSERT_EQ(result[at], d[at] + (row == m ? 2 * b[static_cast<size_t>(k * 8 + n)] : 0))
              << m << " " << k;
        }
      }
    }
  }
}

TEST_P(SimtMma, SumsOverTheDepthInEveryOrderOfThreads) {
  const int depth = GetParam().depth;
  Random random(3);
  const auto draw = [&](size_t count) {
    std::vector<float> values(count);
    for (float& x : values) x = static_cast<float>(random.next_below(17) - 8) / 4;
    return values;
  };
  const std::vector<float> a = draw(static_cast<size_t>(16 * depth));
  const std::vector<float> b = draw(static_cast<size_t>(depth * 8));
  const std::vector<float> d = draw(16 * 8);
  for (const SimtOptions& options : every_order()) {
    SimtDevice device(options);
    const std::vector<float> result = product(device, a, b, d);
    for (int m = 0; m < 16; ++m) {
      for (int n = 0; n < 8; ++n) {
        float expected = d[static_cast<size_t>(m * 8 + n)];
        for (int k = 0; k < depth; ++k)
          expected += a[static_cast<size_t>(m * depth + k)] * b[static_cast<size_t>(k * 8 + n)];
        EXPECT_EQ(result[static_cast<size_t>(m * 8 + n)], expected) << m << " " << n;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, SimtMma, ::testing::ValuesIn(kMmaKinds),
                         [](const auto& one) { return std::string(one.param.name); });

TEST(SimtMmaF16, TakesEveryBitPatternAsTheStorageTypeMeansIt) {
  SimtDevice device;
  for (uint32_t first = 0; first < 65536; first += 16) {
    std::array<float, 16> seen = {};
    run_kernel(1, 32, 0, device, [&] {
      const unsigned g = threadIdx.x / 4;
      const bool column_0 = threadIdx.x % 4 == 0;  // a[m][0] = pattern, b[0][0] = 1, all else 0
      const uint32_t a[4] = {column_0 ? first + g : 0, column_0 ? first + g + 8 : 0, 0, 0};
      const uint32_t b[2] = {threadIdx.x == 0 ? to_float16(1).bits : 0u, 0};
      float d[4] = {};
      mma_f16(d, a, b);
      if (column_0) {
        seen[g] = d[0];
        seen[g + 8] = d[2];
      }
    });
    for (uint32_t i = 0; i < 16; ++i) {
      const float expected = to_float(Float16{static_cast<uint16_t>(first + i)});
      if (std::isnan(expected)) {
        EXPECT_TRUE(std::isnan(seen[i])) << first + i;
      } else {
        EXPECT_EQ(seen[i], expected) << first + i;
      }
    }
  }
}

/// Loads 8 * matrices rows of 8 elements, numbered from 0, by `load`; compares with the golden table.
template <int kRegisters, typename Load>
void expect_ldmatrix(const std::string& name, Load load) {
  const FragmentTable table = fragment_table(name, "D");
  for (const SimtOptions& options : every_order()) {
    SimtDevice device(options);
    run_kernel(1, 64, 0, device, [&] {
      PANDA_SHARED(uint16_t, rows, [2][8 * kRegisters][8]);
      const unsigned warp = threadIdx.x / 32;
      const unsigned lane = threadIdx.x % 32;
      for (unsigned i = lane; i < 64 * kRegisters; i += 32)
        rows[warp][i / 8][i % 8] = static_cast<uint16_t>(warp * 1000 + i);
      __syncwarp();
      uint32_t registers[kRegisters];
      load(registers, &rows[warp][lane % (8 * kRegisters)][0]);
      for (size_t i = 0; i < 2 * kRegisters; ++i) {
        const Position& source = table[lane][i];
        EXPECT_EQ(registers[i / 2] >> (16 * (i % 2)) & 0xffffu,
                  warp * 1000 + static_cast<unsigned>(source.row * 8 + source.column))
            << name << ", lane " << lane << ", element " << i;
      }
    });
  }
}

TEST(SimtLdmatrix, GivesEachLaneTheElementsOfTheTables) {
  expect_ldmatrix<2>("ldmatrix_x2", [](uint32_t(&r)[2], const void* row) { ldmatrix_x2(r, row); });
  expect_ldmatrix<4>("ldmatrix_x4", [](uint32_t(&r)[4], const void* row) { ldmatrix_x4(r, row); });
  expect_ldmatrix<2>("ldmatrix_x2_trans",
                     [](uint32_t(&r)[2], const void* row) { ldmatrix_x2_trans(r, row); });
  expect_ldmatrix<4>("ldmatrix_x4_trans",
                     [](uint32_t(&r)[4], const void* row) { ldmatrix_x4_trans(r, row); });
}

TEST(SimtLdmatrix, RefusesRowsThatAreMisalignedOrNotShared) {
  expect_contains(failure(1, 32, 0,
                          [] {
                            PANDA_SHARED(uint16_t, rows, [16][12]);  // 24 bytes a row
                            uint32_t registers[2];
                            ldmatrix_x2(registers, &rows[threadIdx.x % 16][0]);
                          }),
                  "ldmatrix_x2 at ", "the row's address is 8 bytes past a multiple of 16");
  expect_contains(failure(1, 32, 0,
                          [] {
                            alignas(16) uint16_t mine[8] = {};
                            uint32_t registers[4];
                            ldmatrix_x4(registers, mine);
                          }),
                  "ldmatrix_x4 at ", "its 16 bytes are not within one shared variable");
  expect_contains(failure(1, 32, 256,
                          [] {
                            PANDA_DYNAMIC_SHARED(uint16_t, rows);
                            uint32_t registers[4];
                            ldmatrix_x4(registers, rows + 8 * threadIdx.x);
                          }),
                  "thread (16,0,0)", "its 16 bytes are not within one shared variable");
}

TEST(SimtLdmatrix, NeedsWholeWarps) {
  expect_contains(failure(1, 16, 256,
                          [] {
                            PANDA_DYNAMIC_SHARED(uint16_t, rows);
                            uint32_t registers[2];
                            ldmatrix_x2(registers, rows);
                          }),
                  "mask 0xffffffff names lanes that the warp does not have");
}

TEST(SimtCpAsync, LandsAtTheWaitWithZerosPastTheValidBytes) {
  for (const SimtOptions& options : every_order()) {
    SimtDevice device(options);
    alignas(16) std::array<uint8_t, 17 * 16> global;
    for (size_t i = 0; i < global.size(); ++i) global[i] = static_cast<uint8_t>(i % 251 + 1);
    run_kernel(1, 17, 17 * 16, device, [&] {
      PANDA_DYNAMIC_SHARED(uint8_t, shared);
      const unsigned i = threadIdx.x;
      std::memset(shared + 16 * i, 0x11, 16);
      cp_async16(shared + 16 * i, global.data() + 16 * i, static_cast<int>(i));
      EXPECT_EQ(peek(shared[16 * i]), 0xff);  // neither the old bytes nor the new ones
      EXPECT_EQ(peek(shared[16 * i + 15]), 0xff);
      cp_async_commit();
      cp_async_wait<0>();
      __syncthreads();
      const unsigned other = 16 - i;
      for (unsigned byte = 0; byte < 16; ++byte)
        EXPECT_EQ(shared[16 * other + byte], byte < other ? global[16 * other + byte] : 0);
    });
  }
}

TEST(SimtCpAsync, WaitsLeaveTheNewestGroupsUnderWay) {
  SimtDevice device;
  alignas(16) std::array<uint32_t, 16> global;
  global.fill(7);
  run_kernel(1, 1, 64, device, [&] {
    PANDA_DYNAMIC_SHARED(uint32_t, shared);
    const auto landed = [&] {
      int count = 0;
      for (int i = 0; i < 4; ++i) count = count * 10 + (peek(shared[4 * i]) == 7 ? 1 : 0);
      return count;
    };
    for (int i = 0; i < 3; ++i) {
      cp_async16(shared + 4 * i, global.data() + 4 * i, 16);
      cp_async_commit();
    }
    cp_async16(shared + 12, global.data(), 16);  // of no group yet
    cp_async_wait<3>();
    EXPECT_EQ(landed(), 0);
    cp_async_wait<2>();
    EXPECT_EQ(landed(), 1000);
    cp_async_commit();
    cp_async_commit();  // an empty group counts
    cp_async_wait<2>();
    EXPECT_EQ(landed(), 1110);
    cp_async_wait<1>();
    EXPECT_EQ(landed(), 1111);
  });
}

TEST(SimtCpAsync, LandsAtOnceBeforeSm80) {
  SimtOptions options;
  options.properties.compute_capability = 75;
  SimtDevice device(options);
  alignas(16) const std::array<uint32_t, 4> global = {1, 2, 3, 4};
  run_kernel(1, 1, 16, device, [&] {
    PANDA_DYNAMIC_SHARED(uint32_t, shared);
    cp_async16(shared, global.data(), 8);
    EXPECT_EQ(shared[1], 2u);
    EXPECT_EQ(shared[2], 0u);
  });
}

TEST(SimtCpAsync, RefusesWhatAGpuWould) {
  alignas(16) static const std::array<uint8_t, 64> global = {};
  const auto copy_once = [](unsigned destination, size_t source, int valid_bytes, bool wait) {
    return failure(1, 1, 32, [=] {
      PANDA_DYNAMIC_SHARED(uint8_t, shared);
      cp_async16(shared + destination, global.data() + source, valid_bytes);
      cp_async_commit();
      if (wait) cp_async_wait<0>();
    });
  };
  EXPECT_EQ(copy_once(16, 32, 16, true), "");
  expect_contains(copy_once(8, 0, 16, true), "cp_async16 at ",
                  "the destination is 8 bytes past a multiple of 16");
  expect_contains(copy_once(0, 4, 16, true), "the source is 4 bytes past a multiple of 16");
  expect_contains(copy_once(0, 0, 17, true), "17 valid bytes, expected 0..16");
  expect_contains(copy_once(0, 0, -1, true), "-1 valid bytes");
  expect_contains(copy_once(32, 0, 16, true), "its 16 bytes are not within one shared variable");
  expect_contains(copy_once(0, 0, 16, false), "cp_async16 at ", "the thread ended before cp_async_wait");
}

TEST(SimtCapability, NewerInstructionsAreRefusedOnOlderDevices) {
  SimtOptions options;
  options.properties.compute_capability = 75;
  const auto refused = [&](const std::function<void()>& body) { return failure(1, 32, 0, body, options); };
  expect_contains(refused([] {
                    float d[4] = {};
                    mma_bf16(d, {0, 0, 0, 0}, {0, 0});
                  }),
                  "mma_bf16 at ", "needs compute capability 80, the device has 75");
  expect_contains(refused([] {
                    float d[4] = {};
                    mma_tf32(d, {0, 0, 0, 0}, {0, 0});
                  }),
                  "mma_tf32 at ", "needs compute capability 80");
  expect_contains(refused([] { (void)to_tf32(1); }), "to_tf32 at ", "needs compute capability 80");
  expect_contains(refused([] { (void)__reduce_add_sync(0xffffffffu, 1); }), "needs compute capability 80");
  EXPECT_EQ(refused([] {
              float d[4] = {};
              mma_f16(d, {0, 0, 0, 0}, {0, 0});
            }),
            "");
}

}  // namespace
}  // namespace panda::kernels::simt
