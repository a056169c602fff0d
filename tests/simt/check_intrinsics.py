#!/usr/bin/env python3
"""Demands that everything the emulator imitates has a test of its own (tests/unit/simt) and a line of gpu_selfcheck, which compares it with the hardware, and that
so has every function of the C library that a kernel calls.

usage: check_intrinsics.py ROOT [--selfcheck FILE]
Prints one line per gap; exit code 1 if there is any.
"""
import argparse
import pathlib
import re
import sys

HEADERS = ["arithmetic.h", "atomics.h", "warp.h", "ptx_twins.h", "ptx_sm90_twins.h"]
# Functions of the C library: their own tests are the library's. A kernel's call of one is compared with the hardware.
LIBRARY = r"\b(exp|expf|expm1|expm1f|log|logf|log1p|log1pf|sqrt|sqrtf|fabs|fabsf|rintf|tanhf?|sinf?|cosf?|erff?|cbrtf?|hypotf?|exp2f?|log2f?)\("
NO_SELFCHECK = {
    "__threadfence": "a fence has no result", "__threadfence_block": "a fence has no result", "__threadfence_system": "a fence has no result",
    "__nanosleep": "time has no result", "__trap": "ends the kernel on both", "__ldg": "a load like any other, through another cache",
    "lower_registers": "changes no value", "raise_registers": "changes no value",
}
NO_TEST = {"__threadfence": "does nothing here", "__threadfence_block": "does nothing here", "__threadfence_system": "does nothing here",
           "lower_registers": "does nothing here but ask for the device", "raise_registers": "does nothing here but ask for the device"}
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
DECLARED = re.compile(r"^(?:template <[^\n]*>\n)?(?:\[\[\w+\]\] )?(?:inline |constexpr )*[\w:]+(?: \w+)*[ *&]+(\w+)\(", re.MULTILINE)


def code(file):
    return COMMENT.sub(" ", file.read_text(encoding="utf-8"))


def emulated(root):
    """Functions of the headers that are not the emulator's own affair."""
    names = set()
    for header in HEADERS:
        text = code(root / "kernels" / "simt" / header)
        text = re.sub(r"^namespace emulator \{.*?^\}", "", text, flags=re.DOTALL | re.MULTILINE)
        text = re.sub(r"^#[^\n]*(?:\\\n[^\n]*)*", "", text, flags=re.MULTILINE)  # macros
        names.update(DECLARED.findall(text))
    return names - {"defined"}


def library_calls(root):
    return {name for file in (root / "kernels" / "cuda").rglob("*.cu*") for name in re.findall(LIBRARY, re.sub(r"std::\w+", " ", code(file)))}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=pathlib.Path)
    parser.add_argument("--selfcheck", type=pathlib.Path)
    options = parser.parse_args()
    named = lambda name, text: re.search(rf"\b{name}\b", text) is not None
    selfcheck = code(options.selfcheck or options.root / "tests" / "gpu_selfcheck" / "checks.cu")
    tests = "".join(code(file) for file in sorted((options.root / "tests" / "unit" / "simt").glob("*.cpp")))
    intrinsics, library = emulated(options.root), library_calls(options.root)
    if len(intrinsics) < 80 or not library:
        sys.exit(f"check_intrinsics.py: found {len(intrinsics)} intrinsics, expected 80 at least: are the headers written otherwise?")
    gaps = [f"{name}: no test in tests/unit/simt" for name in sorted(intrinsics - set(NO_TEST)) if not named(name, tests)]
    gaps += [f"{name}: not in gpu_selfcheck" for name in sorted((intrinsics | library) - set(NO_SELFCHECK)) if not named(name, selfcheck)]
    gaps += [f"{name}: excepted here, but not emulated" for name in sorted((set(NO_SELFCHECK) | set(NO_TEST)) - intrinsics)]
    print("\n".join(gaps) if gaps else f"{len(intrinsics)} intrinsics and {len(library)} library functions, all compared with the hardware")
    return 1 if gaps else 0


if __name__ == "__main__":
    sys.exit(main())
