// The oracle's kernels: plain loops, f64 accumulation, no threads, no vectorisation. Written to be read
// beside the contracts.
#pragma once

#include "kernels/kernel_table.h"

namespace panda::kernels::reference {

#define PANDA_KERNEL(name, Args) void name(Device& device, const Args& args);
#include "kernels/kernel_list.def"
#undef PANDA_KERNEL

}  // namespace panda::kernels::reference
