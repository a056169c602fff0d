// What a launch asked for, as errors name it.
#pragma once

#include <cstddef>

#include <vector_types.h>

namespace panda::kernels::cuda {

struct LaunchShape {
  const char* kernel = "";  ///< as PANDA_LAUNCH spells it; a literal
  dim3 grid;
  dim3 block;
  size_t shared_bytes = 0;
};

}  // namespace panda::kernels::cuda
