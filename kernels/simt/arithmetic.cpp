#include "kernels/simt/arithmetic.h"

namespace panda::kernels::simt::emulator {

float fma_rounded_once(float a, float b, float c) {
  return std::fma(a, b, c);
}

}  // namespace panda::kernels::simt::emulator
