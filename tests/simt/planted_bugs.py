#!/usr/bin/env python3
"""Plants the bugs of planted_bugs.txt into the CUDA kernels, one at a time, and demands that the conformance suite finds each.

For each bug: the file with its line replaced is compiled as kernels are in this build tree (the race checker's), linked with the
suite's objects before the library, and its cases are run until the first failure. A bug that no case reports is an error, and so is one
whose line is no longer there: whoever changes a kernel brings its bugs along. So is a kernel, or a source file, that no bug is planted into.

usage: planted_bugs.py --source ROOT --build TREE --objects A.o;B.o --libraries x.a;y.a [--only NAME] [--jobs N]
"""
import argparse
import concurrent.futures
import fnmatch
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

SECONDS = 300  # of one mutant's cases; a hang is a way of being caught


class Bug:
    def __init__(self, name):
        self.name = name
        self.file = self.builds = self.cases = None
        self.old, self.new = [], []
        self.environment = {}


def read_bugs(path):
    bugs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        key, _, value = line.partition(" ")
        if key == "bug":
            bugs.append(Bug(value.strip()))
        elif key in ("file", "builds", "cases"):
            setattr(bugs[-1], key, value.strip())
        elif key == "with":
            variable, _, setting = value.strip().partition("=")
            bugs[-1].environment[variable] = setting
        elif key == "-":
            bugs[-1].old.append(value.strip())
        elif key == "+":
            bugs[-1].new.append(value.strip())
        else:
            sys.exit(f"{path}:{number}: expected bug, file, builds, cases, with, - or +")
    names = [bug.name for bug in bugs]
    if len(set(names)) != len(names):
        sys.exit(f"{path}: a bug's name is there twice")
    return bugs


def without_bugs(bugs, root):
    """Kernels whose cases no bug is tried on, and sources that none is compiled into."""
    cuda = root / "kernels" / "cuda"
    kernels = re.findall(r"^PANDA_GPU_KERNEL\((\w+)\)", (cuda / "gpu_kernel_list.def").read_text(encoding="utf-8"), re.M)
    sources = re.findall(r"^\s+(\S+\.cu)$", (cuda / "kernels.cmake").read_text(encoding="utf-8"), re.M)
    if not kernels or not sources:
        sys.exit("planted_bugs.py: gpu_kernel_list.def or kernels.cmake has no entries")
    tried = [suite.partition(".")[0] for bug in bugs for suite in bug.cases.split(":")]
    compiled = {bug.builds or bug.file for bug in bugs}
    return [k for k in kernels if not any(fnmatch.fnmatchcase(k, suite) for suite in tried)] + [s for s in sources if s not in compiled]


def mutated(bug, root):
    """The file's text with the bug. Lines are compared without their indentation, and must be there exactly once."""
    lines = (root / "kernels" / "cuda" / bug.file).read_text(encoding="utf-8").splitlines()
    stripped = [line.strip() for line in lines]
    at = [i for i in range(len(lines)) if stripped[i : i + len(bug.old)] == bug.old]
    if len(at) != 1:
        raise RuntimeError(f"kernels/cuda/{bug.file} has the lines {bug.old} {len(at)} times, expected once")
    lines[at[0] : at[0] + len(bug.old)] = bug.new
    return "\n".join(lines) + "\n"


def compile_command(bug, source, build, overlay, object_file):
    name = bug.builds or bug.file
    entries = json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
    entry = next(e for e in entries if e["file"].endswith(f"kernels/cuda/{name}") and "panda_simt_kernels" in e["command"])
    words = shlex.split(entry["command"])
    for flag in ("-o", "-c"):
        at = words.index(flag)
        del words[at : at + 2]
    words = [w for w in words if w != "-Werror" and not w.startswith("-W")]
    words = ["-O1" if w == "-O2" else "-g0" if w == "-g1" else w for w in words]
    first_include = next(i for i, w in enumerate(words) if w.startswith("-I"))
    words.insert(first_include, f"-I{overlay}")
    planted = overlay / "kernels" / "cuda" / name
    unit = planted if planted.exists() else source / "kernels" / "cuda" / name
    return words + ["-w", "-c", str(unit), "-o", str(object_file)], entry["directory"]


def first_complaint(output):
    skip = ("Running main", "[", "Value of", "Actual", "Expected", "Note: Google Test")
    for line in output.splitlines():
        line = line.strip()
        if line and not line.startswith(skip) and ": Failure" not in line:
            return line
    return output.strip().splitlines()[-1] if output.strip() else "ended without a word"


def try_bug(bug, options):
    """(caught, what was said)"""
    folder = options.build / "planted_bugs" / bug.name
    overlay = folder / "overlay"
    planted = overlay / "kernels" / "cuda" / bug.file
    planted.parent.mkdir(parents=True, exist_ok=True)
    text = mutated(bug, options.source)
    if not planted.exists() or planted.read_text(encoding="utf-8") != text:
        planted.write_text(text, encoding="utf-8")
    object_file = folder / "kernel.o"
    command, directory = compile_command(bug, options.source, options.build, overlay, object_file)
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError("does not compile: " + first_complaint(done.stderr))
    program = folder / "conformance"
    link = ["c++", "-Wl,-S", "-o", str(program)] + options.objects + [str(object_file)] + options.libraries
    done = subprocess.run(link, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError("does not link: " + first_complaint(done.stderr))
    run = [str(program), f"--gtest_filter={bug.cases}", "--gtest_fail_fast", "--gtest_brief=1"]
    try:
        done = subprocess.run(run, capture_output=True, text=True, timeout=SECONDS, errors="replace", env={**os.environ, **bug.environment})
    except subprocess.TimeoutExpired:
        return True, f"did not end within {SECONDS} s"
    finally:
        program.unlink()
    if " 0 tests from " in done.stdout:
        raise RuntimeError(f"no case matches {bug.cases}")
    if done.returncode < 0:
        return True, f"ended by signal {-done.returncode}"
    return done.returncode != 0, first_complaint(done.stdout + done.stderr)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", type=pathlib.Path, required=True)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--objects", type=lambda text: text.split(";"), required=True)
    parser.add_argument("--libraries", type=lambda text: text.split(";"), required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    every = read_bugs(options.source / "tests" / "simt" / "planted_bugs.txt")
    bugs = [bug for bug in every if options.only in bug.name]
    spared = without_bugs(every, options.source)
    for name in spared:
        print(f"MISSED  no bug is planted into {name}")
    wrong = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        tries = [(bug, pool.submit(try_bug, bug, options)) for bug in bugs]
        for bug, attempt in tries:
            try:
                caught, said = attempt.result()
            except RuntimeError as error:
                caught, said = False, f"cannot be planted: {error}"
            wrong += not caught
            print(f"{'caught' if caught else 'MISSED':7} {bug.name:40} {said[:220]}", flush=True)
    print(f"{len(bugs) - wrong} of {len(bugs)} planted bugs caught")
    return 1 if wrong or spared or not bugs else 0


if __name__ == "__main__":
    sys.exit(main())
