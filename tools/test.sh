#!/bin/sh
# test.sh [--quick]: builds everything and runs every test; the first failure ends it.
#   1  the release build, configured and compiled with the network cut, its tests; where nvcc is at hand with the CUDA device, compiled
#      for one GPU: warnings, registers and spills, and the tests of the device
#   2  the tests under AddressSanitizer and UndefinedBehaviorSanitizer, in a build without CUDA
#   3  the emulated CUDA kernels with the race checker; bugs planted into them, each of which must be found
#   4  every fuzz target for PANDA_FUZZ_SECONDS (default 20) from its committed seeds, where clang is at hand
#   5  the aarch64 baseline, where a cross compiler is at hand
# --quick: the release build without CUDA, and its tests. Real data is used if PANDA_DATA names its folder; without it those tests skip
# and say so.
set -eu
cd "$(dirname "$0")/.."
quick=no
case ${1:-} in
--quick) quick=yes ;;
"") ;;
*)
    echo "usage: tools/test.sh [--quick]" >&2
    exit 2
    ;;
esac

tools/install_dependencies.sh build test

# A namespace without network devices: whatever tries to download fails here and not at an air-gapped site.
if unshare -Un true 2>/dev/null; then
    offline="unshare -Un"
else
    offline=""
    echo "test.sh: no user namespaces on this machine: building without the network cut"
fi

started=$(date +%s)
step() { printf '\n== %s (after %s s)\n' "$*" "$(($(date +%s) - started))"; }

if [ "$quick" = no ] && { command -v nvcc >/dev/null 2>&1 || [ -x /usr/local/cuda/bin/nvcc ]; }; then
    step "release, with CUDA"
    # One architecture: what the others would say differs little, and ptxas is slow.
    $offline cmake --preset cuda -DPANDA_CUDA_ARCHITECTURES=90a-real
    $offline cmake --build --preset cuda
    PATH="$PATH:/usr/local/cuda/bin" tools/kernel_resources.py build/cuda
    ctest --preset cuda
    build/cuda/bin/panda -q info
else
    step "release"
    $offline cmake --preset release
    $offline cmake --build --preset release
    ctest --preset release
    [ "$quick" = no ] || exit 0
fi

step "sanitizers"
$offline cmake --preset debug
$offline cmake --build --preset debug
ctest --preset debug

step "races"
$offline cmake --preset race
$offline cmake --build --preset race --target conformance test_race test_simt
ctest --preset race

step "fuzzing"
if tools/install_dependencies.sh fuzz && command -v clang++ >/dev/null 2>&1; then
    tools/fuzz.sh "${PANDA_FUZZ_SECONDS:-20}"
else
    echo "skipped: no clang"
fi

step "aarch64"
if [ -e /usr/lib/aarch64-linux-gnu/libgtest.a ] && command -v aarch64-linux-gnu-g++ qemu-aarch64 >/dev/null 2>&1; then
    tools/check_aarch64.sh
else
    echo "skipped: no cross compiler (tools/install_dependencies.sh aarch64)"
fi
