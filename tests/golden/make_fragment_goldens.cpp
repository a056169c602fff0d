// Writes mma_fragments.txt: which element of its matrix each lane of a warp holds, as CuTe describes the
// instructions (MMA_Traits and Copy_Traits; CUTLASS 7107b05, headers only, on the host):
//
//   g++ -std=c++17 -I CUTLASS/include -I CUDA/include -I CUDA/include/cccl make_fragment_goldens.cpp &&
//   ./a.out
//
// A line is "instruction operand" and then "row,column" for lane 0's elements in order, lane 1's, ... A is
// M x K, B is K x N, C is M x N. For ldmatrix: "address-lane,element" of each 16-bit element that a lane
// gets.
#include <cstdio>

#include <cute/atom/copy_traits_sm75.hpp>
#include <cute/atom/mma_traits_sm80.hpp>
#include <cute/tensor.hpp>

namespace {

enum class Index { kRowFirst, kColumnFirst };

template <typename Layout>
void print(const char* name, const char* operand, Layout layout, int extent, Index index) {
  std::printf("%s %s", name, operand);
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < int(cute::size<1>(layout)); ++i) {
      const int position = int(layout(lane, i));
      const int fast = position % extent;
      const int slow = position / extent;
      std::printf(index == Index::kRowFirst ? " %d,%d" : " %2$d,%1$d", fast, slow);
    }
  }
  std::printf("\n");
}

template <typename Operation>
void print_mma(const char* name) {
  using Traits = cute::MMA_Traits<Operation>;
  print(name, "A", typename Traits::ALayout{}, 16, Index::kRowFirst);
  print(name, "B", typename Traits::BLayout{}, 8, Index::kColumnFirst);  // CuTe's B is N x K
  print(name, "C", typename Traits::CLayout{}, 16, Index::kRowFirst);
}

template <typename Operation>
void print_ldmatrix(const char* name) {
  using Layout = typename cute::Copy_Traits<Operation>::DstLayout;  // (lane, bit) -> bit of the source rows
  const Layout layout;
  std::printf("%s D", name);
  for (int lane = 0; lane < 32; ++lane) {
    for (int bit = 0; bit < int(cute::size<1>(layout)); bit += 16) {
      const int position = int(layout(lane, bit)) / 16;
      std::printf(" %d,%d", position / 8, position % 8);
    }
  }
  std::printf("\n");
}

}  // namespace

int main() {
  print_mma<cute::SM80_16x8x16_F32F16F16F32_TN>("mma_f16");
  print_mma<cute::SM80_16x8x16_F32BF16BF16F32_TN>("mma_bf16");
  print_mma<cute::SM80_16x8x8_F32TF32TF32F32_TN>("mma_tf32");
  print_ldmatrix<cute::SM75_U32x2_LDSM_N>("ldmatrix_x2");
  print_ldmatrix<cute::SM75_U32x4_LDSM_N>("ldmatrix_x4");
  print_ldmatrix<cute::SM75_U16x4_LDSM_T>("ldmatrix_x2_trans");
  print_ldmatrix<cute::SM75_U16x8_LDSM_T>("ldmatrix_x4_trans");
}
