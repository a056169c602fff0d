#!/bin/sh
# check_aarch64.sh: cross-compiles the command for 64-bit ARM, and runs it and the kernels' conformance cases under qemu.
# Needs: tools/install_dependencies.sh aarch64.
set -eu
cd "$(dirname "$0")/.."
cmake -G Ninja -B build/aarch64 -DCMAKE_BUILD_TYPE=Release --toolchain cmake/aarch64-linux-gnu.cmake -DPANDA_BENCH=OFF >/dev/null
cmake --build build/aarch64 --target panda conformance test_tensor test_reference test_support
# Emulated instruction by instruction, so not the sweeps: the misaligned, empty and error cases of every kernel.
cd build/aarch64
ctest --output-on-failure -R '^test_(tensor|reference|support)$'
qemu-aarch64 bin/conformance --gtest_brief=1 --gtest_filter='*.misaligned*:*.empty*:*.error*'
qemu-aarch64 bin/panda info
