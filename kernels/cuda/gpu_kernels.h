// The launchers of kernels/cuda/*.cu, as both compilers make them.
#pragma once

#include <type_traits>

#include "kernels/kernel_table.h"

namespace panda::kernels {

#define PANDA_GPU_KERNEL(name) std::remove_pointer_t<decltype(KernelTable::name)> name;
namespace cuda {
#include "kernels/cuda/gpu_kernel_list.def"
}  // namespace cuda
namespace simt {
#include "kernels/cuda/gpu_kernel_list.def"
}  // namespace simt
#undef PANDA_GPU_KERNEL

}  // namespace panda::kernels
