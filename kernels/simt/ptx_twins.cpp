// Asynchronous copies and matrix fragments. Layouts: kernels/cuda/ptx.cuh.
#include "kernels/simt/ptx_twins.h"

#include <algorithm>
#include <cstring>

#include "kernels/simt/race.h"
#include "kernels/simt/runtime.h"
#include "kernels/tensor/dtype.h"
#include "kernels/tensor/error.h"

namespace panda::kernels::simt {

namespace emulator {

namespace {

constexpr int kCopyBytes = 16;
constexpr uint32_t kAllLanes = 0xffffffffu;

void require_aligned16(const void* pointer, const char* what, const Site& site) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  if (address % 16 != 0) fail(site, text(what, " is ", address % 16, " bytes past a multiple of 16"));
}

void land(const PendingCopy& copy) {
  race::write(copy.destination, kCopyBytes);
  std::memcpy(copy.destination, copy.source, static_cast<size_t>(copy.valid_bytes));
  std::memset(copy.destination + copy.valid_bytes, 0, static_cast<size_t>(kCopyBytes - copy.valid_bytes));
}

}  // namespace

void cp_async_wait(int newest) {
  Thread& self = *runtime.current;
  const int done = self.copy_groups - newest;  // groups with a lower number have landed
  auto next = self.copies.begin();
  for (; next != self.copies.end() && next->group < done; ++next) land(*next);
  self.copies.erase(self.copies.begin(), next);
}

namespace {

struct LoadedMatrices {
  const unsigned char* row;
  uint32_t* registers;
};

/// Element (row, column) of matrix q: 16 bits at the row that lane 8q + row named.
uint32_t matrix_element(void* const* operands, int q, int row, int column) {
  uint16_t bits;
  std::memcpy(&bits, static_cast<const LoadedMatrices*>(operands[8 * q + row])->row + 2 * column,
              sizeof bits);
  return bits;
}

template <int kMatrices, bool kTranspose>
void complete_ldmatrix(uint32_t, void* const* operands) {
  for (int lane = 0; lane < 32; ++lane) {
    const int row = lane / 4;
    const int column = 2 * (lane % 4);
    for (int q = 0; q < kMatrices; ++q) {
      const uint32_t low =
          kTranspose ? matrix_element(operands, q, column, row) : matrix_element(operands, q, row, column);
      const uint32_t high = kTranspose ? matrix_element(operands, q, column + 1, row)
                                       : matrix_element(operands, q, row, column + 1);
      static_cast<LoadedMatrices*>(operands[lane])->registers[q] = low | high << 16;
    }
  }
}

template <int kMatrices, bool kTranspose>
void ldmatrix(uint32_t* registers, const void* row, const Site& site) {
  require_capability(75, site);
  LoadedMatrices own = {static_cast<const unsigned char*>(row), registers};
  if (lane_index() < 8 * kMatrices) {  // the other lanes' addresses are not used
    require_aligned16(row, "the row's address", site);
    require_shared(row, 16, site);
    race::read(row, 16);
  }
  rendezvous(kAllLanes, &own, complete_ldmatrix<kMatrices, kTranspose>, site);
}

struct Product {
  float* d;
  const uint32_t* a;
  const uint32_t* b;
};

/// Four f32 of a row: what the baseline's vector registers hold, spelt out because the compiler leaves the
/// loops below scalar at -O2.
using Quad = float __attribute__((vector_size(16)));

/// Rows of 8 f32.
struct Row {
  Quad quads[2];

  float& operator[](int n) { return reinterpret_cast<float*>(quads)[n]; }
};

/// d (16x8) += a (16 x kDepth) b (kDepth x 8), each element summed over the depth in order, in f32. Products
/// of two 8- or 11-bit significands are exact in f32.
template <int kDepth>
void multiply(void* const* operands, const float (&a)[16][kDepth], const Row (&b)[kDepth]) {
  Row sums[16];
  for (int lane = 0; lane < 32; ++lane) {
    const float* d = static_cast<const Product*>(operands[lane])->d;
    const int g = lane / 4;
    const int t = lane % 4;
    sums[g][2 * t] = d[0];
    sums[g][2 * t + 1] = d[1];
    sums[g + 8][2 * t] = d[2];
    sums[g + 8][2 * t + 1] = d[3];
  }
  for (int m = 0; m < 16; ++m) {
    Quad low = sums[m].quads[0];
    Quad high = sums[m].quads[1];
    for (int k = 0; k < kDepth; ++k) {
      low += a[m][k] * b[k].quads[0];
      high += a[m][k] * b[k].quads[1];
    }
    sums[m] = {{low, high}};
  }
  for (int lane = 0; lane < 32; ++lane) {
    float* d = static_cast<const Product*>(operands[lane])->d;
    const int g = lane / 4;
    const int t = lane % 4;
    d[0] = sums[g][2 * t];
    d[1] = sums[g][2 * t + 1];
    d[2] = sums[g + 8][2 * t];
    d[3] = sums[g + 8][2 * t + 1];
  }
}

/// f16 bits to f32 without a branch: the significand and exponent moved into place, then scaled by the
/// difference of the exponents' biases, which makes subnormals right too; infinities and NaNs get the largest
/// exponent back.
float f16_bits_to_float(uint32_t bits) {
  const uint32_t magnitude = bits & 0x7fffu;
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  const uint32_t special = magnitude >= 0x7c00u ? 0x7f800000u : 0u;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(scaled) | special | (bits & 0x8000u) << 16);
}

float bf16_bits_to_float(uint32_t bits) {
  return std::bit_cast<float>(bits << 16);
}

template <float (*kToFloat)(uint32_t)>
void complete_mma_16bit(uint32_t, void* const* operands) {
  float a[16][16];
  Row b[16];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& one = *static_cast<const Product*>(operands[lane]);
    const int g = lane / 4;
    const int t = lane % 4;
    for (int r = 0; r < 4; ++r) {
      const int row = g + 8 * (r & 1);
      const int column = 2 * t + 8 * (r >> 1);
      a[row][column] = kToFloat(one.a[r] & 0xffffu);
      a[row][column + 1] = kToFloat(one.a[r] >> 16);
    }
    for (int r = 0; r < 2; ++r) {
      const int row = 2 * t + 8 * r;
      b[row][g] = kToFloat(one.b[r] & 0xffffu);
      b[row + 1][g] = kToFloat(one.b[r] >> 16);
    }
  }
  multiply<16>(operands, a, b);
}

float tf32_bits_to_float(uint32_t bits) {
  return std::bit_cast<float>(bits & 0xffffe000u);
}

void complete_mma_tf32(uint32_t, void* const* operands) {
  float a[16][8];
  Row b[8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& one = *static_cast<const Product*>(operands[lane]);
    const int g = lane / 4;
    const int t = lane % 4;
    a[g][t] = tf32_bits_to_float(one.a[0]);
    a[g + 8][t] = tf32_bits_to_float(one.a[1]);
    a[g][t + 4] = tf32_bits_to_float(one.a[2]);
    a[g + 8][t + 4] = tf32_bits_to_float(one.a[3]);
    b[t][g] = tf32_bits_to_float(one.b[0]);
    b[t + 4][g] = tf32_bits_to_float(one.b[1]);
  }
  multiply<8>(operands, a, b);
}

}  // namespace

}  // namespace emulator

void cp_async16(void* shared, const void* global, int valid_bytes, const char* file, int line) {
  using namespace emulator;
  const Site site = {"cp_async16", file, line};
  require_aligned16(shared, "the destination", site);
  require_aligned16(global, "the source", site);
  if (valid_bytes < 0 || valid_bytes > kCopyBytes)
    fail(site, text(valid_bytes, " valid bytes, expected 0..16"));
  require_shared(shared, kCopyBytes, site);
  // A copy of nothing may name any address: a loader's padding lies outside the image.
  if (valid_bytes > 0) race::read(global, static_cast<size_t>(valid_bytes));
  Thread& self = *runtime.current;
  const PendingCopy copy = {static_cast<unsigned char*>(shared), static_cast<const unsigned char*>(global),
                            valid_bytes, self.copy_groups, site};
  if (compute_capability() < 80) return land(copy);
  race::copy_issued(shared, kCopyBytes);
  std::memset(shared, poison_byte(), kCopyBytes);
  self.copies.push_back(copy);
}

void cp_async_commit() {
  ++emulator::runtime.current->copy_groups;
}

void ldmatrix_x4(uint32_t (&registers)[4], const void* row, const char* file, int line) {
  emulator::ldmatrix<4, false>(registers, row, {"ldmatrix_x4", file, line});
}
void ldmatrix_x4_trans(uint32_t (&registers)[4], const void* row, const char* file, int line) {
  emulator::ldmatrix<4, true>(registers, row, {"ldmatrix_x4_trans", file, line});
}
void ldmatrix_x2(uint32_t (&registers)[2], const void* row, const char* file, int line) {
  emulator::ldmatrix<2, false>(registers, row, {"ldmatrix_x2", file, line});
}
void ldmatrix_x2_trans(uint32_t (&registers)[2], const void* row, const char* file, int line) {
  emulator::ldmatrix<2, true>(registers, row, {"ldmatrix_x2_trans", file, line});
}

void mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const char* file, int line) {
  emulator::Product own = {d, a, b};
  emulator::rendezvous(emulator::kAllLanes, &own, emulator::complete_mma_16bit<emulator::f16_bits_to_float>,
                       {"mma_f16", file, line});
}
void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const char* file, int line) {
  const emulator::Site site = {"mma_bf16", file, line};
  emulator::require_capability(80, site);
  emulator::Product own = {d, a, b};
  emulator::rendezvous(emulator::kAllLanes, &own, emulator::complete_mma_16bit<emulator::bf16_bits_to_float>,
                       site);
}
void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const char* file, int line) {
  const emulator::Site site = {"mma_tf32", file, line};
  emulator::require_capability(80, site);
  emulator::Product own = {d, a, b};
  emulator::rendezvous(emulator::kAllLanes, &own, emulator::complete_mma_tf32, site);
}

}  // namespace panda::kernels::simt
