#!/bin/sh
# quickstart.sh [DIR]: from a bare Debian 12 to the main job's result: installs what is missing, builds, runs `panda demo`.
# The demo's data, table and pictures go to DIR (default: out/demo).
set -eu
cd "$(dirname "$0")/.."
out=${1:-out/demo}

tools/install_dependencies.sh build
cmake --preset release -DPANDA_TESTS=OFF -DPANDA_BENCH=OFF -B build/quickstart
cmake --build build/quickstart
build/quickstart/bin/panda demo --out "$out" --force
echo
echo "Your own images:  build/quickstart/bin/panda fit dn2 --dataset folder --data DIR --weights embedded --out model.safetensors"
echo "                  build/quickstart/bin/panda score model.safetensors IMAGE_OR_DIR"
