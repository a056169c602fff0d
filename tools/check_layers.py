#!/usr/bin/env python3
"""Checks the layer rule of docs/ARCHITECTURE.md: who may include whom.

kernels/tensor  <-  kernels  <-  autograd  <-  nn  <-  anomaly  <-  tools
      ^--------------------------------------- weights ---------------^
      ^--------------------------------------- data ------------------^

bench/ and tests/ may include everything; nothing includes them. kernels/{reference,cpu,cuda,simt} are implementations: nothing
outside kernels/ includes them. CUDA headers are allowed only under kernels/cuda and kernels/simt.
Prints one line per broken arrow; exit code 1 if there is any.
"""
import pathlib
import re
import sys

# room -> the rooms it may include (itself always). Rooms are the longest matching prefixes.
MAY_INCLUDE = {
    "kernels/tensor": set(),
    "kernels/reference": {"kernels", "kernels/tensor"},
    "kernels/cpu": {"kernels", "kernels/tensor"},
    "kernels/cuda": {"kernels", "kernels/tensor"},
    "kernels/simt": {"kernels", "kernels/tensor", "kernels/cuda"},
    "kernels": {"kernels/tensor", "kernels/reference", "kernels/cpu", "kernels/cuda", "kernels/simt"},
    "autograd": {"kernels", "kernels/tensor"},
    "nn": {"autograd", "kernels", "kernels/tensor"},
    "weights": {"kernels/tensor"},
    "data": {"kernels/tensor"},
    "anomaly": {"nn", "autograd", "kernels", "kernels/tensor", "weights", "data"},
    "tools": {"anomaly", "nn", "autograd", "kernels", "kernels/tensor", "weights", "data"},
}
# The one arrow from a kernel to the emulator that runs it: the dialect's header takes the emulated twins where g++ compiles it.
EXCEPTIONS = {("kernels/cuda/dialect.cuh", "kernels/simt/simt.h")}
UNRESTRICTED = ("bench", "tests")
SOURCES = {".h", ".cpp", ".cu", ".cuh", ".inl", ".def"}
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
CUDA_HEADER = re.compile(r"^(cuda|cublas|cudnn|mma\.h|cooperative_groups|nvrtc|nv/)")


def room_of(path: str):
    parts = path.split("/")
    for length in (2, 1):
        room = "/".join(parts[:length])
        if len(parts) > length and room in MAY_INCLUDE:
            return room
    return parts[0] if parts[0] in UNRESTRICTED else None


def broken_arrows(root: pathlib.Path):
    for top in sorted({room.split("/")[0] for room in MAY_INCLUDE} | set(UNRESTRICTED)):
        for file in sorted((root / top).rglob("*")):
            if file.suffix not in SOURCES:
                continue
            name = file.relative_to(root).as_posix()
            room = room_of(name)
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                match = INCLUDE.match(line)
                if not match:
                    continue
                quoted, target = match.group(1) == '"', match.group(2)
                if CUDA_HEADER.match(target) and room not in ("kernels/cuda", "kernels/simt") and room not in UNRESTRICTED:
                    yield f"{name}:{number}: {room} may not include the CUDA header {target}"
                if not quoted or room in UNRESTRICTED:
                    continue
                target_room = room_of(target)
                if target_room is None:
                    yield f"{name}:{number}: include paths start at the repository root, got {target}"
                elif target_room != room and target_room not in MAY_INCLUDE[room] and (name, target) not in EXCEPTIONS:
                    yield f"{name}:{number}: {room} may not include {target_room} ({target})"


def main() -> int:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent)
    broken = list(broken_arrows(root))
    for line in broken:
        print(line)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
