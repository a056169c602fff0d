#!/bin/sh
# install_dependencies.sh [GROUP...]: makes sure that what PANDA is built with is there, from Debian's own packages.
#   build    compiler, CMake, Ninja and the four libraries (the default)
#   test     GoogleTest and Google Benchmark
#   fuzz     clang with libFuzzer
#   aarch64  the cross compiler for 64-bit ARM, the libraries for it, qemu
# Nothing is touched when everything is there. Without root it uses sudo if that asks no password; else it says what to install.
set -eu

packages_of() {
    case $1 in
    build) echo "g++ cmake ninja-build pkg-config zlib1g-dev libpng-dev libjpeg62-turbo-dev nlohmann-json3-dev" ;;
    test) echo "libgtest-dev libbenchmark-dev" ;;
    fuzz) echo "clang libclang-rt-14-dev" ;;
    aarch64) echo "g++-aarch64-linux-gnu zlib1g-dev:arm64 libpng-dev:arm64 libjpeg62-turbo-dev:arm64 libgtest-dev:arm64 qemu-user" ;;
    *)
        echo "install_dependencies.sh: unknown group '$1', expected build, test, fuzz or aarch64" >&2
        exit 2
        ;;
    esac
}

[ $# -gt 0 ] || set -- build
wanted=""
for group in "$@"; do wanted="$wanted $(packages_of "$group")"; done

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "install_dependencies.sh: this is not Debian; build with your system's own packages of:$wanted" >&2
    exit 0
fi
missing=""
native=$(dpkg --print-architecture)
for package in $wanted; do
    # A package may be there for several architectures: one line each.
    case $package in
    *:*) architecture=${package##*:} ;;
    *) architecture=$native ;;
    esac
    dpkg-query -W -f='${Status} ${Architecture}\n' "$package" 2>/dev/null |
        grep -qE "^install ok installed ($architecture|all)\$" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root="sudo"
else
    echo "install_dependencies.sh: missing packages, please install them as root: apt-get install$missing" >&2
    exit 3
fi
echo "Installing:$missing"
export DEBIAN_FRONTEND=noninteractive
case $missing in
*:arm64*) $as_root dpkg --add-architecture arm64 ;;
esac
$as_root apt-get update -qq
# shellcheck disable=SC2086 # a list of words
$as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
