#!/usr/bin/env python3
"""Checks that the kernels of kernels/cuda/*.cu, *.cuh keep to the dialect that both nvcc and the emulator take
(kernels/simt/DIALECT.md): what only one of them understands, or what the emulator cannot check, is named here.
Prints one line per breach; exit code 1 if there is any.
"""
import pathlib
import re
import sys

# The headers that make the dialect out of CUDA may use all of it.
MAKERS = {"dialect.cuh", "launch.cuh", "ptx.cuh", "ptx_sm90.cuh"}
FORBIDDEN = [
    (r"\basm\b", "inline PTX belongs into ptx.cuh or ptx_sm90.cuh, with an emulated twin"),
    (r"__CUDA_ARCH__|__CUDACC__", "the emulator would silently take the other branch"),
    (r"<<<", "launch through PANDA_LAUNCH"),
    (r"__shared__", "declare through PANDA_SHARED or PANDA_DYNAMIC_SHARED"),
    (r"\bcuda[A-Z]\w*\s*\(", "the CUDA runtime is the device's affair"),
    (r"__activemask\b", "its value is undefined where lanes have diverged; name the lanes"),
    (r"__(shfl|shfl_up|shfl_down|shfl_xor|any|all|ballot)\s*\(", "these need the _sync form"),
    (r"\bcooperative_groups\b|\bnvcuda\b|<cuda/", "the emulator has no such library"),
    (r"\b__noinline__\b", "libstdc++ uses the name"),
]
COMMENT_OR_STRING = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)


def empty_loops(code: str):
    """Positions of loops without a body: only another thread could end them."""
    for match in re.finditer(r"(\}\s*)?\b(while|for)\s*\(", code):
        depth, end = 1, match.end()
        while depth > 0 and end < len(code):
            depth += {"(": 1, ")": -1}.get(code[end], 0)
            end += 1
        if match.group(1) is None and code[end:].lstrip().startswith(";"):  # not the end of a do-while
            yield match.start()


def breaches(root: pathlib.Path):
    for file in sorted((root / "kernels" / "cuda").rglob("*.cu*")):
        if file.name in MAKERS:
            continue
        # Comments and strings may name anything; line numbers stay.
        code = COMMENT_OR_STRING.sub(lambda m: "\n" * m.group().count("\n") or " ", file.read_text(encoding="utf-8"))
        name = file.relative_to(root).as_posix()
        for pattern, why in FORBIDDEN:
            for match in re.finditer(pattern, code):
                yield name, code.count("\n", 0, match.start()) + 1, f"{match.group().strip()}: {why}"
        for start in empty_loops(code):
            yield name, code.count("\n", 0, start) + 1, "a loop without a body waits for another thread: call __nanosleep in it"


def main() -> int:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent)
    found = sorted(breaches(root))
    for name, line, what in found:
        print(f"{name}:{line}: {what}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
