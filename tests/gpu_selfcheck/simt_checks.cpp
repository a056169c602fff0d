// checks.cu as g++ builds it for the emulator.
#include "tests/gpu_selfcheck/checks.cu"
