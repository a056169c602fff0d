#!/usr/bin/env python3
"""Registers, shared memory, stack and spills of every CUDA kernel, as ptxas reported them when the build compiled it.

A kernel that spills registers, or has a stack frame because it indexes an array with a value that the compiler does not know, goes through
slow local memory, and neither is meant. Such a kernel is an error (exit code 1) unless kernels/cuda/expected_spills.txt names it with a reason.

  kernel_resources.py build/cuda                 the kernels of that build
  kernel_resources.py --json FILE build/cuda     also as JSON
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys

ENTRY = re.compile(r"Compiling entry function '(\S+)' for '(sm_\w+)'")
PROPERTIES = re.compile(r"Function properties for (\S+)")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


def resources_of(report):
    """(architecture, mangled name) -> resources, of one report. A kernel's entry comes first, then the properties of each function that
    was compiled with it (the kernel itself, and what was not inlined), then what it uses."""
    found, current = {}, None
    for line in report.read_text(encoding="utf-8", errors="replace").splitlines():
        if match := ENTRY.search(line):
            current = found.setdefault((match[2], match[1]), {"registers": 0, "shared_bytes": 0, "stack_bytes": 0, "spill_store_bytes": 0, "spill_load_bytes": 0})
        elif current is not None and (match := STACK.search(line)):
            for key, value in zip(("stack_bytes", "spill_store_bytes", "spill_load_bytes"), match.groups()):
                current[key] += int(value)
        elif current is not None and (match := USED.search(line)):
            current["registers"] = int(match[1])
            shared = SHARED.search(line)
            current["shared_bytes"] = int(shared[1]) if shared else 0
    return found


def demangled(names):
    output = subprocess.run(["c++filt", "-p"], input="\n".join(names), capture_output=True, text=True, check=True).stdout.splitlines()
    shorten = lambda name: name.replace("panda::kernels::", "").replace("cuda::", "").replace("(anonymous namespace)::", "")
    return {mangled: re.sub(r"_INTERNAL_\w+::", "", shorten(name)) for mangled, name in zip(names, output)}


def shown(kernel):
    """The kernel's name and template arguments, without its parameters."""
    depth = 0
    for i, character in enumerate(kernel):
        depth += (character == "<") - (character == ">")
        if character == "(" and depth == 0 and i > 0:
            return kernel[:i].removeprefix("void ")
    return kernel


def expected_spills(root):
    """(architecture or "", kernel) of lines "kernel: reason" or "sm_75 kernel: reason"; the kernel's demangled name begins with the text before the last ': '."""
    file = root / "kernels/cuda/expected_spills.txt"
    expected = set()
    for line in file.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            kernel, _, reason = line.rpartition(": ")
            if not kernel or not reason:
                sys.exit(f"{file}: '{line}', expected 'kernel: reason'")
            architecture, _, rest = kernel.partition(" ")
            expected.add((architecture, rest) if architecture.startswith("sm_") else ("", kernel))
    return expected


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    objects = sorted(arguments.build.glob("kernels/cuda/**/*.cu.o"))
    if not objects:
        sys.exit(f"kernel_resources.py: no kernels under {arguments.build}: is it a build with PANDA_CUDA?")
    rows = []
    for file in objects:
        report = file.with_name(file.name + ".ptxas")
        if not report.exists():
            sys.exit(f"kernel_resources.py: {report} is missing: build again")
        found = resources_of(report)
        names = demangled([name for _, name in found]) if found else {}
        rows += [{"file": file.name[:-2], "architecture": architecture, "kernel": names[name], **entry} for (architecture, name), entry in found.items()]
    if not rows:
        sys.exit("kernel_resources.py: the reports hold no kernel")
    rows.sort(key=lambda row: (row["architecture"], row["file"], row["kernel"]))
    print(f"{'architecture':12s} {'file':20s} {'registers':>9s} {'shared':>7s} {'stack':>6s} {'spills':>7s}  kernel")
    expected, used, failures = expected_spills(pathlib.Path(__file__).resolve().parent.parent), set(), 0
    for row in rows:
        note = ""
        spills = row["spill_store_bytes"] + row["spill_load_bytes"]
        if row["stack_bytes"] or spills:
            line = next((one for one in expected if one[0] in ("", row["architecture"]) and shown(row["kernel"]).startswith(one[1])), None)
            note = "  <- listed" if line else "  <- SPILLS, and is not in kernels/cuda/expected_spills.txt"
            failures += line is None
            used.add(line)
        print(f"{row['architecture']:12s} {row['file']:20s} {row['registers']:9d} {row['shared_bytes']:7d} {row['stack_bytes']:6d} {spills:7d}  "
              f"{shown(row['kernel'])}{note}")
    built = {"", *(row["architecture"] for row in rows)}
    for architecture, kernel in sorted(one for one in expected - used if one[0] in built):
        print(f"expected_spills.txt: '{f'{architecture} {kernel}'.lstrip()}' spills no more: remove the line")
        failures += 1
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(f"{len(rows)} kernels, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
