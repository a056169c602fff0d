// The cpu device's kernels, one per line of kernel_list.def. Where each lives:
//   gemm.cpp  conv2d.cpp (choice, packing) conv2d_direct.cpp conv2d_winograd.cpp conv2d_backward.cpp
//   conv2d_backward_filter.cpp (filter and bias)  pool2d.cpp pool2d_backward.cpp  batch_norm.cpp
//   batch_norm_training.cpp  elementwise.cpp  convert.cpp  reduce.cpp  resize.cpp  loss.cpp  optimizer.cpp
//   kmeans.cpp  sort.cpp  knn.cpp (knn_index, knn_search and the other knn_*); inner loops in simd/.
#pragma once

#include "kernels/kernel_table.h"

namespace panda::kernels::cpu {

#define PANDA_KERNEL(name, Args) void name(Device& device, const Args& args);
#include "kernels/kernel_list.def"
#undef PANDA_KERNEL

}  // namespace panda::kernels::cpu
