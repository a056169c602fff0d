#!/usr/bin/env python3
"""Compiles sources twice, as the build tree does but without ccache, and demands the same bytes both times.

usage: check_reproducible.py BUILD SOURCE...      SOURCE: the end of a path in BUILD/compile_commands.json; each command that compiles it
What launches nvcc (cmake/keep_ptxas_report.sh) is not in that file, and takes part: it takes the name of a temporary file out of the object.
"""
import json
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile

LAUNCHER = pathlib.Path(__file__).resolve().parents[2] / "cmake" / "keep_ptxas_report.sh"


def compiled(words, directory, object_file):
    at = words.index("-o")
    launcher = [str(LAUNCHER)] if pathlib.Path(words[0]).name == "nvcc" else []
    command = launcher + words[:at] + ["-o", str(object_file)] + words[at + 2:]
    done = subprocess.run(command, cwd=directory, env={**os.environ, "CCACHE_DISABLE": "1"}, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"check_reproducible.py: {shlex.join(command)}\n{done.stderr}")
    content = object_file.read_bytes()
    object_file.unlink()
    return content


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    entries = json.loads((pathlib.Path(sys.argv[1]) / "compile_commands.json").read_text(encoding="utf-8"))
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        for source in sys.argv[2:]:
            found = [entry for entry in entries if entry["file"].endswith("/" + source)]
            if not found:
                sys.exit(f"check_reproducible.py: no command compiles {source}")
            for entry in found:
                words = shlex.split(entry["command"])
                object_file = pathlib.Path(folder) / "object.o"
                first, second = (compiled(words, entry["directory"], object_file) for _ in range(2))
                failures += first != second
                print(f"{'same bytes' if first == second else 'DIFFERENT'}  {source}, {len(first)} bytes, by {pathlib.Path(words[0]).name}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
