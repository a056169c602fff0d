// The cpu device's kernels, one per line of kernel_list.def. Where each lives:
//   gemm.cpp  conv2d.cpp (choice, packing) conv2d_direct.cpp conv2d_winograd.cpp  pool2d.cpp  batch_norm.cpp
//   elementwise.cpp  convert.cpp  reduce.cpp  knn.cpp (knn_index, knn_search, knn_candidates); inner loops in simd/.
#pragma once

#include "kernels/kernel_table.h"

namespace panda::kernels::cpu {

#define PANDA_KERNEL(name, Args) void name(Device& device, const Args& args);
#include "kernels/kernel_list.def"
#undef PANDA_KERNEL

}  // namespace panda::kernels::cpu
