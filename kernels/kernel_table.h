// The table of function pointers that a device implements, made from kernel_list.def. A null entry means
// "this device has no such kernel": the public call then throws Unsupported naming both.
#pragma once

#include "kernels/tensor/device.h"

namespace panda::kernels {

#define PANDA_KERNEL(name, Args) struct Args;
#include "kernels/kernel_list.def"
#undef PANDA_KERNEL

struct KernelTable {
#define PANDA_KERNEL(name, Args) void (*name)(Device & device, const Args& args) = nullptr;
#include "kernels/kernel_list.def"
#undef PANDA_KERNEL
  /// True for the oracle: where a contract says f32, its kernels also take f64 (all operands of a call
  /// alike), so that a gradient can be checked by central differences.
  bool takes_f64 = false;
  /// Not a kernel: device memory that conv2d_forward takes and gives back while it runs, for these shapes,
  /// dtypes and layouts (the views' addresses are not looked at). Null: none.
  int64_t (*conv2d_forward_workspace)(Device& device, const Conv2dForwardArgs& args) = nullptr;
};

/// Every kernel's name, in the list's order.
inline constexpr const char* kKernelNames[] = {
#define PANDA_KERNEL(name, Args) #name,
#include "kernels/kernel_list.def"
#undef PANDA_KERNEL
};

}  // namespace panda::kernels
